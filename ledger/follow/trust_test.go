package follow

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
)

func key(t testing.TB, name string) string {
	_, v, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func root(t testing.TB) TrustRoot {
	return TrustRoot{Format: TrustRootFormat, Ledger: "ledger.example/1", Genesis: contracts.Hash(strings.Repeat("0a", 32)), LogKey: key(t, "ledger.example/1"),
		Witnesses: []string{key(t, "a.example"), key(t, "b.example")}, Quorum: 2}
}

func TestTrustRoot(t *testing.T) {
	r := root(t)
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseTrustRoot(b)
	if err != nil || got.Ledger != r.Ledger || got.Quorum != 2 || len(got.Witnesses) != 2 {
		t.Fatalf("%v %+v", err, got)
	}
	text := string(b)
	for name, bad := range map[string]string{
		"unknown field": strings.Replace(text, `"quorum"`, `"x": 1, "quorum"`, 1),
		"another case":  strings.Replace(text, `"quorum"`, `"Quorum"`, 1),
		"twice":         strings.Replace(text, `"quorum": 2`, `"quorum": 2, "quorum": 1`, 1),
		"missing": strings.Replace(text, `,
  "quorum": 2`, "", 1),
		"null":           strings.Replace(text, `"quorum": 2`, `"quorum": null`, 1),
		"fraction":       strings.Replace(text, `"quorum": 2`, `"quorum": 1.5`, 1),
		"text":           strings.Replace(text, `"quorum": 2`, `"quorum": "2"`, 1),
		"quorum 0":       strings.Replace(text, `"quorum": 2`, `"quorum": 0`, 1),
		"quorum 3":       strings.Replace(text, `"quorum": 2`, `"quorum": 3`, 1),
		"trailing":       text + "{}",
		"array":          "[" + text + "]",
		"empty":          "",
		"format":         strings.Replace(text, "trust-root/v1", "trust-root/v2", 1),
		"genesis":        strings.Replace(text, "0a0a", "0A0a", 1),
		"ledger":         strings.Replace(text, `"ledger": "ledger.example/1"`, `"ledger": "other.example"`, 1),
		"log key":        strings.Replace(text, r.LogKey, r.LogKey[1:], 1),
		"witness twice":  strings.Replace(text, r.Witnesses[0], r.Witnesses[1], 1),
		"invalid UTF-8":  strings.Replace(text, "ledger.example/1", "ledger.example/\xff", 1),
		"same key twice": strings.Replace(text, r.Witnesses[0], rename(r.Witnesses[1], "c.example"), 1),
	} {
		if _, err := ParseTrustRoot([]byte(bad)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

// rename gives a witness's key under another name, as a holder would who wants to count twice.
func rename(vkey, name string) string {
	_, rest, _ := strings.Cut(vkey, "+")
	return name + "+" + rest
}

func FuzzTrustRoot(f *testing.F) {
	b, err := root(f).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1}`))
	f.Add(bytes.Replace(b, []byte("quorum"), []byte("\\u0071uorum"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseTrustRoot(b)
		if err != nil {
			return
		}
		out, err := r.Marshal()
		if err != nil {
			t.Fatalf("%q is read but can't be written: %v", b, err)
		}
		again, err := ParseTrustRoot(out)
		if err != nil || again.Quorum != r.Quorum || again.Quorum < 1 || again.Genesis != r.Genesis {
			t.Fatalf("%q is read, %v", b, err)
		}
	})
}
