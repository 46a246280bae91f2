package contracts_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
)

var update = flag.Bool("update", false, "write generated files and golden bytes anew")

// RunCorpus looks this flag up.
var _ = flag.Bool("rewrite", false, "write the corpus's expectations of state and events anew")

var codeForm = regexp.MustCompile(`^[a-z]+\.[a-z0-9_]+$`)

// codeArgument says which argument of a function is a refusal code.
var codeArgument = map[string]int{"refuse": 0, "malformed": 0, "noAffiliate": 1, "Code": 0}

// relayed lists the functions that pass on a code which their caller wrote.
var relayed = []string{"malformed", "noAffiliate", "granted"}

// usedCodes reads the codes that the source hands out: first arguments of refuse and its relays, conversions to Code,
// and Code fields of Refusal literals. Outside the rules' own
// package only the literals are codes of the market.
func usedCodes(t *testing.T, dir string) map[contracts.Code][]string {
	t.Helper()
	rules := dir == "."
	used := map[contracts.Code][]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(filepath.Base(path), "codes") {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		take := func(e ast.Expr, in string) {
			lit, ok := e.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				if !slices.Contains(relayed, in) {
					t.Errorf("%s: a refusal code that is no literal: it can't be documented", fset.Position(e.Pos()))
				}
				return
			}
			s, _ := strconv.Unquote(lit.Value)
			if !codeForm.MatchString(s) {
				t.Errorf("%s: %q doesn't look like a code", fset.Position(e.Pos()), s)
			}
			used[contracts.Code(s)] = append(used[contracts.Code(s)], fset.Position(e.Pos()).String())
		}
		for _, decl := range f.Decls {
			in := ""
			if fn, ok := decl.(*ast.FuncDecl); ok {
				in = fn.Name.Name
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					name := ""
					switch fun := n.Fun.(type) {
					case *ast.Ident:
						name = fun.Name
					case *ast.SelectorExpr:
						if x, ok := fun.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "contracts") {
							name = fun.Sel.Name
						}
					}
					if i, ok := codeArgument[name]; ok && rules && i < len(n.Args) {
						take(n.Args[i], in)
					}
				case *ast.CompositeLit:
					if strings.HasSuffix(typeName(n.Type), "contracts.Refusal") || typeName(n.Type) == "Refusal" && rules {
						for _, el := range n.Elts {
							if kv, ok := el.(*ast.KeyValueExpr); ok && fmt.Sprint(kv.Key) == "Code" && in != "refuse" {
								take(kv.Value, in)
							}
						}
					}
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return fmt.Sprint(e.X) + "." + e.Sel.Name
	}
	return ""
}

func TestEveryCodeIsDocumented(t *testing.T) {
	used := usedCodes(t, ".")
	for c, at := range usedCodes(t, "../ledger/embedded") {
		used[c] = append(used[c], at...)
	}
	for _, d := range policy.Denials() {
		used[contracts.Code(d.Code)] = append(used[contracts.Code(d.Code)], "policy.Denials")
		if row, ok := contracts.Lookup(contracts.Code(d.Code)); !ok || row.Zh != d.Zh || row.En != d.En {
			t.Errorf("%s: policy says %q, the table %q", d.Code, d.En, row.En)
		}
	}
	if len(used) < 150 {
		t.Fatalf("only %d codes found: the reader of the source is broken", len(used))
	}
	for c, at := range used {
		if _, ok := contracts.Lookup(c); !ok {
			t.Errorf("%s is used at %s and has no row in Codes", c, at[0])
		}
	}
	seen := map[contracts.Code]bool{}
	for _, d := range contracts.Codes {
		switch {
		case seen[d.Code]:
			t.Errorf("%s is there twice", d.Code)
		case used[d.Code] == nil:
			t.Errorf("%s has a row and is used nowhere", d.Code)
		case d.Zh == "" || d.En == "" || d.DoZh == "" || d.DoEn == "":
			t.Errorf("%s lacks a text", d.Code)
		case d.Class.HTTPStatus() == 500:
			t.Errorf("%s has the unknown class %q", d.Code, d.Class)
		}
		seen[d.Code] = true
	}
}

const refusalsDoc = "../docs/reference/refusals.md"

// TestRefusalsDoc fails when the reference is stale. `go test ./contracts -run TestRefusalsDoc -update` writes it.
func TestRefusalsDoc(t *testing.T) {
	want := refusalsMarkdown()
	if *update {
		if err := os.MkdirAll(filepath.Dir(refusalsDoc), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(refusalsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(refusalsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run go generate ./contracts", refusalsDoc)
	}
}

func refusalsMarkdown() string {
	var b strings.Builder
	b.WriteString(`<!-- made from contracts.Codes by go generate ./contracts; don't edit -->
# 拒绝码 · Refusals

A refusal is the market's answer "no": deterministic, and final for the ledger position at which it was decided. It changes
nothing and is not recorded; where the cure allows it, the same bytes may be accepted later. Everything else that goes wrong
is a failure (a disk, a network: try again) or an unknown outcome (look the command id up).

Codes are stable. The order below is roughly the one in which a command meets them: its form, its signatures, its member,
then the noun that it is about. A command that breaks several rules is refused by the first one met.

拒绝是确定的答复：不改变任何状态，也不上账；其余错误是故障（可重试）或结果未知（按命令号查询）。
`)
	noun := ""
	for _, d := range contracts.Codes {
		if n, _, _ := strings.Cut(string(d.Code), "."); n != noun {
			noun = n
			fmt.Fprintf(&b, "\n| `%s` | HTTP | meaning 含义 | what to do 处理 |\n|---|---|---|---|\n", noun)
		}
		fmt.Fprintf(&b, "| <a id=%q></a>`%s` | %d %s | %s<br>%s | %s<br>%s |\n", d.Code, d.Code, d.Class.HTTPStatus(), d.Class, d.Zh, d.En, d.DoZh, d.DoEn)
	}
	return b.String()
}
