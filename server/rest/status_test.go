package rest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"net/http"

	"github.com/bund-exchange/bund/contracts"
)

// codes reads every refusal code out of the rules' source.
func codes(t *testing.T) map[contracts.Code]bool {
	t.Helper()
	files, err := filepath.Glob("../../contracts/*.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[contracts.Code]bool{}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			if fn, ok := call.Fun.(*ast.Ident); !ok || fn.Name != "refuse" && fn.Name != "malformed" {
				return true
			}
			if lit, ok := call.Args[0].(*ast.BasicLit); ok {
				s, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				out[contracts.Code(s)] = true
			}
			return true
		})
	}
	return out
}

func TestEveryRefusalHasAStatus(t *testing.T) {
	all := codes(t)
	if len(all) < 150 {
		t.Fatalf("only %d codes were found", len(all))
	}
	for c := range all {
		if s := Status(c); s < 400 || s > 499 && c != "batch.dependent" {
			t.Errorf("%s: %d", c, s)
		}
	}
	for c, want := range map[contracts.Code]int{
		"key.unknown": 404, "signature.invalid": 403, "key.purpose": 403, "member.role": 403, "attestation.foreign": 403,
		"command.id_reused": 409, "product.stale_version": 409, "grant.state": 409, "key.revoked": 409, "command.too_large": 413,
		"listing.requires": 422, "price.ceiling": 422, "command.malformed": 400, "session.blocked": 429, "request.too_large": 413,
	} {
		if got := Status(c); got != want {
			t.Errorf("%s: %d, want %d", c, got, want)
		}
	}
	for c := range exactStatus {
		if noun, _, _ := strings.Cut(string(c), "."); (noun == "command" || noun == "opening" || noun == "batch") && !all[c] {
			t.Errorf("%s has a status and isn't a code any more", c)
		}
	}
}

type nopRegistry struct{}

func (nopRegistry) Register(prometheus.Collector) error  { return nil }
func (nopRegistry) MustRegister(...prometheus.Collector) {}
func (nopRegistry) Unregister(prometheus.Collector) bool { return true }

// recorder is a ResponseWriter that keeps the status and the header.
type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}
func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(200)
	return len(b), nil
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
