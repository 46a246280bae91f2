package score

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

const agreement contracts.ID = "0123456789abcdef0123456789abcdef"

// counter keeps the rule that Counter states, in memory.
type counter struct {
	mu   sync.Mutex
	seen map[string]int64
	err  error
}

func (c *counter) Count(_ context.Context, agreement contracts.ID, companies []string, max int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return -1, c.err
	}
	if c.seen == nil {
		c.seen = map[string]int64{}
	}
	for i, name := range companies {
		if c.seen[string(agreement)+name] >= max {
			return i, nil
		}
	}
	for _, name := range companies {
		c.seen[string(agreement)+name]++
	}
	return -1, nil
}

func provider() *Provider {
	return &Provider{Agreement: agreement, Max: 1 << 40, Counter: &counter{}}
}

// small is a card with a feature of each kind.
func small() *Card {
	return &Card{Base: -1234, Spec: Spec{Features: []Feature{
		{Name: "X1", Kind: Bins, Edges: []int64{-500_000, 0, 1_250_000}},
		{Name: "industry", Kind: Groups, Groups: [][]string{{"A", "B"}, {"C"}}, Missing: true},
		{Name: "age", Kind: Linear, Offset: 1_000_000, Step: 1_000_000, Max: 100, Missing: true},
	}}, Weights: [][]int64{{5, -3, 0, 700}, {10, 20, -30, 40}, {-7, 99}}}
}

var smallRows = [][]string{
	{"-0.5", "A", "1"}, {"-0.500001", "C", "0"}, {"0", "", ""}, {"1.25", "Z", "101"}, {"1.250001", "B", "1000"}, {"7", "C", "50.999999"},
}

type sealed struct {
	card   *Card
	secret Secret
	digest contracts.Hash
	bytes  []byte
	model  *Model
	key    *Key
}

func seal(t testing.TB, card *Card) *sealed {
	t.Helper()
	s := &sealed{card: card, secret: NewSecret()}
	var b bytes.Buffer
	var err error
	if s.digest, err = EncryptModel(&b, card, s.secret); err != nil {
		t.Fatal(err)
	}
	s.bytes = b.Bytes()
	if s.model, err = ParseModel(s.bytes, s.digest); err != nil {
		t.Fatal(err)
	}
	if s.key, err = NewKey(card, s.secret); err != nil {
		t.Fatal(err)
	}
	return s
}

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "company " + strconv.Itoa(i)
	}
	return out
}

func prepare(t testing.TB, spec *Spec, values [][]string) *Batch {
	t.Helper()
	rows := make([][]int64, len(values))
	for i, v := range values {
		if v == nil {
			continue
		}
		var err error
		if rows[i], err = spec.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	b, err := PrepareFeatures(spec, names(len(rows)), rows)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *sealed) scores(t testing.TB, b *Batch) []Score {
	t.Helper()
	answer, err := provider().Evaluate(context.Background(), s.model, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(answer) != AnswerBytes(len(b.Companies)) {
		t.Fatalf("%d bytes, AnswerBytes says %d", len(answer), AnswerBytes(len(b.Companies)))
	}
	scores, err := s.key.Open(answer, s.digest, len(b.Companies))
	if err != nil {
		t.Fatal(err)
	}
	return scores
}

// TestScores: what the bank opens is the score in clear, to the last digit.
func TestScores(t *testing.T) {
	s := seal(t, small())
	values := append(append([][]string(nil), smallRows...), nil)
	scores := s.scores(t, prepare(t, &s.card.Spec, values))
	hand := []int64{-1234 + 5 + 20 - 0, -1234 + 5 - 30, -1234 - 3 + 40 + 99, -1234 + 0 + 10 - 700, -1234 + 700 + 20 - 700, -1234 + 700 - 30 - 49*7}
	for i, v := range values {
		if v == nil {
			if !scores[i].Absent || scores[i].Value != 0 {
				t.Errorf("absent company: %+v", scores[i])
			}
			continue
		}
		want, err := s.card.Score(v)
		if err != nil || want != hand[i] {
			t.Errorf("row %d in clear: %d, %v, want %d", i, want, err, hand[i])
		}
		if scores[i] != (Score{Value: want}) {
			t.Errorf("row %d: %+v, want %d", i, scores[i], want)
		}
	}
}

// TestScoresOracle: cards and rows of chance, against the score in clear.
func TestScoresOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		card := drawCard(rt)
		if card.Check() != nil {
			rt.Skip()
		}
		checkRows(t, card, rapid.IntRange(1, 50).Draw(rt, "companies"), rapid.Uint64().Draw(rt, "rows"))
	})
}

// TestBlocks: batches about the size of a block, and of several.
func TestBlocks(t *testing.T) {
	for _, n := range []int{Slots - 1, Slots, Slots + 1, 2*Slots + 9} {
		checkRows(t, &Card{Base: 5, Spec: Spec{Features: []Feature{
			{Name: "a", Kind: Linear, Offset: -2e9, Step: 1, Max: MaxLevels - 1, Missing: true}, {Name: "b", Kind: Bins, Edges: []int64{-1e9, 0, 7}}, {Name: "c", Kind: Groups, Groups: [][]string{{"g0a", "g1b"}}}}},
			Weights: [][]int64{{-500_000, 7}, {1, -2, 3, -4}, {0, 1_000_000}}}, n, uint64(n))
	}
}

func checkRows(t *testing.T, card *Card, companies int, seed uint64) {
	t.Helper()
	s := seal(t, card)
	rng := rand.New(rand.NewChaCha8(sha256.Sum256(binary.BigEndian.AppendUint64(nil, seed))))
	values := make([][]string, companies)
	for i := range values {
		if rng.IntN(10) > 0 {
			values[i] = drawRow(rng, &card.Spec)
		}
	}
	for i, got := range s.scores(t, prepare(t, &card.Spec, values)) {
		want := Score{Absent: values[i] == nil}
		if values[i] != nil {
			want.Value, _ = card.Score(values[i])
		}
		if got != want {
			t.Fatalf("company %d of %d: %+v, want %+v", i, companies, got, want)
		}
	}
}

func drawCard(rt *rapid.T) *Card {
	c := &Card{Base: rapid.Int64Range(-1e6, 1e6).Draw(rt, "base")}
	for i := range rapid.IntRange(1, 4).Draw(rt, "features") {
		f := Feature{Name: fmt.Sprint("F", i), Kind: rapid.SampledFrom([]Kind{Bins, Groups, Linear}).Draw(rt, "kind"), Missing: rapid.Bool().Draw(rt, "missing")}
		switch f.Kind {
		case Bins:
			e := rapid.Int64Range(-1e9, 1e9).Draw(rt, "edge")
			for range rapid.IntRange(1, 3).Draw(rt, "edges") {
				f.Edges = append(f.Edges, e)
				e += rapid.Int64Range(1, 1e9).Draw(rt, "width")
			}
		case Groups:
			for g := range rapid.IntRange(1, 3).Draw(rt, "groups") {
				f.Groups = append(f.Groups, []string{fmt.Sprint("g", g, "a"), fmt.Sprint("g", g, "b")})
			}
		case Linear:
			f.Offset, f.Step, f.Max = rapid.Int64Range(-1e9, 1e9).Draw(rt, "offset"), rapid.Int64Range(1, 1e6).Draw(rt, "step"), rapid.Int64Range(1, MaxLevels-1).Draw(rt, "max")
		}
		var w []int64
		for range f.choices() {
			w = append(w, rapid.Int64Range(-500_000, 500_000).Draw(rt, "weight"))
		}
		c.Spec.Features, c.Weights = append(c.Spec.Features, f), append(c.Weights, w)
	}
	return c
}

func drawRow(rng *rand.Rand, s *Spec) []string {
	row := make([]string, len(s.Features))
	for i := range s.Features {
		f := &s.Features[i]
		switch {
		case f.Missing && rng.IntN(8) == 0:
		case f.Kind == Groups:
			row[i] = fmt.Sprint("g", rng.IntN(4), string("ab"[rng.IntN(2)]))
		default:
			v := rng.Int64N(4e9) - 2e9
			sign := ""
			if v < 0 {
				sign, v = "-", -v
			}
			row[i] = fmt.Sprintf("%s%d.%06d", sign, v/1e6, v%1e6)
		}
	}
	return row
}

func wantRefusal(t *testing.T, err error, code contracts.Code) {
	t.Helper()
	var r *contracts.Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("got %v, want a refusal %s", err, code)
	}
}
