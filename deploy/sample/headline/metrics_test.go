package headline

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// The vectors of the sample market's domain notes, computed by hand there.
func TestRankVector(t *testing.T) {
	scores := []int64{900, 800, 700, 600, 550, 500, 400, 300, 200, 100}
	bad := []bool{true, true, false, true, false, true, false, false, false, false}
	r := Rank(scores, bad)
	for name, c := range map[string][2]float64{"KS": {r.KS, .666667}, "AUC": {r.AUC, .875}, "Gini": {r.Gini, .75}} {
		if math.Abs(c[0]-c[1]) > 5e-7 {
			t.Errorf("%s is %.6f, want %.6f", name, c[0], c[1])
		}
	}
	if r := Rank([]int64{1, 1, 1}, []bool{true, false, false}); r.AUC != .5 || r.KS != 0 {
		t.Errorf("equal scores rank as %+v", r)
	}
	if r := Rank([]int64{1, 2}, []bool{false, false}); r != (Ranking{}) {
		t.Errorf("one kind only ranks as %+v", r)
	}
}

func TestPopStabilityVector(t *testing.T) {
	e, a := []float64{.1, .2, .4, .2, .1}, []float64{.05, .15, .4, .25, .15}
	if got := PopStability(e, a); math.Abs(got-.080472) > 5e-7 {
		t.Errorf("got %.6f, want .080472", got)
	}
	if got := PopStability(e, e); got != 0 {
		t.Errorf("a distribution differs from itself by %g", got)
	}
	// An empty bin counts as 1e-6: (0.5-1e-6)·ln(0.5/1e-6) twice.
	if got, want := PopStability([]float64{1, 0}, []float64{.5, .5}), .5*math.Log(2)+(.5-1e-6)*math.Log(.5/1e-6); math.Abs(got-want) > 1e-12 {
		t.Errorf("got %g, want %g", got, want)
	}
}

func TestWilson(t *testing.T) {
	// 46 of 2,925, by the formula with z = 1.96 on paper: 1.181 % to 2.091 %.
	if w := Wilson(46, 2925); math.Abs(w.Low-.011808) > 1e-5 || math.Abs(w.High-.020906) > 1e-5 {
		t.Errorf("got %+v", w)
	}
	if w := Wilson(0, 0); w != (Interval{0, 1}) {
		t.Errorf("nothing seen gives %+v", w)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5000).Draw(t, "n")
		k := rapid.IntRange(0, n).Draw(t, "k")
		if w, p := Wilson(k, n), float64(k)/float64(n); w.Low > p+1e-12 || w.High < p-1e-12 || w.Low < 0 || w.High > 1 {
			t.Fatalf("%d of %d: %+v", k, n, w)
		}
	})
}

// TestRankAgainstPairs counts every pair.
func TestRankAgainstPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(t, "n")
		scores, bad := make([]int64, n), make([]bool, n)
		for i := range n {
			scores[i], bad[i] = rapid.Int64Range(-5, 5).Draw(t, "score"), rapid.Bool().Draw(t, "bad")
		}
		var right, pairs float64
		for i := range n {
			for j := range n {
				if !bad[i] || bad[j] {
					continue
				}
				pairs++
				switch {
				case scores[i] > scores[j]:
					right++
				case scores[i] == scores[j]:
					right += .5
				}
			}
		}
		if pairs == 0 {
			return
		}
		if got := Rank(scores, bad).AUC; math.Abs(got-right/pairs) > 1e-12 {
			t.Fatalf("AUC %g, pairs give %g", got, right/pairs)
		}
		ks := 0.0
		for c := int64(-6); c <= 5; c++ {
			var b, g, bs, gs float64
			for i := range n {
				if bad[i] {
					bs++
				} else {
					gs++
				}
				if scores[i] > c {
					if bad[i] {
						b++
					} else {
						g++
					}
				}
			}
			ks = max(ks, math.Abs(b/bs-g/gs))
		}
		if got := Rank(scores, bad).KS; math.Abs(got-ks) > 1e-12 {
			t.Fatalf("KS %g, cuts give %g", got, ks)
		}
	})
}

// TestAUCGain holds the gain against the two AUCs, and its variance against DeLong's formula written out with its
// covariance over every pair.
func TestAUCGain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(4, 30).Draw(t, "n")
		own, other, bad := make([]int64, n), make([]int64, n), make([]bool, n)
		for i := range n {
			own[i], other[i] = rapid.Int64Range(-4, 4).Draw(t, "own"), rapid.Int64Range(-4, 4).Draw(t, "other")
			bad[i] = i < 2 || i > 3 && rapid.Bool().Draw(t, "bad")
		}
		gain, interval := AUCGain(own, other, bad)
		if want := Rank(other, bad).AUC - Rank(own, bad).AUC; math.Abs(gain-want) > 1e-12 {
			t.Fatalf("gain %g, the two AUCs differ by %g", gain, want)
		}
		psi := func(x, y int64) float64 {
			switch {
			case x > y:
				return 1
			case x == y:
				return .5
			}
			return 0
		}
		var variance float64
		for _, kind := range []bool{true, false} {
			var v [2][]float64
			for m, s := range [2][]int64{own, other} {
				for i := range n {
					if bad[i] != kind {
						continue
					}
					sum, others := 0.0, 0.0
					for j := range n {
						if bad[j] == kind {
							continue
						}
						others++
						if kind {
							sum += psi(s[i], s[j])
						} else {
							sum += psi(s[j], s[i])
						}
					}
					v[m] = append(v[m], sum/others)
				}
			}
			k := float64(len(v[0]))
			cov := func(a, b []float64) float64 {
				var ma, mb, sum float64
				for i := range a {
					ma, mb = ma+a[i]/k, mb+b[i]/k
				}
				for i := range a {
					sum += (a[i] - ma) * (b[i] - mb)
				}
				return sum / (k - 1)
			}
			variance += (cov(v[0], v[0]) + cov(v[1], v[1]) - 2*cov(v[0], v[1])) / k
		}
		// Only variance itself is stable near zero; compare squares.
		if half := (interval.High - interval.Low) / 2 / z95; math.Abs(half*half-variance) > 1e-9 {
			t.Fatalf("variance %g, want %g", half*half, variance)
		}
	})
	if gain, interval := AUCGain([]int64{1, 2, 3}, []int64{3, 2, 1}, []bool{true, false, false}); gain != 1 || interval != (Interval{-1, 1}) {
		t.Errorf("one bad company gives %g %+v", gain, interval)
	}
}
