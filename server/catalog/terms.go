package catalog

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// Search works on words. A text is normalised (NFKC, lower case) and cut into runs of Chinese characters and runs of
// other letters and digits. The index holds, for every Chinese run, its pairs of neighbours, and for every other run its
// first two and three letters behind a caret, or the run itself when it is that short:
//
//	"Tax 纳税指标 5"  →  ^ta ^tax 纳税 税指 指标 ^5
//
// So a Chinese word of two characters is found by the index alone, and so is a prefix of two or three letters; longer
// ones are checked again against the haystack, the runs between spaces. One character or letter is looked for only
// beside something that the index knows.

type run struct {
	text string
	han  bool
}

func runs(text string) (out []run) {
	text = strings.ToLower(norm.NFKC.String(text))
	start, kind := 0, 0 // 0 none, 1 han, 2 other
	flush := func(end int) {
		if kind != 0 && end > start {
			out = append(out, run{text[start:end], kind == 1})
		}
	}
	for i, r := range text {
		k := 0
		switch {
		case unicode.Is(unicode.Han, r):
			k = 1
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			k = 2
		}
		if k != kind {
			flush(i)
			start, kind = i, k
		}
	}
	flush(len(text))
	return out
}

// haystackOf joins runs so that a run begins behind a space.
func haystackOf(rs []run) string {
	var b strings.Builder
	for _, r := range rs {
		b.WriteByte(' ')
		b.WriteString(r.text)
	}
	return b.String()
}

// Letters of an indexed prefix.
const minPrefix, maxPrefix = 2, 3

// termsOf gives the index terms of runs, sorted, each once.
func termsOf(rs []run) []string {
	var terms []string
	for _, r := range rs {
		cs := []rune(r.text)
		switch {
		case r.han:
			for i := range len(cs) - 1 {
				terms = append(terms, string(cs[i:i+2]))
			}
		case len(cs) < minPrefix:
			terms = append(terms, "^"+r.text)
		default:
			for n := minPrefix; n <= min(maxPrefix, len(cs)); n++ {
				terms = append(terms, "^"+string(cs[:n]))
			}
		}
	}
	slices.Sort(terms)
	return slices.Compact(terms)
}

// lookup gives the terms that every match of a query has, and the patterns (of LIKE) that its haystack must match
// besides.
func lookup(rs []run) (terms, patterns []string) {
	for _, r := range rs {
		cs := []rune(r.text)
		switch {
		case r.han:
			for i := range len(cs) - 1 {
				terms = append(terms, string(cs[i:i+2]))
			}
			if len(cs) != 2 {
				patterns = append(patterns, "%"+r.text+"%")
			}
		case len(cs) < minPrefix:
			patterns = append(patterns, "% "+r.text+"%")
		default:
			terms = append(terms, "^"+string(cs[:min(maxPrefix, len(cs))]))
			if len(cs) > maxPrefix {
				patterns = append(patterns, "% "+r.text+"%")
			}
		}
	}
	slices.Sort(terms)
	return slices.Compact(terms), patterns
}

// codeOf is what stands for a term in the index: 64 bits of a digest, so that two terms have one code as good as never.
func codeOf(term string) int64 {
	h := contracts.HashOf("bund/term/v1", []byte(term)).Bytes()
	return int64(binary.BigEndian.Uint64(h[:8]))
}

// codes writes the codes of terms as a PostgreSQL array.
func codes(terms []string) string {
	out := make([]string, len(terms))
	for i, t := range terms {
		out[i] = strconv.FormatInt(codeOf(t), 10)
	}
	return projection.Array(out)
}
