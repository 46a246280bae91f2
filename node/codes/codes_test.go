package codes_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/codes"
)

var update = flag.Bool("update", false, "write the reference anew")

var codeForm = regexp.MustCompile(`^([a-z]+(\.[a-z0-9_]+|_[a-z]+)?|[A-Z]+(_[A-Z]+)+)$`)

// sources are the node, and the protocols whose refusals it hands on as they are.
var sources = []string{"..", "../../privacy/score", "../../privacy/psi", "../../privacy/lookup", "../../privacy/consent", "../../privacy/envelope", "../../privacy/stats"}

// codeArgument says which argument of a function, by package, is a code that it hands out.
var codeArgument = map[string]int{"datanode.refuse": 2, "datanode.refusePeer": 1, "datanode.refused": 0, "score.refuse": 0, "compute.refuse": 0, "psi.refuse": 0, "session.refuse": 0, "meter.refuse": 0, "meter.refuseLocked": 0, "lookup.refuse": 0, "consent.refuse": 0, "envelope.refuse": 0, "stats.refuse": 0}

// relayed lists the expressions that pass on a code which was handed out elsewhere, in the functions that do it.
var relayed = map[string]string{
	"datanode.localError":  "mr.Code cr.Code contracts.Code(p.Code)", // of the provider, the rules, the market
	"datanode.admit":       "r.Code",
	"datanode.execute":     "r.Code",
	"datanode.refused":     "code",
	"datanode.peerAPI":     "refusal.Code",
	"datanode.take":        "refusal.Code",
	"datanode.do":          "contracts.Code(p.Code)", // of the provider
	"datanode.peer":        "refusal.Code",
	"envelope.refuse":      "code",
	"stats.refuse":         "code",
	"score.refuse":         "code",
	"psi.refuse":           "code",
	"compute.refuse":       "code",
	"compute.ask":          "done.Code", // given before, and kept
	"session.refuse":       "code",
	"session.readProblem":  "p.Code", // of the other side
	"meter.refuse":         "code",
	"meter.refuseLocked":   "code",
	"meter.readRefusal":    "p.Code", // of the provider
	"lookup.refuse":        "code",
	"consent.refuse":       "code",
	"datanode.serveTable":  "cr.Code mr.Code",
	"datanode.serveTicket": "no.Code",
	"datanode.peerRefusal": "contracts.Code(p.Code)", // of the other node
}

// source is the node's source, by file.
type source struct {
	fset   *token.FileSet
	files  []*ast.File
	consts map[string]contracts.Code // by package.Name
}

func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{fset: token.NewFileSet(), consts: map[string]contracts.Code{}}
	for _, root := range sources {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || filepath.Dir(path) == "../codes" {
				return err
			}
			f, err := parser.ParseFile(s.fset, path, nil, 0)
			if err == nil {
				s.files = append(s.files, f)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range s.files {
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || text(v.Type) != "contracts.Code" {
				return true
			}
			for i, name := range v.Names {
				if i < len(v.Values) {
					s.consts[s.room(f)+"."+name.Name], _ = literal(v.Values[i])
				}
			}
			return true
		})
	}
	return s
}

// room is the folder, which is how other packages name it.
func (s *source) room(f *ast.File) string {
	return filepath.Base(filepath.Dir(s.fset.Position(f.Pos()).Filename))
}

// handedOut reads the codes that the node hands out: arguments of the functions above and Code fields of refusals, as
// literals or as constants. Any other expression must be a known relay.
func (s *source) handedOut(t *testing.T) map[contracts.Code]string {
	t.Helper()
	used, relays := map[contracts.Code]string{}, map[string]bool{}
	for _, f := range s.files {
		room := s.room(f)
		for _, decl := range f.Decls {
			in := room
			if fn, ok := decl.(*ast.FuncDecl); ok {
				in += "." + fn.Name.Name
			}
			take := func(e ast.Expr) {
				at := s.fset.Position(e.Pos()).String()
				c, ok := literal(e)
				if name := text(e); !ok && strings.Contains(name, ".") {
					c, ok = s.consts[name]
				} else if !ok {
					c, ok = s.consts[room+"."+name]
				}
				switch {
				case ok && codeForm.MatchString(string(c)):
					used[c] = at
				case ok:
					t.Errorf("%s: %q doesn't look like a code", at, c)
				case strings.Contains(" "+relayed[in]+" ", " "+text(e)+" "):
					relays[in] = true
				default:
					t.Errorf("%s: a code that is neither literal nor constant, in %s: it can't be documented", at, in)
				}
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					name := text(n.Fun)
					i, ok := codeArgument[room+"."+name[strings.LastIndex(name, ".")+1:]]
					if ok && i < len(n.Args) {
						take(n.Args[i])
					}
				case *ast.CompositeLit:
					if typ := text(n.Type); typ != "Refusal" && !strings.HasSuffix(typ, ".Refusal") {
						return true
					}
					for _, el := range n.Elts {
						kv, ok := el.(*ast.KeyValueExpr)
						if !ok {
							t.Errorf("%s: a refusal without field names", s.fset.Position(el.Pos()))
						} else if text(kv.Key) == "Code" {
							take(kv.Value)
						}
					}
				}
				return true
			})
		}
	}
	for in := range relayed {
		if !relays[in] {
			t.Errorf("%s relays no code any more", in)
		}
	}
	return used
}

func literal(e ast.Expr) (contracts.Code, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return contracts.Code(s), err == nil
}

func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return text(e.X) + "." + e.Sel.Name
	case *ast.CallExpr:
		if len(e.Args) == 1 {
			return text(e.Fun) + "(" + text(e.Args[0]) + ")"
		}
	}
	return ""
}

func TestEveryCodeIsDocumented(t *testing.T) {
	s := readSource(t)
	used := s.handedOut(t)
	if len(used) < 25 {
		t.Fatalf("only %d codes found: the reader of the source is broken", len(used))
	}
	// A constant counts where it is handed out, so that a row never outlives its last use.
	unused := maps.Clone(s.consts)
	maps.DeleteFunc(unused, func(_ string, c contracts.Code) bool { return used[c] != "" })
	for name, c := range unused {
		t.Errorf("%s: the code %s is handed out nowhere", name, c)
	}
	rows := map[contracts.Code]bool{}
	for _, p := range codes.Parts {
		for _, d := range p.Codes {
			_, market := contracts.Lookup(d.Code)
			switch {
			case rows[d.Code]:
				t.Errorf("%s is there twice", d.Code)
			case market:
				t.Errorf("%s is a code of the market, with a row there", d.Code)
			case used[d.Code] == "":
				t.Errorf("%s has a row and is used nowhere", d.Code)
			case d.Zh == "" || d.En == "" || d.DoZh == "" || d.DoEn == "":
				t.Errorf("%s lacks a text", d.Code)
			case d.Kind != codes.Refusal && d.Kind != codes.Failure && d.Kind != codes.Unknown:
				t.Errorf("%s has the unknown kind %q", d.Code, d.Kind)
			}
			rows[d.Code] = true
		}
	}
	for c, at := range used {
		if _, market := contracts.Lookup(c); !market && !rows[c] {
			t.Errorf("%s is used at %s and has no row in codes.Parts", c, at)
		}
	}
}

const nodeCodesDoc = "../../docs/reference/node-codes.md"

// TestNodeCodesDoc fails when the reference is stale. `go test ./node/codes -run TestNodeCodesDoc -update` writes it.
func TestNodeCodesDoc(t *testing.T) {
	want := markdown()
	if *update {
		if err := os.WriteFile(nodeCodesDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(nodeCodesDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run go generate ./node/codes", nodeCodesDoc)
	}
}

func markdown() string {
	var b strings.Builder
	b.WriteString(`<!-- made from codes.Parts by go generate ./node/codes; don't edit -->
# 数据节点的答复码 · Codes of a data node

A data node answers with these codes beside the market's own, which it passes on as they are ([refusals](refusals.md)).
A refusal is a deterministic "no": billed nothing, and no leaf is written. After a failure the same request may be sent
again. An unknown outcome may have been done: the request's nonce or the command's id tells.

拒绝是确定的答复，不计费、不写收据；故障可重试同样的请求；结果未知则以同一 nonce 或命令号查询。
`)
	for _, p := range codes.Parts {
		fmt.Fprintf(&b, "\n| %s · %s | kind | meaning 含义 | what to do 处理 |\n|---|---|---|---|\n", p.Zh, p.En)
		for _, d := range p.Codes {
			fmt.Fprintf(&b, "| <a id=%q></a>`%s` | %s | %s<br>%s | %s<br>%s |\n", d.Code, d.Code, d.Kind, d.Zh, d.En, d.DoZh, d.DoEn)
		}
	}
	return b.String()
}
