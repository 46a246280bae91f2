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

// AUCGain is how much higher the AUC of other is than that of own, with a 95 % interval by DeLong, DeLong and
// Clarke-Pearson (1988): both order the same companies, so that their errors go together. Without two of each kind
// there is no interval, and it is from -1 to 1.
func AUCGain(own, other []int64, bad []bool) (gain float64, interval Interval) {
	var sums, squares, counts [2]float64 // by outcome, good first
	o, p := places(own, bad), places(other, bad)
	for i, b := range bad {
		k := 0
		if b {
			k = 1
		}
		d := p[i] - o[i]
		counts[k]++
		sums[k] += d
		squares[k] += float64(d * d)
	}
	if counts[0] < 2 || counts[1] < 2 {
		return Rank(other, bad).AUC - Rank(own, bad).AUC, Interval{-1, 1}
	}
	variance := 0.0
	for k, n := range counts {
		variance += max(0, squares[k]-float64(sums[k]*sums[k])/n) / (n - 1) / n
	}
	gain = sums[1] / counts[1]
	half := z95 * math.Sqrt(variance)
	return gain, Interval{gain - half, gain + half}
}

// places gives for each company the share of the other kind that its score stands on the right side of, ties counting
// half. The mean of either kind is the AUC.
func places(scores []int64, bad []bool) []float64 {
	var kind [2][]int64 // good, bad
	for i, b := range bad {
		if b {
			kind[1] = append(kind[1], scores[i])
		} else {
			kind[0] = append(kind[0], scores[i])
		}
	}
	slices.Sort(kind[0])
	slices.Sort(kind[1])
	out := make([]float64, len(scores))
	for i, b := range bad {
		others := kind[1]
		if b {
			others = kind[0]
		}
		low, _ := slices.BinarySearch(others, scores[i])
		high := low
		for high < len(others) && others[high] == scores[i] {
			high++
		}
		below := float64(low+high) / 2 / float64(max(len(others), 1))
		if b {
			out[i] = below
		} else {
			out[i] = 1 - below
		}
	}
	return out
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
