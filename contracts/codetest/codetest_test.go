package codetest

import (
	"go/parser"
	"testing"
)

// What stands in the source is read as written: a call with several arguments is no name that a relay could have.
func TestText(t *testing.T) {
	for in, want := range map[string]string{"code": "code", "p.Code": "p.Code", "contracts.Code(p.Code)": "contracts.Code(p.Code)", "refuse(a, b)": "", `"a.b"`: "", "a[0]": ""} {
		e, err := parser.ParseExpr(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(e); got != want {
			t.Errorf("%s is read as %q, want %q", in, got, want)
		}
		if c, ok := literal(e); ok != (in[0] == '"') || ok && c != "a.b" {
			t.Errorf("%s is the literal %q, %v", in, c, ok)
		}
	}
}
