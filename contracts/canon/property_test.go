package canon

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"
)

// text draws strings that are hard on an encoder: controls, quotes, the borders of UTF-16's order.
func text() *rapid.Generator[string] {
	hard := rapid.SampledFrom([]rune{0, 1, 8, 9, 10, 11, 12, 13, 0x1f, ' ', '"', '\\', '/', 0x7f, 0x80, 0xe9, 0x2028, 0xd7ff, 0xe000, 0xfeff, 0xfffd, 0xffff, 0x10000, 0x1f600, 0x10ffff, '外'})
	return rapid.StringOf(rapid.OneOf(hard, rapid.Rune()))
}

func drawPart(t *rapid.T, label string) part {
	return part{
		Colour: rapid.SampledFrom([]colour{"", "red", "blue"}).Draw(t, label+".colour"),
		Size:   rapid.Int64().Draw(t, label+".size"),
	}
}

func drawRecord(t *rapid.T) record {
	r := record{
		Title: text().Draw(t, "title"), Big: rapid.Uint64().Draw(t, "big"), Bytes: rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"),
		Done: rapid.Bool().Draw(t, "done"), Level: level(rapid.IntRange(0, 4).Draw(t, "level")), Opt: rapid.Bool().Draw(t, "opt"),
		Tags: rapid.SliceOf(text()).Draw(t, "tags"), Whole: drawPart(t, "whole"), base: base{Owner: text().Draw(t, "owner")},
	}
	copy(r.Digest[:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "digest"))
	r.Any = Marshal(rapid.MapOf(text(), rapid.SliceOf(text())).Draw(t, "any"))
	if rapid.Bool().Draw(t, "maybe?") {
		p := drawPart(t, "maybe")
		r.Maybe = &p
	}
	for range rapid.IntRange(0, 3).Draw(t, "parts") {
		r.Parts = append(r.Parts, drawPart(t, "part"))
	}
	if n := rapid.IntRange(0, 4).Draw(t, "names"); n > 0 {
		r.Names = map[string]part{}
		for range n {
			r.Names[text().Draw(t, "name")] = drawPart(t, "of name")
		}
	}
	return r
}

// plain puts the same value into encoding/json's hands, to be transformed by the oracle.
func plain(t rapid.TB, b []byte) []byte {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("not JSON: %q: %v", b, err)
	}
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	c, err := jcs.Transform(j)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		b := Marshal(&r)
		if want := plain(t, b); !bytes.Equal(b, want) {
			t.Fatalf("got  %q\nwant %q", b, want)
		}
		var back record
		if err := Unmarshal(b, &back); err != nil {
			t.Fatalf("%v of %q", err, b)
		}
		if len(r.Bytes) == 0 {
			r.Bytes = nil
		}
		if len(r.Tags) == 0 {
			r.Tags = nil
		}
		if !reflect.DeepEqual(r, back) {
			t.Fatalf("%#v became %#v", r, back)
		}
		if err := Valid(b); err != nil {
			t.Fatal(err)
		}
	})
}

// One byte changed never gives bytes that decode to the same value.
func TestNoTwoInputsForOneValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		b := Marshal(&r)
		changed := bytes.Clone(b)
		switch i := rapid.IntRange(0, len(b)-1).Draw(t, "place"); rapid.IntRange(0, 2).Draw(t, "edit") {
		case 0:
			changed[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		case 1:
			changed = append(changed[:i], changed[i+1:]...)
		case 2:
			changed = append(changed[:i:i], append([]byte{rapid.Byte().Draw(t, "byte")}, b[i:]...)...)
		}
		if bytes.Equal(changed, b) {
			return
		}
		var back record
		if Unmarshal(changed, &back) != nil {
			return
		}
		if again := Marshal(back); !bytes.Equal(again, changed) {
			t.Fatalf("%q reads as %q", changed, again)
		}
	})
}

// Names in UTF-16 order, against a foreign implementation.
func TestOrderOfNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOf(text(), rapid.Bool()).Draw(t, "map")
		b := Marshal(m)
		if want := plain(t, b); !bytes.Equal(b, want) {
			t.Fatalf("got  %q\nwant %q", b, want)
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(fullGolden))
	f.Add([]byte(leastGolden))
	for _, c := range refusals {
		f.Add([]byte(fullWith(c.old, c.new)))
	}
	for _, s := range []string{``, `{`, `"\`, `"\u00`, `[[`, `{"any":`, "\x00", `{"a":{"b":"\n"}}`, `["",true,{}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if Unmarshal(b, &r) == nil {
			sameAsJCS(t, b)
			if again := Marshal(r); !bytes.Equal(again, b) {
				t.Fatalf("%q reads as %q", b, again)
			}
			if err := Valid(b); err != nil {
				t.Fatalf("decodes and is not valid: %v", err)
			}
		} else if !reflect.DeepEqual(r, record{}) {
			t.Fatal("a half-read value is left behind")
		}
		if Valid(b) == nil {
			sameAsJCS(t, b)
			if want := plain(t, b); b[0] == '{' && !bytes.Equal(b, want) {
				t.Fatalf("valid %q, JCS %q", b, want)
			}
			if got := Marshal(outer{In: b}); string(got) != `{"in":`+string(b)+`}` && len(b) < MaxBytes-8 {
				t.Fatalf("%q", got)
			}
		}
		ms, err := Split(b)
		if (err == nil) != (Valid(b) == nil && b[0] == '{') {
			t.Fatalf("Split says %v", err)
		}
		for _, m := range ms {
			if err := Valid(m.Value); err != nil {
				t.Fatalf("member %q: %v", m.Value, err)
			}
		}
	})
}
