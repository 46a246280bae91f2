package headline

import (
	"math"
	"slices"
)

// Ranking says how well scores order companies. A higher score means more likely to fail.
type Ranking struct {
	AUC, Gini, KS float64
}

// Rank measures scores against outcomes: AUC is the share of pairs of one bad and one good company in which the bad one
// has the higher score, ties counting half; Gini is 2·AUC − 1; KS is the greatest distance between the distributions of
// the two. All are 0 where one of the two kinds is missing.
func Rank(scores []int64, bad []bool) Ranking {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		}
		return 0
	})
	var bads, goods int64
	for _, b := range bad {
		if b {
			bads++
		} else {
			goods++
		}
	}
	if bads == 0 || goods == 0 {
		return Ranking{}
	}
	// Counts are integers until the last division, so ties and order can't change the result.
	var seenBad, seenGood, halves, distance int64 // halves: half pairs that are in order; distance: times bads·goods
	for i := 0; i < len(order); {
		var b, g int64
		j := i
		for ; j < len(order) && scores[order[j]] == scores[order[i]]; j++ {
			if bad[order[j]] {
				b++
			} else {
				g++
			}
		}
		halves += 2*b*(goods-seenGood-g) + b*g
		seenBad, seenGood, i = seenBad+b, seenGood+g, j
		distance = max(distance, abs(seenBad*goods-seenGood*bads))
	}
	pairs := float64(bads) * float64(goods)
	auc := float64(halves) / (2 * pairs)
	return Ranking{AUC: auc, Gini: 2*auc - 1, KS: float64(distance) / pairs}
}

func abs(n int64) int64 { return max(n, -n) }

// PopStability is the population stability index of an actual against an expected distribution, as shares of the same
// bins: Σ (A − E)·ln(A/E), where an empty bin counts as 10⁻⁶. Below .1 is stable, above .25 a shift.
func PopStability(expected, actual []float64) float64 {
	const empty = 1e-6
	sum := 0.0
	for i := range expected {
		e, a := max(expected[i], empty), max(actual[i], empty)
		sum += (a - e) * math.Log(a/e)
	}
	return sum
}

// Interval is a 95 % confidence interval of a share.
type Interval struct{ Low, High float64 }

const z95 = 1.959963984540054

// Wilson gives the score interval of k in n.
func Wilson(k, n int) Interval {
	if n == 0 {
		return Interval{0, 1}
	}
	p, m := float64(k)/float64(n), float64(n)
	middle := (p + z95*z95/(2*m)) / (1 + z95*z95/m)
	half := z95 / (1 + z95*z95/m) * math.Sqrt(p*(1-p)/m+z95*z95/(4*m*m))
	return Interval{max(0, middle-half), min(1, middle+half)}
}
