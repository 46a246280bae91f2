package catalog

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTerms(t *testing.T) {
	for text, want := range map[string]string{
		"纳税经营":         " 纳税经营|税经 纳税 经营",
		"Tax ５Ａ级 5":    " tax 5a 级 5|^5 ^5a ^ta ^tax",
		"（12 月）":       " 12 月|^12",
		"tax.vat_rate": " tax vat rate|^ra ^rat ^ta ^tax ^va ^vat",
		"，。 !":         "|",
	} {
		rs := runs(text)
		terms := strings.Join(termsOf(rs), " ")
		if hay, tail, _ := strings.Cut(want, "|"); haystackOf(rs) != hay || !sameWords(terms, tail) {
			t.Errorf("%q gives %q and %q", text, haystackOf(rs), terms)
		}
	}
}

func sameWords(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// Whatever part of a run somebody looks for, the index finds the text; what it finds and the patterns accept does hold
// the words.
func TestLookupFindsParts(t *testing.T) {
	han := rapid.StringOfN(rapid.SampledFrom([]rune("纳税经营指标企业数据信用")), 1, 8, -1)
	latin := rapid.StringOfN(rapid.SampledFrom([]rune("taxvrise12")), 1, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		var text []string
		for range rapid.IntRange(1, 5).Draw(t, "runs") {
			text = append(text, rapid.OneOf(han, latin).Draw(t, "run"))
		}
		rs := runs(strings.Join(text, " "))
		r := rs[rapid.IntRange(0, len(rs)-1).Draw(t, "which")]
		cs := []rune(r.text)
		from := 0
		if r.han {
			from = rapid.IntRange(0, len(cs)-1).Draw(t, "from")
		}
		part := string(cs[from:rapid.IntRange(from+1, len(cs)).Draw(t, "to")])
		if !matches(rs, runs(part)) {
			t.Fatalf("%q is not found in %q", part, haystackOf(rs))
		}
		other := runs(rapid.OneOf(han, latin).Draw(t, "other"))
		if matches(rs, other) != holds(rs, other) {
			t.Fatalf("%v in %q: found %v", other, haystackOf(rs), matches(rs, other))
		}
	})
}

// matches is what PostgreSQL does with a lookup.
func matches(text, query []run) bool {
	terms, patterns := lookup(query)
	have := termsOf(text)
	for _, term := range terms {
		if !slices.Contains(have, term) {
			return false
		}
	}
	for _, p := range patterns {
		if !strings.Contains(haystackOf(text), strings.Trim(p, "%")) {
			return false
		}
	}
	return true
}

func holds(text, query []run) bool {
	return !slices.ContainsFunc(query, func(q run) bool {
		return !slices.ContainsFunc(text, func(r run) bool {
			if q.han {
				return r.han && strings.Contains(r.text, q.text)
			}
			return !r.han && strings.HasPrefix(r.text, q.text)
		})
	})
}

func FuzzShelfCursor(f *testing.F) {
	f.Add(cursor{1772413200000, "00112233445566778899aabbccddeeff"}.String())
	f.Add("MTc3MjQxMzIwMDAwMC4w")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCursor(s)
		if err == nil && c.String() != s {
			t.Fatalf("%q was read as %+v", s, c)
		}
	})
}
