package score

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// TestModelRefused: a provider takes the registered model in its one form, and nothing else.
func TestModelRefused(t *testing.T) {
	s, other := seal(t, small()), seal(t, small())
	if s.digest == other.digest {
		t.Fatal("two encryptions of one card are the same")
	}
	suiteAt := len(modelMagic) + 1
	specAt := suiteAt + len(Suite) + 4
	spec := canon.Marshal(&s.card.Spec)
	polyAt := specAt + len(spec) + 32
	change := func(f func(b []byte) []byte) []byte { return f(slices.Clone(s.bytes)) }
	wider := small()
	wider.Spec.Features[0].Edges = wider.Spec.Features[0].Edges[:2]
	for _, c := range []struct {
		name string
		code contracts.Code
		b    []byte
	}{
		{"empty", CodeModel, nil},
		{"another magic", CodeModel, change(func(b []byte) []byte { b[0]++; return b })},
		{"other parameters", CodeSuite, change(func(b []byte) []byte { b[suiteAt+5]++; return b })},
		{"a shorter suite", CodeSuite, change(func(b []byte) []byte { b[suiteAt-1]--; return b })},
		{"a specification of 4 GB", CodeModel, change(func(b []byte) []byte { binary.BigEndian.PutUint32(b[specAt-4:], math.MaxUint32); return b })},
		{"another form of the specification", CodeSpec, change(func(b []byte) []byte { b[specAt] = ' '; return b })},
		{"fewer columns than ciphertexts", CodeModel, slices.Concat(s.bytes[:specAt-4], binary.BigEndian.AppendUint32(nil, uint32(len(canon.Marshal(&wider.Spec)))), canon.Marshal(&wider.Spec), s.bytes[specAt+len(spec):])},
		{"another seed", CodeModel, change(func(b []byte) []byte { b[polyAt-1]++; return b })},
		{"another coefficient", CodeModel, change(func(b []byte) []byte { b[polyAt] ^= 1; return b })},
		{"a coefficient not reduced", CodeModel, change(func(b []byte) []byte { copy(b[len(b)-7:], "\xff\xff\xff\xff\xff\xff\xff"); return b })},
		{"a ciphertext too few", CodeModel, s.bytes[:len(s.bytes)-polyBytes(2)]},
		{"a ciphertext of a lower level", CodeModel, s.bytes[:len(s.bytes)-polyBytes(2)+polyBytes(1)]},
		{"a ciphertext of a higher degree", CodeModel, append(slices.Clone(s.bytes), make([]byte, polyBytes(2))...)},
		{"a byte too many", CodeModel, append(slices.Clone(s.bytes), 0)},
		{"another model", CodeModel, other.bytes},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseModel(c.b, s.digest)
			wantRefusal(t, err, c.code)
		})
	}
	disk := errors.New("disk")
	_, err := ReadModel(io.MultiReader(bytes.NewReader(s.bytes[:1000]), iotest.ErrReader(disk)), s.digest)
	if r := (*contracts.Refusal)(nil); !errors.Is(err, disk) || errors.As(err, &r) {
		t.Errorf("a failure to read gives %v", err)
	}
	if m, err := ReadModel(iotest.OneByteReader(bytes.NewReader(s.bytes)), s.digest); err != nil || m.Digest != s.digest {
		t.Errorf("in single bytes: %v", err)
	}
}

// TestAttest: an auditor recomputes exactly the registered file, and no other card or secret gives it.
func TestAttest(t *testing.T) {
	s := seal(t, small())
	if err := Attest(s.card, s.secret, s.digest); err != nil {
		t.Fatal(err)
	}
	changed := small()
	changed.Weights[0][1]++
	wantRefusal(t, Attest(changed, s.secret, s.digest), CodeModel)
	wantRefusal(t, Attest(s.card, NewSecret(), s.digest), CodeModel)
	// Two cards under one secret share neither key nor seed: their difference shows no weights.
	var a, b bytes.Buffer
	if _, err := EncryptModel(&a, s.card, s.secret); err != nil {
		t.Fatal(err)
	}
	if _, err := EncryptModel(&b, changed, s.secret); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), s.bytes) {
		t.Error("the same card and secret give another file")
	}
	at := a.Len() - 7*polyBytes(2) - 32
	if bytes.Equal(a.Bytes()[at:at+32], b.Bytes()[at:at+32]) {
		t.Error("two cards share a seed")
	}
	// The golden file: an auditor on another machine, or years later, must come to the same bytes.
	const golden = "c9700029d486ce4e975f269b56c6f1f9e176907254718422aaeccb4aae476ad2"
	d, err := EncryptModel(io.Discard, small(), Secret{1, 2, 3})
	if err != nil || d != golden {
		t.Errorf("the model of the golden card is %s, %v", d, err)
	}
}

// TestBits: 4 bins, 4 groups with the missing one, 101 levels and a missing one. Against the first choices the bins give
// −8 to 695, the groups −40 to 30, the levels −700 to 99.
func TestBits(t *testing.T) {
	rows, scores := small().Bits()
	if want := math.Log2(4 * 4 * 102); math.Abs(rows-want) > 1e-9 {
		t.Errorf("rows take %f bits, want %f", rows, want)
	}
	if want := math.Log2(748 + 824 + 1); math.Abs(scores-want) > 1e-9 {
		t.Errorf("scores take %f bits, want %f", scores, want)
	}
}

// TestCardRefused: cards and specifications that can't be.
func TestCardRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		code contracts.Code
		f    func(c *Card)
	}{
		{"no features", CodeSpec, func(c *Card) { c.Spec.Features = nil }},
		{"a feature twice", CodeSpec, func(c *Card) { c.Spec.Features[1].Name = "X1" }},
		{"no name", CodeSpec, func(c *Card) { c.Spec.Features[0].Name = "" }},
		{"no kind", CodeSpec, func(c *Card) { c.Spec.Features[0].Kind = "" }},
		{"bins without edges", CodeSpec, func(c *Card) { c.Spec.Features[0].Edges = nil }},
		{"edges out of order", CodeSpec, func(c *Card) { c.Spec.Features[0].Edges[1] = -500_000 }},
		{"an edge out of range", CodeSpec, func(c *Card) { c.Spec.Features[0].Edges[2] = maxEdge }},
		{"bins with groups", CodeSpec, func(c *Card) { c.Spec.Features[0].Groups = [][]string{{"A"}} }},
		{"too many bins", CodeSpec, func(c *Card) {
			c.Spec.Features[0].Edges = nil
			for i := range MaxBins {
				c.Spec.Features[0].Edges = append(c.Spec.Features[0].Edges, int64(i))
			}
			c.Weights[0] = make([]int64, MaxBins+1)
		}},
		{"a code twice", CodeSpec, func(c *Card) { c.Spec.Features[1].Groups[1][0] = "A" }},
		{"an empty group", CodeSpec, func(c *Card) { c.Spec.Features[1].Groups[1] = nil }},
		{"codes out of order", CodeSpec, func(c *Card) { c.Spec.Features[1].Groups[0] = []string{"B", "A"} }},
		{"an empty code", CodeSpec, func(c *Card) { c.Spec.Features[1].Groups[0][0] = "" }},
		{"no step", CodeSpec, func(c *Card) { c.Spec.Features[2].Step = 0 }},
		{"too many levels", CodeSpec, func(c *Card) { c.Spec.Features[2].Max = MaxLevels }},
		{"linear with edges", CodeSpec, func(c *Card) { c.Spec.Features[2].Edges = []int64{1} }},
		{"a weight too few", CodeArity, func(c *Card) { c.Weights[0] = c.Weights[0][1:] }},
		{"weights of a feature too few", CodeArity, func(c *Card) { c.Weights = c.Weights[1:] }},
		{"a weight out of range", CodeValue, func(c *Card) { c.Weights[1][1] = maxWeight + 1 }},
		{"a base out of range", CodeValue, func(c *Card) { c.Base = math.MinInt64 }},
		{"scores that wrap", CodeValue, func(c *Card) { c.Spec.Features[2].Max = 65535; c.Weights[2][0] = 1 << 21 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			card := small()
			c.f(card)
			_, err := EncryptModel(io.Discard, card, NewSecret())
			wantRefusal(t, err, c.code)
			_, err = NewKey(card, NewSecret())
			wantRefusal(t, err, c.code)
			if _, err := ReadCard(canon.Marshal(card)); err == nil {
				t.Error("the card was read")
			}
		})
	}
	many := &Spec{}
	for i := range 17 {
		f := Feature{Name: strings.Repeat("x", i+1), Kind: Bins}
		for e := range MaxBins - 1 {
			f.Edges = append(f.Edges, int64(e))
		}
		many.Features = append(many.Features, f)
	}
	wantRefusal(t, many.Check(), CodeSpec) // 527 columns
	if card, err := ReadCard(canon.Marshal(small())); err != nil || card.Base != -1234 {
		t.Errorf("the card as it is: %v", err)
	}
}

// TestValuesRefused: values that the specification has no place for.
func TestValuesRefused(t *testing.T) {
	spec := &small().Spec
	for _, row := range [][]string{{"", "A", "1"}, {"1e3", "A", "1"}, {"0.0000001", "A", "1"}, {"1", "A", "x"}, {"1,5", "A", "1"}, {"+1", "A", "1"}, {".5", "A", "1"},
		{"1.", "A", "1"}, {"01", "A", "1"}, {"-", "A", "1"}, {"999999999999", "A", "1"}} {
		_, err := spec.Encode(row)
		wantRefusal(t, err, CodeValue)
		_, err = small().Score(row)
		wantRefusal(t, err, CodeValue)
	}
	for _, row := range [][]string{nil, {"1", "A"}, {"1", "A", "1", "1"}} {
		_, err := spec.Encode(row)
		wantRefusal(t, err, CodeArity)
		_, err = small().Score(row)
		wantRefusal(t, err, CodeArity)
	}
}

// TestBatchRefused: rows of another width, integers out of their range, and a company twice.
func TestBatchRefused(t *testing.T) {
	spec := &small().Spec
	good := []int64{0, 1, 0, 0, 1, 0, 100, 0}
	for _, c := range []struct {
		name      string
		code      contracts.Code
		companies []string
		rows      [][]int64
	}{
		{"nobody", CodeArity, nil, nil},
		{"a row too few", CodeArity, []string{"a", "b"}, [][]int64{good}},
		{"too many", CodeArity, names(MaxBatch + 1), make([][]int64, MaxBatch+1)},
		{"a column too few", CodeArity, []string{"a"}, [][]int64{good[1:]}},
		{"a column too many", CodeArity, []string{"a"}, [][]int64{append(slices.Clone(good), 0)}},
		{"no columns", CodeArity, []string{"a"}, [][]int64{{}}},
		{"a negative value", CodeValue, []string{"a"}, [][]int64{{-1, 0, 0, 0, 0, 0, 0, 0}}},
		{"more than one in a bin", CodeValue, []string{"a"}, [][]int64{{2, 0, 0, 0, 0, 0, 0, 0}}},
		{"a level past the end", CodeValue, []string{"a"}, [][]int64{{0, 0, 0, 0, 0, 0, 101, 0}}},
		{"a company twice", CodeRepeat, []string{"a", "b", "a"}, [][]int64{good, good, good}},
		{"an absent company twice", CodeRepeat, []string{"a", "b", "a"}, [][]int64{good, good, nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := PrepareFeatures(spec, c.companies, c.rows)
			wantRefusal(t, err, c.code)
		})
	}
	// A batch for another specification, even of the same width.
	s := seal(t, small())
	same := small()
	same.Spec.Features[0].Edges[0]--
	_, err := provider().Evaluate(t.Context(), s.model, prepare(t, &same.Spec, smallRows))
	wantRefusal(t, err, CodeArity)
}

// TestCap: a company is scored as often as agreed by all models together, absent companies aren't counted, and a
// refused batch counts nobody.
func TestCap(t *testing.T) {
	s, second := seal(t, small()), seal(t, small())
	c := &counter{}
	p := &Provider{Agreement: agreement, Max: 3, Counter: c}
	all := prepare(t, &s.card.Spec, [][]string{smallRows[0], smallRows[1], nil})
	one := prepare(t, &s.card.Spec, [][]string{smallRows[0]})
	evaluate := func(m *Model, b *Batch) error { _, err := p.Evaluate(t.Context(), m, b); return err }
	for i, err := range []error{evaluate(s.model, all), evaluate(second.model, one), evaluate(s.model, one)} {
		if err != nil {
			t.Fatalf("evaluation %d: %v", i, err)
		}
	}
	wantRefusal(t, evaluate(second.model, one), CodeCap)
	wantRefusal(t, evaluate(s.model, all), CodeCap)
	last := prepare(t, &s.card.Spec, [][]string{nil, smallRows[0]}) // company 1 has two left, company 0 is absent
	for range 2 {
		if err := evaluate(s.model, last); err != nil {
			t.Fatal(err)
		}
	}
	if err := evaluate(s.model, last); err == nil || !strings.Contains(err.Error(), "company 1 of the batch") {
		t.Errorf("the refusal names another company: %v", err)
	}
	if got := c.seen[string(agreement)+"company 1"]; got != 3 {
		t.Errorf("company 1 is counted %d times", got)
	}
	if got := c.seen[string(agreement)+"company 0"]; got != 3 {
		t.Errorf("company 0 is counted %d times", got)
	}
	if _, counted := c.seen[string(agreement)+"company 2"]; counted {
		t.Error("an absent company is counted")
	}
	other := &Provider{Agreement: "fedcba9876543210fedcba9876543210", Max: 3, Counter: c}
	if _, err := other.Evaluate(t.Context(), s.model, one); err != nil {
		t.Errorf("under another agreement: %v", err)
	}
	c.err = errors.New("disk")
	if _, err := other.Evaluate(t.Context(), s.model, one); !errors.Is(err, c.err) {
		t.Errorf("a count that can't be kept gives %v", err)
	}
	// Callers at once don't pass the cap together.
	race := &Provider{Agreement: agreement, Max: 5, Counter: &counter{}}
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 16 {
		wg.Go(func() {
			if _, err := race.Evaluate(context.Background(), s.model, one); err == nil {
				mu.Lock()
				done++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if done != 5 {
		t.Errorf("%d of 16 evaluations passed a cap of 5", done)
	}
}

// TestAnswerRefused: a bank takes an answer to its model, about as many companies as it asked for, in its one form.
func TestAnswerRefused(t *testing.T) {
	s, other := seal(t, small()), seal(t, small())
	n := len(smallRows)
	answer, err := provider().Evaluate(t.Context(), s.model, prepare(t, &s.card.Spec, smallRows))
	if err != nil {
		t.Fatal(err)
	}
	head := len(answerHead(s.digest, nil))
	change := func(f func(b []byte) []byte) []byte { return f(slices.Clone(answer)) }
	for _, c := range []struct {
		name string
		code contracts.Code
		b    []byte
	}{
		{"empty", CodeAnswer, nil},
		{"another magic", CodeAnswer, change(func(b []byte) []byte { b[0]++; return b })},
		{"other parameters", CodeSuite, change(func(b []byte) []byte { b[len(answerMagic)+3]++; return b })},
		{"another model", CodeAnswer, change(func(b []byte) []byte { b[head-5]++; return b })},
		{"no companies", CodeAnswer, change(func(b []byte) []byte { b[head-1] = 0; return b })},
		{"a block more than sent", CodeAnswer, change(func(b []byte) []byte { b[head-2] = 0x21; return b })},
		{"4 billion companies", CodeAnswer, change(func(b []byte) []byte { binary.BigEndian.PutUint32(b[head-4:], math.MaxUint32); return b })},
		{"marks past the end", CodeAnswer, change(func(b []byte) []byte { b[head] |= 0x80; return b })},
		{"of degree zero", CodeAnswer, answer[:len(answer)-polyBytes(0)]},
		{"of a higher level", CodeAnswer, append(slices.Clone(answer), make([]byte, 2*(polyBytes(1)-polyBytes(0)))...)},
		{"of degree two", CodeAnswer, append(slices.Clone(answer), make([]byte, polyBytes(0))...)},
		{"a byte too many", CodeAnswer, append(slices.Clone(answer), 0)},
		{"a coefficient not reduced", CodeAnswer, change(func(b []byte) []byte { copy(b[len(b)-13:], bytes.Repeat([]byte{0xff}, 13)); return b })},
		{"damage", CodeAnswer, change(func(b []byte) []byte { b[len(b)-100] ^= 1; return b })},
		{"a present company marked absent", CodeAnswer, change(func(b []byte) []byte { b[head] |= 2; return b })},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.key.Open(c.b, s.digest, n)
			wantRefusal(t, err, c.code)
		})
	}
	_, err = s.key.Open(answer, s.digest, n+1)
	wantRefusal(t, err, CodeAnswer)
	_, err = other.key.Open(answer, s.digest, n) // another key
	wantRefusal(t, err, CodeAnswer)
	if _, err := s.key.Open(answer, s.digest, n); err != nil {
		t.Errorf("the answer as it is: %v", err)
	}
}

// TestEmptySlots: absent companies and slots past the end hold zeros, also after a column that filled them.
func TestEmptySlots(t *testing.T) {
	spec := &small().Spec
	rows := slices.Repeat([][]int64{spec.bounds()}, Slots+3)
	rows[5], rows[Slots+1] = nil, nil
	b, err := PrepareFeatures(spec, names(len(rows)), rows)
	if err != nil {
		t.Fatal(err)
	}
	for n, block := range b.blocks {
		for j, p := range block {
			got := decodeSlots(p)
			for k, v := range got {
				want := uint64(0)
				if at := n*Slots + k; at < len(rows) && rows[at] != nil {
					want = uint64(rows[at][j])
				}
				if v != want {
					t.Fatalf("block %d, column %d, slot %d holds %d, want %d", n, j, k, v, want)
				}
			}
		}
	}
}
