package packed_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts/packed"
)

const limit = 1 << 20

// golden gives the bodies and records that the rule book's golden files hold.
func golden(t testing.TB) (all [][]byte) {
	t.Helper()
	for _, f := range []string{"commands.txt", "records.txt"} {
		b, err := os.ReadFile("../testdata/golden/" + f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if i := strings.IndexByte(line, '{'); i >= 0 {
				all = append(all, []byte(strings.TrimSpace(line[i:])))
			}
		}
	}
	if len(all) < 100 {
		t.Fatalf("%d golden texts", len(all))
	}
	return all
}

func TestGolden(t *testing.T) {
	before, after := 0, 0
	for _, b := range golden(t) {
		p := packed.Pack(b)
		got, err := packed.Unpack(p, len(b))
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%s is packed as %x, which gives %s, %v", b, p, got, err)
		}
		if _, err := packed.Unpack(p, len(b)-1); err == nil {
			t.Fatal("gave more than the limit")
		}
		before, after = before+len(b), after+len(p)
	}
	if after*2 > before {
		t.Errorf("%d bytes are packed as %d: want half", before, after)
	}
	t.Logf("%d bytes are packed as %d", before, after)
}

// The codes of words are on ledgers.
func TestCodes(t *testing.T) {
	for _, x := range []struct{ text, packed string }{
		{`{"key":"","kind":[],"version":`, "8001" + "800a" + "5b5d" + "800e"},
		{`"cmd/` + strings.Repeat("ab", 16) + `"`, "22" + "a006" + "b0" + strings.Repeat("ab", 16) + "22"},
		{`"` + strings.Repeat("0c", 32) + `"`, "22b1" + strings.Repeat("0c", 32) + "22"},
		{`"1773104400000"`, "22b3" + "808d88aacd33" + "22"},
		{"外滩", "b406e5a496e6bba9"},
		{"deadbeef1", "b204deadbeef31"},
		{`{"unheard":"of"}`, fmt.Sprintf("%x", `{"unheard":"of"}`)},
	} {
		if got := fmt.Sprintf("%x", packed.Pack([]byte(x.text))); got != x.packed {
			t.Errorf("%s is packed as %s, want %s", x.text, got, x.packed)
		}
	}
}

// Every name that the rule book's commands and records have is a word.
func TestNamesAreWords(t *testing.T) {
	member := regexp.MustCompile(`"([A-Za-z][A-Za-z0-9]*)":`)
	missing := map[string]bool{}
	for _, b := range golden(t) {
		for _, m := range member.FindAllSubmatch(b, -1) {
			if text := `{"` + string(m[1]) + `":`; len(packed.Pack([]byte(text))) != 2 {
				missing[string(m[1])] = true
			}
		}
	}
	for n := range missing {
		t.Errorf("%s is not in names.txt: add it at the end", n)
	}
}

// An answer may be as long as an opening and longer. Were the rest of the digits counted anew for each code, this would take
// more than an hour.
func TestDigitsWithoutEnd(t *testing.T) {
	b := bytes.Repeat([]byte("0d"), 32<<20)
	p := packed.Pack(b)
	got, err := packed.Unpack(p, len(b))
	if err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%d digits are packed as %d bytes, which gives %d, %v", len(b), len(p), len(got), err)
	}
}

// A build with fewer words wrote them out.
func TestSpelledOut(t *testing.T) {
	for _, text := range []string{`{"key":"consent.register"}`, `"0123456789abcdef"`, `"1773104400000"`} {
		if got, err := packed.Unpack([]byte(text), len(text)); err != nil || string(got) != text {
			t.Errorf("%s gives %q, %v", text, got, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	for what, b := range map[string][]byte{"a cut word": {0x80}, "a name without a word": {0x9f, 0xff}, "a text without a word": {0xaf, 0xff}, "cut digits": {0xb0, 1},
		"cut digits of a count": {0xb2, 2, 1}, "an endless number": {0xb3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "cut bytes": {0xb4, 2, 0xe5}, "no code": {0xb5, 0}} {
		if got, err := packed.Unpack(b, limit); err == nil {
			t.Errorf("%s gives %q", what, got)
		}
	}
}

func FuzzPack(f *testing.F) {
	for _, b := range golden(f) {
		f.Add(b)
	}
	f.Add([]byte(`","key":"","` + strings.Repeat("0123456789abcdef", 40) + `"外滩` + strings.Repeat("\xff", 300) + "0012345678901"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := packed.Unpack(packed.Pack(b), len(b))
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%q gives %q, %v", b, got, err)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	for _, b := range golden(f) {
		f.Add(packed.Pack(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text, err := packed.Unpack(b, limit)
		if err != nil {
			return
		}
		if again, err := packed.Unpack(packed.Pack(text), limit); err != nil || !bytes.Equal(again, text) {
			t.Fatalf("%x gives %q, and that packed %q, %v", b, text, again, err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	var text []byte
	for _, x := range golden(b) {
		if bytes.Contains(x, []byte(`"nextTerms":`)) {
			text = x
		}
	}
	p := packed.Pack(text)
	b.Run("pack", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			packed.Pack(text)
		}
	})
	b.Run("unpack", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			packed.Unpack(p, limit)
		}
	})
}
