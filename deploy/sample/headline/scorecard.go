package headline

import (
	"math"

	"github.com/bund-exchange/bund/deploy/sample/polish"
)

// Unit is the fixed point of scores and weights: one is a thousandth of a unit of log-odds.
const Unit = 1000

// Scorecard is a logistic regression over bins, of which each has an integer weight. Scoring is comparisons and additions of
// integers only, so the same card gives the same scores anywhere, in the clear or under encryption.
type Scorecard struct {
	Base    int64     // in thousandths of log-odds
	Columns []Scoring // one for each input, in the order of the inputs
}

// Scoring is one input's part: Weights[i] counts where the value is above Edges[i-1] and not above Edges[i].
type Scoring struct {
	Edges   []polish.Micro
	Weights []int64
}

// Score is the log-odds of failing, in thousandths.
func (s *Scorecard) Score(row []polish.Micro) int64 {
	score := s.Base
	for i := range s.Columns {
		c := &s.Columns[i]
		score += c.Weights[(&bins{edges: c.Edges}).of(row[i])]
	}
	return score
}

// Training's fixed figures. They were not searched for on this data: a ridge of one company's worth of evidence, and
// more rounds than convergence needs.
const (
	ridge  = 1.0
	rounds = 8   // of reweighting
	sweeps = 100 // over the coefficients, in each round
)

// Train fits a logistic regression on the bins' weights of evidence, with coefficients not below zero, so that every
// bin's weight keeps the direction that its own bad rate shows, and rounds it to a Scorecard. Rows, columns and rounds
// are gone through in one order, and products are rounded before they are added, so that no processor may fuse them.
func Train(rows [][]polish.Micro, bad []bool) *Scorecard {
	n := len(rows[0])
	cuts, x := make([]bins, n), make([][]float64, n) // x by column: weight of evidence of each row
	for j := range n {
		column := make([]polish.Micro, len(rows))
		for i := range rows {
			column[i] = rows[i][j]
		}
		cuts[j] = cut(column, bad)
		x[j] = make([]float64, len(rows))
		for i := range rows {
			x[j][i] = cuts[j].woe[cuts[j].of(column[i])]
		}
	}
	base, coefficients := fit(x, bad)
	card := &Scorecard{Base: fixed(base)}
	for j := range n {
		s := Scoring{Edges: cuts[j].edges}
		for _, w := range cuts[j].woe {
			s.Weights = append(s.Weights, fixed(coefficients[j]*w))
		}
		card.Columns = append(card.Columns, s)
	}
	return card
}

func fixed(v float64) int64 { return int64(math.Round(v * Unit)) }

// fit is iteratively reweighted least squares; each round's quadratic is minimised by coordinate descent, which keeps
// coefficients at or above zero.
func fit(x [][]float64, bad []bool) (base float64, beta []float64) {
	n, rows := len(x), len(bad)
	beta = make([]float64, n)
	bads := 0
	for _, b := range bad {
		if b {
			bads++
		}
	}
	base = math.Log(float64(bads)+0.5) - math.Log(float64(rows-bads)+0.5)
	weight, residual := make([]float64, rows), make([]float64, rows)
	for range rounds {
		for i := range rows {
			eta := base
			for j := range n {
				eta += float64(beta[j] * x[j][i])
			}
			p := 1 / (1 + math.Exp(-eta))
			weight[i] = max(float64(p*(1-p)), 1e-6)
			y := 0.0
			if bad[i] {
				y = 1
			}
			residual[i] = y - p
		}
		// Index n is the constant.
		gram, slope := make([][]float64, n+1), make([]float64, n+1)
		at := func(j, i int) float64 {
			if j == n {
				return 1
			}
			return x[j][i]
		}
		for j := range n + 1 {
			gram[j] = make([]float64, n+1)
			for i := range rows {
				slope[j] += float64(residual[i] * at(j, i))
			}
			weighted := make([]float64, rows)
			for i := range rows {
				weighted[i] = float64(weight[i] * at(j, i))
			}
			k := 0
			// Four sums at a time keep the processor busy; each still adds in the order of the rows.
			for ; k+4 <= min(j+1, n); k += 4 {
				a, b, c, d := x[k][:rows], x[k+1][:rows], x[k+2][:rows], x[k+3][:rows]
				var sa, sb, sc, sd float64
				for i, w := range weighted {
					sa += float64(w * a[i])
					sb += float64(w * b[i])
					sc += float64(w * c[i])
					sd += float64(w * d[i])
				}
				gram[j][k], gram[j][k+1], gram[j][k+2], gram[j][k+3] = sa, sb, sc, sd
			}
			for ; k <= j; k++ {
				sum := 0.0
				for i, w := range weighted {
					sum += float64(w * at(k, i))
				}
				gram[j][k] = sum
			}
		}
		for j := range n + 1 {
			for k := j + 1; k <= n; k++ {
				gram[j][k] = gram[k][j]
			}
		}
		base, beta = descend(gram, slope, base, beta)
	}
	return base, beta
}

// descend minimises ½·dᵀGd − sᵀd + ½·ridge·|β+d|² over steps d with β+d ≥ 0; the constant is free of both.
func descend(gram [][]float64, slope []float64, base float64, beta []float64) (float64, []float64) {
	n := len(beta)
	step, pull := make([]float64, n+1), make([]float64, n+1) // pull = G·step
	for range sweeps {
		for j := range n + 1 {
			g := slope[j] - pull[j] + float64(gram[j][j]*step[j])
			var next float64
			if j == n {
				next = g / gram[j][j]
			} else {
				next = (g - float64(ridge*beta[j])) / (gram[j][j] + ridge)
				next = max(next, -beta[j])
			}
			if change := next - step[j]; change != 0 {
				for k := range n + 1 {
					pull[k] += float64(gram[j][k] * change)
				}
				step[j] = next
			}
		}
	}
	out := make([]float64, n)
	for j := range n {
		out[j] = max(0, beta[j]+step[j])
	}
	return base + step[n], out
}
