// Package headline measures what a provider's data adds to a bank's own, on real outcomes: two scorecards, trained and
// judged on different companies, one with the bank's ratios alone and one with the provider's beside them; and a third
// for which the provider's rows were joined to the wrong companies, whose lift has to vanish.
//
// What it is and what not stands under the table that it prints (Table.Text).
package headline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/deploy/sample/polish"
)

// The figures of the evaluation. They are fixed: nobody picks a seed after seeing the table.
const (
	Seed      = 20260701
	Folds     = 10
	bootstrap = 2000
)

// Approvals are the shares of companies approved, best scores first, in percent.
var Approvals = []int{30, 50, 70}

// Fetch gets the provider's fields of one company, as decimals, in whatever way the caller pays for them. It is called
// once for each company, from up to Parallel goroutines.
type Fetch func(ctx context.Context, code contracts.CreditCode) (fields map[string]string, err error)

// Parallel is how many calls are made at a time.
const Parallel = 8

// Variant is one of the three models.
type Variant struct {
	Name     string // bank, both, wrong
	Inputs   int
	Ranking  Ranking
	Approved []Approval // as Approvals
	// Stability is the population stability index of the scores that companies get when they were not trained on,
	// against those that they get when they were, in tenths of the latter; the mean over the folds.
	Stability float64
	scores    []int64      // out of sample, by company
	cards     []*Scorecard // by fold
}

// Approval is one share of companies approved.
type Approval struct {
	Percent  int
	N, Bad   int
	Interval Interval // of the bad rate
	approved []bool
}

// Table is the result.
type Table struct {
	N, Bad   int
	Calls    int
	Variants []Variant // bank, both, wrong
	// Gains of both and wrong over the bank's alone. The wrong join is the yardstick: a gain that it has too is chance.
	Gains []Gains
	Joint *Jointly // both once more, with the provider's part computed without being handed over; nil when it wasn't
}

// Gains are what a variant has over the bank's data alone. The two are about the same companies, so that their own
// intervals say too little; these are of the differences.
type Gains struct {
	Name     string // both, wrong
	AUC      float64
	Interval Interval
	// Approved says, by approval, how much lower the bad rate is, with a 95 % interval from resampling companies.
	Approved []Gain
}

// Gain is a difference of bad rates.
type Gain struct {
	Percent  int
	Rate     float64
	Interval Interval
}

// Run fetches the provider's half for every company and evaluates.
func Run(ctx context.Context, bank []polish.Company, fetch Fetch) (*Table, error) {
	provider, err := fetchAll(ctx, bank, fetch)
	if err != nil {
		return nil, err
	}
	return evaluate(bank, provider)
}

func fetchAll(ctx context.Context, bank []polish.Company, fetch Fetch) ([][]polish.Micro, error) {
	rows, names := make([][]polish.Micro, len(bank)), polish.Names(polish.ProviderColumns)
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(Parallel)
	for i := range bank {
		if each.Err() != nil {
			break
		}
		g.Go(func() error {
			fields, err := fetch(each, bank[i].Code)
			if err != nil {
				return fmt.Errorf("couldn't fetch company %d: %w", i, err)
			}
			row := make([]polish.Micro, len(names))
			for j, name := range names {
				text, ok := fields[name]
				if !ok {
					return fmt.Errorf("couldn't fetch company %d: no field %s", i, name)
				}
				if row[j], err = polish.ParseMicro(text); err != nil {
					return fmt.Errorf("couldn't fetch company %d: field %s: %w", i, name, err)
				}
			}
			rows[i] = row
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return rows, ctx.Err()
}

func evaluate(bank []polish.Company, provider [][]polish.Micro) (*Table, error) {
	t := &Table{N: len(bank), Calls: len(provider)}
	bad := make([]bool, len(bank))
	own := make([][]polish.Micro, len(bank))
	for i := range bank {
		if bad[i] = bank[i].Bankrupt; bad[i] {
			t.Bad++
		}
		for _, c := range polish.BankColumns {
			own[i] = append(own[i], bank[i].Ratio(c))
		}
	}
	if t.Bad < Folds || t.N-t.Bad < Folds {
		return nil, errors.New("couldn't evaluate: fewer bad or good companies than folds")
	}
	fold := folds(bank)
	// Every company gets the ratios of the next one in an order of chance: none keeps its own.
	order, wrong := shuffled(bank, "wrong join"), make([][]polish.Micro, len(bank))
	for k, i := range order {
		wrong[i] = provider[order[(k+1)%len(order)]]
	}
	for _, v := range []struct {
		name string
		rows [][]polish.Micro
	}{{"bank", own}, {"both", join(own, provider)}, {"wrong", join(own, wrong)}} {
		t.Variants = append(t.Variants, judge(v.name, v.rows, bad, fold, bank))
	}
	alone := &t.Variants[0]
	for _, v := range t.Variants[1:] {
		g := Gains{Name: v.Name}
		g.AUC, g.Interval = AUCGain(alone.scores, v.scores, bad)
		for a := range Approvals {
			g.Approved = append(g.Approved, gain(&alone.Approved[a], &v.Approved[a], bad))
		}
		t.Gains = append(t.Gains, g)
	}
	return t, nil
}

func join(left, right [][]polish.Micro) [][]polish.Micro {
	rows := make([][]polish.Micro, len(left))
	for i := range rows {
		rows[i] = slices.Concat(left[i], right[i])
	}
	return rows
}

// shuffled orders companies by a hash of seed, purpose and code: by chance, and the same everywhere.
func shuffled(bank []polish.Company, purpose string) []int {
	keys, order := make([][32]byte, len(bank)), make([]int, len(bank))
	for i := range bank {
		order[i] = i
		keys[i] = sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s", Seed, purpose, bank[i].Code))
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(keys[a][:], keys[b][:]) })
	return order
}

// folds deals the bad and the good companies out in turn, so that every fold has its share of both.
func folds(bank []polish.Company) []int {
	fold, dealt := make([]int, len(bank)), map[bool]int{}
	for _, i := range shuffled(bank, "folds") {
		fold[i] = dealt[bank[i].Bankrupt] % Folds
		dealt[bank[i].Bankrupt]++
	}
	return fold
}

// judge scores every company with the card trained on the folds that it isn't in.
func judge(name string, rows [][]polish.Micro, bad []bool, fold []int, bank []polish.Company) Variant {
	v := Variant{Name: name, Inputs: len(rows[0]), scores: make([]int64, len(rows)), cards: make([]*Scorecard, Folds)}
	var shifts [Folds]float64
	var g errgroup.Group // folds don't share anything, so their order doesn't matter
	g.SetLimit(runtime.GOMAXPROCS(0))
	for f := range Folds {
		g.Go(func() error { v.cards[f], shifts[f] = judgeFold(rows, bad, fold, f, v.scores); return nil })
	}
	g.Wait()
	for _, s := range shifts {
		v.Stability += s / Folds
	}
	v.Ranking = Rank(v.scores, bad)
	v.Approved = approve(v.scores, bad, bank)
	return v
}

// judgeFold trains without fold f and writes the scores of its companies.
func judgeFold(rows [][]polish.Micro, bad []bool, fold []int, f int, scores []int64) (*Scorecard, float64) {
	var train [][]polish.Micro
	var outcomes []bool
	for i := range rows {
		if fold[i] != f {
			train, outcomes = append(train, rows[i]), append(outcomes, bad[i])
		}
	}
	card := Train(train, outcomes)
	var seen, unseen []int64
	for i := range rows {
		if score := card.Score(rows[i]); fold[i] == f {
			scores[i] = score
			unseen = append(unseen, score)
		} else {
			seen = append(seen, score)
		}
	}
	return card, stability(seen, unseen)
}

// approve takes the companies with the lowest scores. Equal scores are ordered by chance, not by outcome.
func approve(scores []int64, bad []bool, bank []polish.Company) []Approval {
	order := shuffled(bank, "ties")
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case scores[a] < scores[b]:
			return -1
		case scores[a] > scores[b]:
			return 1
		}
		return 0
	})
	var out []Approval
	for _, percent := range Approvals {
		a := Approval{Percent: percent, N: len(order) * percent / 100, approved: make([]bool, len(order))}
		for _, i := range order[:a.N] {
			a.approved[i] = true
			if bad[i] {
				a.Bad++
			}
		}
		a.Interval = Wilson(a.Bad, a.N)
		out = append(out, a)
	}
	return out
}

// stability compares two sets of scores over the tenths of the first.
func stability(expected, actual []int64) float64 {
	sorted := slices.Clone(expected)
	slices.Sort(sorted)
	var edges []int64
	for i := 1; i < 10; i++ {
		edges = append(edges, sorted[len(sorted)*i/10])
	}
	share := func(scores []int64) []float64 {
		s := make([]float64, 10)
		for _, score := range scores {
			i, _ := slices.BinarySearch(edges, score)
			s[i]++
		}
		for i := range s {
			s[i] /= float64(len(scores))
		}
		return s
	}
	return PopStability(share(expected), share(actual))
}

// gain resamples companies, keeping what was decided about each.
func gain(bank, other *Approval, bad []bool) Gain {
	rate := func(a *Approval) float64 { return float64(a.Bad) / float64(a.N) }
	g := Gain{Percent: bank.Percent, Rate: rate(bank) - rate(other)}
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], Seed)
	rng := rand.New(rand.NewChaCha8(seed))
	// A company matters by three bits only: bad, approved by the one, approved by the other.
	class := make([]uint8, len(bad))
	for i := range bad {
		for bit, yes := range [3]bool{bad[i], bank.approved[i], other.approved[i]} {
			if yes {
				class[i] |= 1 << bit
			}
		}
	}
	sample := make([]float64, bootstrap)
	for b := range sample {
		var c [8]int
		for range class {
			c[class[rng.IntN(len(class))]&7]++
		}
		own, its := c[2]+c[3]+c[6]+c[7], c[4]+c[5]+c[6]+c[7]
		sample[b] = float64(c[3]+c[7])/float64(max(own, 1)) - float64(c[5]+c[7])/float64(max(its, 1))
	}
	slices.Sort(sample)
	g.Interval = Interval{sample[bootstrap*25/1000], sample[bootstrap*975/1000]}
	return g
}
