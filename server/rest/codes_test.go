package rest

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
)

var update = flag.Bool("update", false, "write the reference anew")

// A code of the API has a noun and a word, or words without a dot.
var apiCodeForm = regexp.MustCompile(`^[a-z]+(\.[a-z_]+|(_[a-z]+)*)$`)

// codeArgument says which argument of a function, by package, is a code that it hands out.
var codeArgument = map[string]int{"rest.refuse": 0, "rest.failed": 0, "identity.refuse": 0}

// relayed are the functions in which a code passes that their callers wrote.
var relayed = map[string]string{"rest.refuse": "code", "identity.refuse": "code"}

// handedOut reads the codes that the server hands out: arguments of the functions above and Code fields of refusals, as
// literals or as constants. Any other expression must be a known relay. Constants that go nowhere are errors too.
func handedOut(t *testing.T) map[contracts.Code]string {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || path == "../rest/codes.go" {
			return err
		}
		f, err := parser.ParseFile(fset, path, nil, 0)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	room := func(f *ast.File) string { return filepath.Base(filepath.Dir(fset.Position(f.Pos()).Filename)) }

	consts := map[string]contracts.Code{} // by package.Name
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && nameOf(v.Type) == "contracts.Code" {
				for i, name := range v.Names {
					if i < len(v.Values) {
						consts[room(f)+"."+name.Name], _ = literalCode(v.Values[i])
					}
				}
			}
			return true
		})
	}

	used, relays := map[contracts.Code]string{}, map[string]bool{}
	for _, f := range files {
		for _, decl := range f.Decls {
			in := room(f)
			if fn, ok := decl.(*ast.FuncDecl); ok {
				in += "." + fn.Name.Name
			}
			take := func(e ast.Expr) {
				at := fset.Position(e.Pos()).String()
				c, ok := literalCode(e)
				if name := nameOf(e); !ok && strings.Contains(name, ".") {
					c, ok = consts[name]
				} else if !ok {
					c, ok = consts[room(f)+"."+name]
				}
				switch {
				case ok && apiCodeForm.MatchString(string(c)):
					used[c] = at
				case ok:
					t.Errorf("%s: %q doesn't look like a code", at, c)
				case relayed[in] != "" && relayed[in] == nameOf(e):
					relays[in] = true
				default:
					t.Errorf("%s: a code that is neither literal nor constant, in %s: it can't be documented", at, in)
				}
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if i, ok := codeArgument[room(f)+"."+nameOf(n.Fun)]; ok && i < len(n.Args) {
						take(n.Args[i])
					}
				case *ast.CompositeLit:
					if nameOf(n.Type) != "contracts.Refusal" {
						return true
					}
					for _, el := range n.Elts {
						kv, ok := el.(*ast.KeyValueExpr)
						if !ok {
							t.Errorf("%s: a refusal without field names", fset.Position(el.Pos()))
						} else if nameOf(kv.Key) == "Code" {
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
	// A constant counts where it is handed out, so that a row never outlives its last use.
	maps.DeleteFunc(consts, func(_ string, c contracts.Code) bool { return used[c] != "" })
	for name, c := range consts {
		t.Errorf("%s: the code %s is handed out nowhere", name, c)
	}
	return used
}

func literalCode(e ast.Expr) (contracts.Code, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return contracts.Code(s), err == nil
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return nameOf(e.X) + "." + e.Sel.Name
	}
	return ""
}

func TestEveryCodeIsDocumented(t *testing.T) {
	used := handedOut(t)
	if len(used) < 25 {
		t.Fatalf("only %d codes found: the reader of the source is broken", len(used))
	}
	rows := map[contracts.Code]bool{}
	for _, d := range apiCodes {
		_, market := contracts.Lookup(d.Code)
		status := Status(d.Code)
		switch {
		case rows[d.Code]:
			t.Errorf("%s is there twice", d.Code)
		case market:
			t.Errorf("%s is a code of the ledger, with a row there", d.Code)
		case used[d.Code] == "":
			t.Errorf("%s has a row and is used nowhere", d.Code)
		case d.Zh == "" || d.En == "" || d.DoZh == "" || d.DoEn == "":
			t.Errorf("%s lacks a text", d.Code)
		case d.Kind != kindRefusal && d.Kind != kindFailure && d.Kind != kindUnknown:
			t.Errorf("%s has the unknown kind %q", d.Code, d.Kind)
		case (d.Kind == kindRefusal) != (status < 500):
			t.Errorf("%s is a %s with status %d", d.Code, d.Kind, status)
		}
		rows[d.Code] = true
	}
	for c, at := range used {
		if _, market := contracts.Lookup(c); !market && !rows[c] {
			t.Errorf("%s is used at %s and has no row in apiCodes", c, at)
		}
	}
	for c := range exactStatus {
		if _, market := contracts.Lookup(c); !market && !rows[c] {
			t.Errorf("%s has a status and isn't a code any more", c)
		}
	}
}

const apiCodesDoc = "../../docs/reference/api-codes.md"

// TestAPICodesDoc fails when the reference is stale. `go test ./server/rest -run TestAPICodesDoc -update` writes it.
func TestAPICodesDoc(t *testing.T) {
	want := apiCodesMarkdown()
	if *update {
		if err := os.WriteFile(apiCodesDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(apiCodesDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run go generate ./server/rest", apiCodesDoc)
	}
}

func apiCodesMarkdown() string {
	var b strings.Builder
	b.WriteString(`<!-- made from apiCodes by go generate ./server/rest; don't edit -->
# 市场接口的答复码 · Codes of the market's API

The API answers with these codes beside the ledger's own ([refusals](refusals.md)). A refusal is a deterministic "no".
After a failure the same request may be sent again: nothing was decided. An unknown outcome may have been done: look it up
before trying again. Clients branch on the code; the HTTP status is presentation.

拒绝是确定的答复；故障未作决定，可重试同样的请求；结果未知则先查询再重试。程序按答复码判断，HTTP 状态仅供呈现。

| code | HTTP | kind | meaning 含义 | what to do 处理 |
|---|---|---|---|---|
`)
	for _, d := range apiCodes {
		fmt.Fprintf(&b, "| <a id=%q></a>`%s` | %d | %s | %s<br>%s | %s<br>%s |\n", d.Code, d.Code, Status(d.Code), d.Kind, d.Zh, d.En, d.DoZh, d.DoEn)
	}
	return b.String()
}
