package score

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/tuneinsight/lattigo/v6/ring"

	"github.com/bund-exchange/bund/contracts/canon"
)

// decodeSlots is the inverse of encode.
func decodeSlots(p ring.Poly) []uint64 {
	c := *p.CopyNew()
	ringQ.IMForm(c, c)
	ringQ.INTT(c, c)
	out := make([]uint64, Slots)
	for k, v := range c.Coeffs[0] {
		if v > q0/2 {
			out[k] = (v + T - q0%T) % T
		} else {
			out[k] = v % T
		}
	}
	ringT.SubRings[0].NTT(out, out)
	return out
}

// FuzzModel: whatever is read as a model is written back the same, and fits its specification. Seeds are without
// ciphertexts: mutating megabytes finds nothing.
func FuzzModel(f *testing.F) {
	s := seal(f, small())
	head := s.bytes[:len(s.bytes)-(1+len(s.model.column))*polyBytes(2)]
	f.Add(head)
	f.Add(append(slices.Clone(head), make([]byte, 99)...))
	f.Add([]byte(modelMagic))
	f.Fuzz(checkModel)
}

// TestModelForm is FuzzModel's check of a whole model.
func TestModelForm(t *testing.T) { checkModel(t, seal(t, small()).bytes) }

func checkModel(t *testing.T, b []byte) {
	d := newDigest()
	d.Write(b)
	m, err := ParseModel(b, sum(d))
	if err != nil {
		return
	}
	if len(m.column) != m.Spec.Columns() || m.Spec.Check() != nil {
		t.Fatalf("%d ciphertexts for %d columns", len(m.column), m.Spec.Columns())
	}
	again := slices.Clone(b[:len(b)-(1+len(m.column))*polyBytes(2)])
	public := *m.public[0].CopyNew()
	ringQ.IMForm(public, public)
	again = appendPoly(again, public)
	for _, c := range m.column {
		again = appendPoly(again, c[0])
	}
	if !bytes.Equal(again, b) {
		t.Fatal("two forms of one model")
	}
}

// FuzzAnswer: no answer but the provider's own opens; none breaks the bank.
func FuzzAnswer(f *testing.F) {
	s := seal(f, small())
	answer, err := provider().Evaluate(f.Context(), s.model, prepare(f, &s.card.Spec, smallRows))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answer)
	f.Add(answer[:len(answer)-1])
	f.Add(answerHead(s.digest, make([]bool, 9)))
	f.Fuzz(func(t *testing.T, b []byte) {
		scores, err := s.key.Open(b, s.digest, len(smallRows))
		if err == nil && (len(scores) != len(smallRows) || len(b) != len(answer)) {
			t.Fatalf("%d scores from %d bytes", len(scores), len(b))
		}
	})
}

// FuzzCard covers specifications too, which cards contain.
func FuzzCard(f *testing.F) {
	f.Add(canon.Marshal(small()))
	f.Add([]byte(strings.Replace(string(canon.Marshal(small())), `"missing":true`, `"missing":false`, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadCard(b)
		if err != nil {
			return
		}
		if !bytes.Equal(canon.Marshal(c), b) {
			t.Fatal("two forms of one card")
		}
		if n := c.Spec.Columns(); n > MaxColumns {
			t.Fatalf("%d columns", n)
		}
		weights, _ := c.fold()
		if len(weights) != c.Spec.Columns() {
			t.Fatalf("%d weights for %d columns", len(weights), c.Spec.Columns())
		}
		spec, err := ReadSpec(canon.Marshal(&c.Spec))
		if err != nil || spec.Digest() != c.Spec.Digest() {
			t.Fatalf("the specification alone: %v", err)
		}
	})
}

// FuzzValue: a row that is encoded fits the columns and gives the score in clear.
func FuzzValue(f *testing.F) {
	for _, row := range smallRows {
		f.Add(row[0], row[1], row[2])
	}
	f.Add("-0.000000", "A", "00")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		card := small()
		row, err := card.Spec.Encode([]string{a, b, c})
		want, err2 := card.Score([]string{a, b, c})
		if (err == nil) != (err2 == nil) {
			t.Fatalf("encoded: %v, scored: %v", err, err2)
		}
		if err != nil {
			return
		}
		weights, score := card.fold()
		for j, bound := range card.Spec.bounds() {
			if row[j] < 0 || row[j] > bound {
				t.Fatalf("column %d is %d", j, row[j])
			}
			score += weights[j] * row[j]
		}
		if score != want {
			t.Fatalf("columns give %d, the values %d", score, want)
		}
	})
}
