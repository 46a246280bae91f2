// Package codetest reads Go source for the codes that it hands out, so that a test can hold them against a table: every
// code has a row, and no row outlives its last use.
package codetest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
)

// Source says where codes are handed out and how. Functions are named "room.function", the room being the folder that they
// stand in.
type Source struct {
	Dirs []string               // read with all folders in them, tests excepted
	Skip func(path string) bool // files that only list codes; may be nil
	Form *regexp.Regexp         // of a code

	// Argument says which argument of a function is a code.
	Argument map[string]int
	// Relayed lists, by the function that does it, the expressions that pass on a code which was handed out elsewhere.
	Relayed map[string]string
}

// HandedOut reads the codes of all sources: arguments of the functions above and Code fields of refusals, as literals or
// as constants. Any other expression must be a known relay, and every relay must be met. It gives each code with a place
// where it is used.
func (s Source) HandedOut(t *testing.T) map[contracts.Code]string {
	t.Helper()
	used, _ := s.read(t)
	return used
}

// HandedOutAll is HandedOut, and fails for constants of codes that go nowhere.
func (s Source) HandedOutAll(t *testing.T) map[contracts.Code]string {
	t.Helper()
	used, consts := s.read(t)
	for name, c := range consts {
		if used[c] == "" {
			t.Errorf("%s: the code %s is handed out nowhere", name, c)
		}
	}
	return used
}

// file is a parsed file and its room.
type file struct {
	*ast.File
	room string
}

func (s Source) parse(t *testing.T, fset *token.FileSet) (files []file) {
	t.Helper()
	for _, dir := range s.Dirs {
		root, err := filepath.Abs(dir) // "." has no name of its own
		if err != nil {
			t.Fatal(err)
		}
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || s.Skip != nil && s.Skip(path) {
				return err
			}
			f, err := parser.ParseFile(fset, path, nil, 0)
			room := filepath.Base(filepath.Dir(path))
			if filepath.Dir(path) == filepath.Clean(dir) {
				room = filepath.Base(root)
			}
			files = append(files, file{f, room})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// constants gives the constants that are codes, by "room.Name".
func constants(files []file) map[string]contracts.Code {
	out := map[string]contracts.Code{}
	for _, f := range files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || text(v.Type) != "contracts.Code" {
				return true
			}
			for i, name := range v.Names {
				if i < len(v.Values) {
					out[f.room+"."+name.Name], _ = literal(v.Values[i])
				}
			}
			return true
		})
	}
	return out
}

func (s Source) read(t *testing.T) (used map[contracts.Code]string, consts map[string]contracts.Code) {
	t.Helper()
	fset := token.NewFileSet()
	files := s.parse(t, fset)
	consts, used = constants(files), map[contracts.Code]string{}
	relays := map[string]bool{}
	for _, f := range files {
		for _, decl := range f.Decls {
			in := f.room
			if fn, ok := decl.(*ast.FuncDecl); ok {
				in += "." + fn.Name.Name
			}
			take := func(e ast.Expr) {
				at := fset.Position(e.Pos()).String()
				c, ok := literal(e)
				if name := text(e); !ok && strings.Contains(name, ".") {
					c, ok = consts[name]
				} else if !ok {
					c, ok = consts[f.room+"."+name]
				}
				switch {
				case ok && s.Form.MatchString(string(c)):
					used[c] = at
				case ok:
					t.Errorf("%s: %q doesn't look like a code", at, c)
				case slices.Contains(strings.Fields(s.Relayed[in]), text(e)):
					relays[in] = true
				default:
					t.Errorf("%s: a code that is neither literal nor constant, in %s: it can't be documented", at, in)
				}
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if i, ok := s.argument(f.room, n); ok && !s.refusing(f.room, n.Args[i]) {
						take(n.Args[i])
					}
				case *ast.CompositeLit:
					if typ := text(n.Type); typ != "Refusal" && !strings.HasSuffix(typ, ".Refusal") {
						return true
					}
					for _, el := range n.Elts {
						kv, ok := el.(*ast.KeyValueExpr)
						if !ok {
							t.Errorf("%s: a refusal without field names", fset.Position(el.Pos()))
						} else if text(kv.Key) == "Code" {
							take(kv.Value)
						}
					}
				}
				return true
			})
		}
	}
	for _, in := range slices.Sorted(maps.Keys(s.Relayed)) {
		if !relays[in] {
			t.Errorf("%s relays no code any more", in)
		}
	}
	return used, consts
}

// argument says which argument of a call is a code.
func (s Source) argument(room string, call *ast.CallExpr) (i int, ok bool) {
	name := text(call.Fun)
	i, ok = s.Argument[room+"."+name[strings.LastIndex(name, ".")+1:]]
	return i, ok && i < len(call.Args)
}

// refusing reports whether e is a call that hands out a code itself: x.refuse(refuse("a.code")).
func (s Source) refusing(room string, e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if ok {
		_, ok = s.argument(room, call)
	}
	return ok
}

func literal(e ast.Expr) (contracts.Code, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return contracts.Code(s), err == nil
}

// text writes a name, a field or a conversion as the source does; "" for anything else.
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
