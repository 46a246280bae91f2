package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

var good = []string{
	`{}`, `[]`, `""`, `0`, `-1`, `true`, `false`, `null`, ` {"a" : [ 1 , {"b":"c"} ] } `,
	`{"a":{"x":1},"b":{"x":1}}`, `"外滩 \u5916 \ud83d\ude00 \"\\\/\b\f\n\r\t"`, `9007199254740991`, `-9007199254740991`,
	`0.0028`, `-0.5`, `{"login":1,"Login":2}`, nested(MaxDepth),
}

var bad = map[string]string{
	``:                                     "ends too early",
	`{`:                                    "want a name",
	`{"a":1`:                               "want a comma",
	`{"a":1}{}`:                            "after the value",
	`{"a":1} x`:                            "after the value",
	"\ufeff{}":                             "want a value",
	`{"a":1,"a":2}`:                        "twice",
	`{"a":1,"\u0061":2}`:                   "twice",
	`{"é":1,"\u00e9":2}`:                   "twice",
	"\"\xff\"":                             "not UTF-8",
	"\"\xed\xa0\x80\"":                     "not UTF-8", // a surrogate in UTF-8
	"\"\xc0\x80\"":                         "not UTF-8", // overlong
	`"\ud800"`:                             "surrogate",
	`"\ud800\ud800"`:                       "surrogate",
	`"\ude00\ud83d"`:                       "surrogate",
	`"\u0000"`:                             "U+0000",
	"\"\x00\"":                             "control",
	"\"\n\"":                               "control",
	`"\x41"`:                               "escape",
	`"\u00g0"`:                             "escape",
	`"\u00`:                                "ends within",
	`"abc`:                                 "ends within",
	`9007199254740992`:                     "beyond",
	`-9007199254740992`:                    "beyond",
	`99999999999999999999`:                 "beyond",
	`1e5`:                                  "exponent",
	`0.1E-2`:                               "exponent",
	`01`:                                   "begins with 0",
	`-`:                                    "digit",
	`1.`:                                   "digit",
	`.5`:                                   "want a value",
	`+1`:                                   "want a value",
	`-0`:                                   "minus zero",
	`-0.00`:                                "minus zero",
	`0.0000000000000000000000000000000001`: "too long",
	`NaN`:                                  "want a value",
	`True`:                                 "want a value",
	`{'a':1}`:                              "want a name",
	`{a:1}`:                                "want a name",
	`{"a":1,}`:                             "want a name",
	`[1,]`:                                 "want a value",
	`[1 2]`:                                "want a comma",
	`{"a" 1}`:                              "colon",
	`// x`:                                 "want a value",
	nested(MaxDepth + 1):                   "deep",
	`{"` + strings.Repeat("n", MaxNameBytes+1) + `":1}`: "too long",
}

func TestCheck(t *testing.T) {
	for _, s := range good {
		if err := Check([]byte(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for s, want := range bad {
		err := Check([]byte(s))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.What, want) {
			t.Errorf("%.60q: got %v, want %q", s, err, want)
		}
	}
}

func TestErrorSaysWhere(t *testing.T) {
	for s, want := range map[string]string{
		`{"a":{"b/c":[0,{"~d":1e5}]}}`: "/a/b~1c/1/~0d",
		`{"a":[1,2,`:                   "/a/2",
		`{"a":1,"b":2,"a":3}`:          "/a",
		`[1] 2`:                        "",
	} {
		var e *Error
		if err := Check([]byte(s)); !errors.As(err, &e) || e.Pointer != want {
			t.Errorf("%s: got %v, want %q", s, err, want)
		}
	}
}

// What passes is JSON to encoding/json too, is UTF-8, and survives decoding and encoding without losing a member.
func FuzzCheck(f *testing.F) {
	for _, s := range good {
		f.Add([]byte(s))
	}
	for s := range bad {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if Check(b) != nil {
			return
		}
		if !utf8.Valid(b) || !json.Valid(b) {
			t.Fatalf("%q passed and is not JSON in UTF-8", b)
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(again); err != nil {
			t.Fatalf("%q became %q: %v", b, again, err)
		}
		// Escapes aside, nothing was dropped: as many names, strings and values before as after.
		if count(b) != count(again) {
			t.Fatalf("%q lost something: %q", b, again)
		}
	})
}

// count counts the tokens of a document.
func count(b []byte) (n int) {
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		if _, err := d.Token(); err != nil {
			return n
		}
		n++
	}
}

func BenchmarkCheck(b *testing.B) {
	body := []byte(`{"raw":"` + strings.Repeat("QUJD", 4096) + `","signatures":[{"key":"ed25519:00","sig":"00"}],"openings":[]}`)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := Check(body); err != nil {
			b.Fatal(err)
		}
	}
}
