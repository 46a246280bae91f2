package headline

import (
	"math"
	"slices"

	"github.com/bund-exchange/bund/deploy/sample/polish"
)

// maxBins is how many quantile bins a ratio begins with, before neighbours are merged.
const maxBins = 10

// bins cuts one ratio into intervals whose weight of evidence only rises or only falls.
type bins struct {
	edges []polish.Micro // value v is in the bin of the first edge ≥ v, or in the last
	woe   []float64      // by bin: ln(share of the bad ÷ share of the good)
}

func (b *bins) of(v polish.Micro) int {
	i, _ := slices.BinarySearch(b.edges, v)
	return i
}

// cut learns bins from values and outcomes: quantiles, then neighbours merged until the bad rates are monotone, upwards
// or downwards, whichever explains the outcomes better.
func cut(values []polish.Micro, bad []bool) bins {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	var edges []polish.Micro
	for i := 1; i < maxBins; i++ {
		e := sorted[len(sorted)*i/maxBins]
		if (len(edges) == 0 || e > edges[len(edges)-1]) && e < sorted[len(sorted)-1] {
			edges = append(edges, e)
		}
	}
	first := bins{edges: edges}
	counts := make([]count, len(edges)+1)
	for i, v := range values {
		counts[first.of(v)].add(bad[i])
	}
	up, down := pool(counts, false), pool(counts, true)
	best := up
	if likelihood(down) > likelihood(up) {
		best = down
	}
	// best[i].bins says how many of the first bins became one.
	var b bins
	var bads, goods float64
	for _, c := range counts {
		bads, goods = bads+float64(c.bad), goods+float64(c.n-c.bad)
	}
	at := 0
	for i, c := range best {
		at += c.bins
		if i < len(best)-1 {
			b.edges = append(b.edges, edges[at-1])
		}
		// Half a company more on each side keeps an empty one finite.
		b.woe = append(b.woe, math.Log((float64(c.bad)+0.5)/(bads+1))-math.Log((float64(c.n-c.bad)+0.5)/(goods+1)))
	}
	return b
}

type count struct{ n, bad, bins int }

func (c *count) add(bad bool) {
	c.n++
	if bad {
		c.bad++
	}
}

// pool merges neighbours that are out of order (pool adjacent violators), in integers.
func pool(counts []count, falling bool) []count {
	var out []count
	for _, c := range counts {
		c.bins = 1
		out = append(out, c)
		for len(out) > 1 {
			a, b := out[len(out)-2], out[len(out)-1]
			left, right := int64(a.bad)*int64(b.n), int64(b.bad)*int64(a.n)
			// Equal rates are one bin too; so is an empty bin with its neighbour.
			if falling && left > right || !falling && left < right {
				break
			}
			out = append(out[:len(out)-2], count{a.n + b.n, a.bad + b.bad, a.bins + b.bins})
		}
	}
	return out
}

// likelihood is the log-likelihood of the outcomes under the bins' own rates.
func likelihood(counts []count) float64 {
	sum := 0.0
	for _, c := range counts {
		for _, k := range []int{c.bad, c.n - c.bad} {
			if k > 0 {
				sum += float64(k) * math.Log(float64(k)/float64(c.n))
			}
		}
	}
	return sum
}
