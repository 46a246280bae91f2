package compute

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/google/differential-privacy/go/v3/dpagg"
	"github.com/google/differential-privacy/go/v3/noise"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/dictionary"
)

// Answer is what a consumer gets, in canonical JSON. Every figure has noise; none is exact.
type Answer struct {
	Cells          []Cell         `json:"cells"` // ascending by key as the dataset orders them; groups that may not be shown are left out
	Delta          string         `json:"delta"`
	Epsilon        string         `json:"epsilon"` // debited for this answer
	MinimumCohort  int64          `json:"minimumCohort"`
	RowsPerSubject int64          `json:"rowsPerSubject"` // a subject's newest rows, that many at most
	Snapshot       contracts.Hash `json:"snapshot"`
	// Within95 gives for each count and sum how far it is from the truth at most, in 95 of 100 answers; "" for means.
	Within95 []string `json:"within95"`
}

// Cell is one group: its key in the order of the query's groupBy, "" for an empty field, and the query's aggregates.
type Cell struct {
	Keys   []string `json:"keys"`
	Values []string `json:"values"`
}

// MaxReleased bounds the groups of an answer.
const MaxReleased = 8192

// maxAnswerBytes leaves room for the answer to travel within another canonical value, in hex.
const maxAnswerBytes = 480 << 10

// shares is how a query's budget is spent.
type shares struct {
	check     share // whether the cohorts may be looked at together with earlier ones
	selection share // which groups are shown at all
	part      epsilonMicro
}

// split gives a query without groups a fifth for the check of its cohort and the rest to its figures; a query with
// groups a tenth for the check and a fifth for choosing groups. A mean is made of two figures.
func (p *plan) split(delta deltaPico) shares {
	s := shares{check: share{p.epsilon / 5, delta}}
	if len(p.program.Groups) > 0 {
		s.check = share{p.epsilon / 10, delta / 2}
		s.selection = share{p.epsilon / 5, delta - delta/2}
	}
	parts := epsilonMicro(0)
	for _, a := range p.spec.Aggregates {
		parts++
		if a.Function == Mean {
			parts++
		}
	}
	s.part = (p.epsilon - s.check.epsilon - s.selection.epsilon) / parts
	return s
}

// fits refuses bounds so wide, for so little epsilon, that the noise might not fit 64 bits.
func (p *plan) fits(s shares) *contracts.Refusal {
	for _, c := range p.program.Sums {
		widest := float64(max(c.Upper-c.Lower, c.Upper, -c.Lower))
		if widest*float64(p.program.RowsPerSubject)/s.part.float()*64 > float64(maxNumber)/2 {
			return refuse(BadValue, "bounds are too wide for this epsilon: the noise would exceed 64 bits")
		}
	}
	return nil
}

// margin draws by how much more than k cohorts must have, and differ by, in this query: 0 to 2t, where an honest
// Laplace draw leaves -t to t with a probability that delta covers. Whoever sees whether a query was refused learns
// from it no more than the check's share allows; and what differs by fewer than k is always refused.
func margin(s share) (drawn, most int64, err error) {
	e := s.epsilon.float()
	t := int64(math.Ceil(math.Log((1+math.Exp(e))/s.delta.float()) / e))
	n, err := noise.Laplace().AddNoiseInt64(0, 1, 1, e, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("couldn't draw noise: %w", err)
	}
	return t + min(max(n, -t), t), 2 * t, nil
}

// choose leaves the cells that may be shown: each has k subjects, and enough more to pass the library's partition
// selection. A query without groups has one cell, which the check of its cohort decides about.
func (p *plan) choose(cells []exactCell, s share, k int64) ([]exactCell, error) {
	if len(p.program.Groups) == 0 {
		return cells, nil
	}
	var out []exactCell
	for i := range cells {
		sel, err := dpagg.NewPreAggSelectPartition(&dpagg.PreAggSelectPartitionOptions{Epsilon: s.epsilon.float(), Delta: s.delta.float(), PreThreshold: k,
			MaxPartitionsContributed: p.program.RowsPerSubject})
		if err != nil {
			return nil, fmt.Errorf("couldn't choose groups: %w", err)
		}
		if err := sel.IncrementBy(cells[i].subjects); err != nil {
			return nil, fmt.Errorf("couldn't choose groups: %w", err)
		}
		keep, err := sel.ShouldKeepPartition()
		if err != nil {
			return nil, fmt.Errorf("couldn't choose groups: %w", err)
		}
		if keep {
			out = append(out, cells[i])
		}
	}
	return out, nil
}

// figures puts noise to the cells. Draws take tens of microseconds each, so all processors share them.
func (p *plan) figures(cells []exactCell, h *header, part epsilonMicro) ([]Cell, error) {
	out, errs := make([]Cell, len(cells)), make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := w; i < len(cells) && errs[w] == nil; i += len(errs) {
				out[i], errs[w] = p.cell(&cells[i], h, part)
			}
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

func (p *plan) cell(c *exactCell, h *header, part epsilonMicro) (Cell, error) {
	out := Cell{Keys: make([]string, len(c.keys)), Values: make([]string, len(p.spec.Aggregates))}
	for i, n := range c.keys {
		col := &h.Columns[p.program.Groups[i]]
		if n != col.empty() {
			out.Keys[i] = text(p.field(col.Field), col, n)
		}
	}
	var err error
	draw := func(x, sensitivity int64) int64 {
		// A subject has RowsPerSubject rows at most, in as many cells at most.
		n, e := noise.Laplace().AddNoiseInt64(x, p.program.RowsPerSubject, sensitivity, part.float(), 0)
		err = errors.Join(err, e)
		return n
	}
	for i, a := range p.spec.Aggregates {
		if a.Function == Count {
			out.Values[i] = fmt.Sprint(draw(c.rows, 1))
			continue
		}
		k := p.program.Sums[p.sums[i]]
		sum, f := c.sums[p.sums[i]], p.field(a.Field)
		if a.Function == Sum {
			out.Values[i] = text(f, nil, draw(sum.total, max(k.Upper, -k.Lower)))
			continue
		}
		// Twice the sum about the bounds' middle: a row adds at most their distance to it.
		about := draw(2*sum.total-(k.Lower+k.Upper)*sum.rows, k.Upper-k.Lower)
		rows := max(1, draw(sum.rows, 1))
		out.Values[i] = mean(f, k, about, rows)
	}
	return out, err
}

func (p *plan) field(name string) *dictionary.Field { return &p.schema.Fields[p.schema.Index(name)] }

// mean writes (lower+upper)/2 + about/(2·rows), brought within the bounds, to three places beyond the field's own.
func mean(f *dictionary.Field, k clamp, about, rows int64) string {
	r := new(big.Rat).Add(big.NewRat(k.Lower+k.Upper, 2), new(big.Rat).SetFrac(big.NewInt(about), new(big.Int).Mul(big.NewInt(2), big.NewInt(rows))))
	if low := new(big.Rat).SetInt64(k.Lower); r.Cmp(low) < 0 {
		r = low
	}
	if high := new(big.Rat).SetInt64(k.Upper); r.Cmp(high) > 0 {
		r = high
	}
	r.Quo(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(f.Scale), nil)))
	s := r.FloatString(int(f.Scale) + 3)
	if s = strings.TrimSuffix(strings.TrimRight(s, "0"), "."); s == "-0" {
		return "0"
	}
	return s
}

// within gives the half width of each figure's 95 % interval.
func (p *plan) within(part epsilonMicro) []string {
	out := make([]string, len(p.spec.Aggregates))
	for i, a := range p.spec.Aggregates {
		widest, f := int64(1), (*dictionary.Field)(nil)
		switch a.Function {
		case Mean:
			continue
		case Sum:
			k := p.program.Sums[p.sums[i]]
			widest, f = max(k.Upper, -k.Lower), p.field(a.Field)
		}
		n := int64(math.Ceil(float64(widest) * float64(p.program.RowsPerSubject) / part.float() * math.Log(20)))
		if out[i] = fmt.Sprint(n); f != nil {
			out[i] = text(f, nil, n)
		}
	}
	return out
}

// groupsOf gives who stands behind cells.
func groupsOf(cells []exactCell) []group {
	gs := make([]group, len(cells))
	for i := range cells {
		gs[i] = group{cells[i].subjects, slices.Clone(cells[i].cohort)}
	}
	return gs
}
