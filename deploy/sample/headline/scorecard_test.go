package headline

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/deploy/sample/polish"
)

// made are rows whose log-odds are known: -2 + 1.5·[first > 0], and a second column of noise.
func made(n int) ([][]polish.Micro, []bool) {
	rng := rand.New(rand.NewPCG(7, 7))
	rows, bad := make([][]polish.Micro, n), make([]bool, n)
	for i := range n {
		rows[i] = []polish.Micro{polish.Micro(rng.IntN(2_000_000) - 1_000_000), polish.Micro(rng.IntN(1_000_000))}
		odds := -2.0
		if rows[i][0] > 0 {
			odds = -0.5
		}
		bad[i] = rng.Float64() < 1/(1+math.Exp(-odds))
	}
	return rows, bad
}

func TestTrainFindsWhatIsThere(t *testing.T) {
	rows, bad := made(8000)
	card := Train(rows, bad)
	low, high := card.Score([]polish.Micro{-900_000, 500_000}), card.Score([]polish.Micro{900_000, 500_000})
	// The true log-odds are -2000 and -500 thousandths; 8,000 rows know them to about 100.
	if abs(low+2000) > 300 || abs(high+500) > 300 {
		t.Errorf("scores %d and %d, want about -2000 and -500", low, high)
	}
	if again := Train(rows, bad); !reflect.DeepEqual(card, again) {
		t.Error("training twice gives two cards")
	}
}

// TestScoringIsTheFloatModelRounded holds integer scores against the float model that they were rounded from.
func TestScoringIsTheFloatModelRounded(t *testing.T) {
	rows, bad := made(2000)
	n := len(rows[0])
	cuts, x := make([]bins, n), make([][]float64, n)
	for j := range n {
		column := make([]polish.Micro, len(rows))
		for i := range rows {
			column[i] = rows[i][j]
		}
		cuts[j] = cut(column, bad)
		for _, v := range column {
			x[j] = append(x[j], cuts[j].woe[cuts[j].of(v)])
		}
	}
	base, beta := fit(x, bad)
	card := Train(rows, bad)
	for i := range rows {
		want := int64(math.Round(base * Unit))
		exact := base
		for j := range n {
			want += int64(math.Round(beta[j] * x[j][i] * Unit))
			exact += beta[j] * x[j][i]
		}
		got := card.Score(rows[i])
		if got != want {
			t.Fatalf("row %d scores %d, the rounded model says %d", i, got, want)
		}
		// Each of n+1 roundings is off by half a thousandth at most.
		if math.Abs(float64(got)-exact*Unit) > float64(n+1)/2 {
			t.Fatalf("row %d scores %d, the exact model says %.2f", i, got, exact*Unit)
		}
	}
}

// TestFitIsAtItsOptimum: no small step of any allowed coefficient lowers the penalised loss.
func TestFitIsAtItsOptimum(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const rows, n = 1500, 4
	x, bad := make([][]float64, n), make([]bool, rows)
	for j := range n {
		x[j] = make([]float64, rows)
		for i := range rows {
			x[j][i] = rng.NormFloat64()
		}
	}
	for i := range rows {
		// The third works the other way, so its coefficient has to stop at zero; the fourth almost repeats the first.
		x[3][i] = x[0][i] + 0.1*x[3][i]
		bad[i] = rng.Float64() < 1/(1+math.Exp(-(-1+x[0][i]+0.5*x[1][i]-0.7*x[2][i])))
	}
	loss := func(base float64, beta []float64) float64 {
		sum := 0.0
		for i := range rows {
			eta := base
			for j := range n {
				eta += beta[j] * x[j][i]
			}
			if bad[i] {
				eta = -eta
			}
			sum += math.Log1p(math.Exp(eta))
		}
		for _, b := range beta {
			sum += ridge / 2 * b * b
		}
		return sum
	}
	base, beta := fit(x, bad)
	best := loss(base, beta)
	if beta[2] != 0 {
		t.Errorf("the coefficient of the wrong direction is %g", beta[2])
	}
	for _, step := range []float64{-1e-3, 1e-3} {
		if loss(base+step, beta) < best {
			t.Errorf("a constant %+g away is better", step)
		}
		for j := range n {
			if beta[j]+step < 0 {
				continue
			}
			moved := append([]float64(nil), beta...)
			moved[j] += step
			if loss(base, moved) < best {
				t.Errorf("coefficient %d: %+g is better", j, step)
			}
		}
	}
}

func TestCutIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(5, 200).Draw(t, "n")
		values, bad := make([]polish.Micro, n), make([]bool, n)
		for i := range n {
			values[i], bad[i] = polish.Micro(rapid.Int64Range(-20, 20).Draw(t, "value")), rapid.Bool().Draw(t, "bad")
		}
		b := cut(values, bad)
		if len(b.woe) != len(b.edges)+1 || len(b.woe) > maxBins {
			t.Fatalf("%d edges, %d weights", len(b.edges), len(b.woe))
		}
		counts := make([]count, len(b.woe))
		for i, v := range values {
			at := b.of(v)
			if at > 0 && v <= b.edges[at-1] || at < len(b.edges) && v > b.edges[at] {
				t.Fatalf("%d is in bin %d of edges %v", v, at, b.edges)
			}
			counts[at].add(bad[i])
		}
		rising, falling := true, true
		for i := range counts {
			if counts[i].n == 0 {
				t.Fatalf("bin %d of %v is empty", i, b.edges)
			}
			if i > 0 {
				d := counts[i].bad*counts[i-1].n - counts[i-1].bad*counts[i].n
				rising, falling = rising && d > 0, falling && d < 0
			}
		}
		if !rising && !falling {
			t.Fatalf("bad rates %v are not monotone", counts)
		}
	})
}
