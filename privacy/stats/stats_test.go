package stats

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// oracle adds values up in the clear.
func oracle(t *Task, values []int64) []int64 {
	if t.Measure.Kind != "histogram" {
		sum := int64(0)
		for _, v := range values {
			sum += v
		}
		return []int64{sum}
	}
	sums := make([]int64, len(t.Measure.Buckets)+1)
	for _, v := range values {
		b := 0
		for _, low := range t.Measure.Buckets {
			if v >= low {
				b++
			}
		}
		sums[b]++
	}
	return sums
}

func equal(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func draw(t *rapid.T, m contracts.Measure, name string, n int) []int64 {
	low, high := int64(0), int64(1)
	switch m.Kind {
	case "sum":
		high = m.Max
	case "histogram":
		low, high = math.MinInt64, math.MaxInt64
	}
	v := rapid.Int64Range(low, high)
	if m.Kind == "histogram" {
		v = rapid.OneOf(v, rapid.SampledFrom(m.Buckets), rapid.Map(rapid.SampledFrom(m.Buckets), func(b int64) int64 { return b - 1 }))
	}
	return rapid.SliceOfN(v, n, n+3).Draw(t, name)
}

// Whatever the banks hold and however it is batched, the shares add up to what adding in the clear gives.
func TestSumsAgainstOracle(t *testing.T) {
	for name, m := range measures() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				w := newWorld(t, m)
				for n := range int64(rapid.IntRange(1, 2).Draw(r, "batches")) {
					var all []int64
					for _, b := range banks {
						v := draw(r, m, "values", 2)
						w.contribute(b, v...)
						all = append(all, v...)
						if rapid.Bool().Draw(r, "early") {
							w.exchange(rapid.IntRange(1, 3).Draw(r, "some"))
						}
					}
					for again := true; again; {
						_, again = w.exchange(rapid.IntRange(1, 10).Draw(r, "most"))
						if rapid.Bool().Draw(r, "restart") {
							w.restart(rapid.IntRange(0, 1).Draw(r, "who"))
						}
					}
					if got := w.closeBatch(); got != n+1 {
						t.Fatalf("batch %d", got)
					}
					if got := w.exact(n + 1); !equal(got, oracle(w.task, all)) {
						t.Fatalf("%v, want %v", got, oracle(w.task, all))
					}
					s := w.shares(n + 1)
					res, err := w.collector.Collect(s[1], s[0])
					if err != nil || res.Reports != int64(len(all)) || len(res.Values) != w.task.buckets() {
						t.Fatal(res, err)
					}
				}
			})
		})
	}
}

func TestThreeBanks(t *testing.T) {
	w := newWorld(t, measures()["histogram"], func(t *Task) { t.MinBatch = 9; t.EpsilonMicro = 10_000_000 })
	w.contribute(banks[0], 0, 50, 500)
	w.contribute(banks[1], 5_000, 50_000, 99)
	if f, _ := w.exchange(100); f.Counted != 6 {
		t.Fatal(f)
	}
	_, err := w.agg[Leader].Close()
	wantRefusal(t, err, SmallBatch)
	w.contribute(banks[2], 10_000, 9_999, 1)
	w.exchange(100)
	n := w.closeBatch()
	s := w.shares(n)
	r, err := w.collector.Collect(s[0], s[1])
	if err != nil {
		t.Fatal(err)
	}
	if want := []int64{1, 3, 3, 2}; !equal(w.exact(n), want) || r.Reports != 9 || r.EpsilonMicro != 10_000_000 || r.Margin95 < 1 || r.Margin95 > 2 {
		t.Errorf("%v %+v", w.exact(n), r)
	}
	if w.spent[n] != 10_000_000 {
		t.Error("not debited", w.spent)
	}
}

func TestResultIsOne(t *testing.T) {
	w := newWorld(t, measures()["sum"], func(t *Task) { t.EpsilonMicro = 10_000 })
	w.contribute(banks[0], 1, 2)
	w.contribute(banks[1], 3, 1000)
	w.exchange(100)
	s := w.shares(w.closeBatch())
	first, err := w.collector.Collect(s[0], s[1])
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // with noise of a hundred thousand on average, the same by chance is out of the question
		again, err := w.collector.Collect(s[1], s[0])
		if err != nil || !bytes.Equal(EncodeResult(again), EncodeResult(first)) {
			t.Fatal(again, first, err)
		}
	}
	if len(w.spent) != 1 || w.budget != 10_000_000-10_000 {
		t.Error("debited more than once", w.spent)
	}
	if first.Margin95 < 100_000 {
		t.Error("margin", first.Margin95)
	}
	if back, err := DecodeResult(EncodeResult(first)); err != nil || !bytes.Equal(EncodeResult(back), EncodeResult(first)) {
		t.Error(err)
	}
}

// A result that couldn't be kept was not given, and asking again debits nothing more.
func TestCollectorStoreFails(t *testing.T) {
	for _, lose := range []string{"before", "after"} {
		w := newWorld(t, measures()["count"])
		w.contribute(banks[0], 1, 0)
		w.contribute(banks[1], 1, 0)
		w.exchange(100)
		s := w.shares(w.closeBatch())
		w.collector.Store.(*memory).lose = lose
		if _, err := w.collector.Collect(s[0], s[1]); !errors.Is(err, errLost) {
			t.Fatal(err)
		}
		if _, err := w.collector.Collect(s[0], s[1]); err != nil || w.budget != 9_000_000 {
			t.Error(lose, err, w.budget)
		}
	}
}

func TestBudgetIsSpent(t *testing.T) {
	w := newWorld(t, measures()["count"])
	w.budget = 1_500_000
	for n := int64(1); n <= 2; n++ {
		w.contribute(banks[0], 1, 0)
		w.contribute(banks[1], 1, 0)
		w.exchange(100)
		s := w.shares(w.closeBatch())
		_, err := w.collector.Collect(s[0], s[1])
		if n == 1 && err != nil {
			t.Fatal(err)
		} else if n == 2 {
			wantRefusal(t, err, "budget.spent")
		}
	}
	if w.budget != 500_000 {
		t.Error(w.budget)
	}
}

// The noise has the scale that the task's epsilon and the measure's sensitivity give: of 4,000 draws half lie within
// the scale times ln 2.
func TestNoiseScale(t *testing.T) {
	for name, sensitivity := range map[string]float64{"count": 1, "sum": 1000, "histogram": 2} {
		w := newWorld(t, measures()[name], func(t *Task) { t.EpsilonMicro = 10_000 })
		const n = 4000
		within := 0
		median := sensitivity / 0.01 * math.Ln2
		for range n {
			v, _, err := w.collector.noisy([]int64{0})
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(float64(v[0])) <= median {
				within++
			}
		}
		if sigma := math.Sqrt(n) / 2; math.Abs(float64(within)-n/2) > 6*sigma+40 { // whole numbers shift it by some
			t.Errorf("%s: %d of %d within the median", name, within, n)
		}
	}
}

func TestValues(t *testing.T) {
	for name, bad := range map[string][]int64{"count": {-1, 2, math.MaxInt64, math.MinInt64}, "sum": {-1, 1001, math.MaxInt64}} {
		w := newWorld(t, measures()[name])
		for _, v := range bad {
			_, err := Uploads(w.task, w.publics(), []int64{1, v})
			wantRefusal(t, err, BadValue)
			if strings.Contains(err.Error(), "1001") {
				t.Error("the error holds the value")
			}
		}
	}
	w := newWorld(t, measures()["histogram"])
	for v, want := range map[int64]uint64{math.MinInt64: 0, 0: 0, 1: 1, 99: 1, 100: 2, 9_999: 2, 10_000: 3, math.MaxInt64: 3} {
		if got, err := w.task.measurement(v); err != nil || got != want {
			t.Errorf("%d is in bucket %d, %v", v, got, err)
		}
	}
	s, _ := newScheme(w.task)
	_, _, err := s.shard(4, new(nonce), make([]byte, s.size.random))
	wantRefusal(t, err, BadValue)
}

func TestTasks(t *testing.T) {
	good := newWorld(t, measures()["count"]).task
	for name, change := range map[string]func(*Task){
		"kind": func(t *Task) { t.Measure.Kind = "median" }, "no kind": func(t *Task) { t.Measure.Kind = "" },
		"sum without max": func(t *Task) { t.Measure = contracts.Measure{Kind: "sum"} },
		"buckets fall":    func(t *Task) { t.Measure = contracts.Measure{Kind: "histogram", Buckets: []int64{2, 1}} },
		"one aggregator":  func(t *Task) { t.Aggregators[1] = t.Aggregators[0] },
		"min batch":       func(t *Task) { t.MinBatch = 1 }, "epsilon": func(t *Task) { t.EpsilonMicro = 0 }, "id": func(t *Task) { t.ID = "x" },
	} {
		bad := *good
		change(&bad)
		wantRefusal(t, bad.Check(), BadTask)
		_, err := Uploads(&bad, newWorld(t, measures()["count"]).publics(), []int64{1})
		wantRefusal(t, err, BadTask)
		if _, err := OpenAggregator(&bad, Leader, [32]byte{}, envelope.NewKey([32]byte{0, 77}), newMemory(t)); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	one := envelope.NewKey([32]byte{0, 77}).Public()
	_, err := Uploads(good, [2]contracts.PublicKey{one, one}, []int64{1})
	wantRefusal(t, err, BadTask) // whoever has it would see every value
	_, err = OpenAggregator(good, 2, [32]byte{}, envelope.NewKey([32]byte{0, 77}), newMemory(t))
	wantRefusal(t, err, BadTask)
}

func TestVerifyKey(t *testing.T) {
	w := newWorld(t, measures()["count"])
	sealed, err := SealVerifyKey(w.task, w.keys[Helper].Public(), w.verify)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenVerifyKey(w.task, w.keys[Helper], sealed); err != nil || got != w.verify {
		t.Fatal(got, err)
	}
	_, err = OpenVerifyKey(w.task, w.keys[Leader], sealed)
	wantRefusal(t, err, envelope.BadChunk)
	other := *w.task
	other.ID = id(101)
	_, err = OpenVerifyKey(&other, w.keys[Helper], sealed)
	wantRefusal(t, err, envelope.BadChunk)
}

// An upload of many reports is cut where an upload's size ends.
func TestLargeUploads(t *testing.T) {
	m := contracts.Measure{Kind: "histogram"}
	for i := range int64(1023) {
		m.Buckets = append(m.Buckets, i)
	}
	w := newWorld(t, m)
	values := make([]int64, 240)
	up := w.contribute(banks[0], values...)
	if len(up[Leader]) < 2 || len(up[Leader]) != len(up[Helper]) {
		t.Fatal(len(up[Leader]), len(up[Helper]))
	}
	for _, b := range up[Leader] {
		if len(b) > MaxUploadBytes {
			t.Error(len(b))
		}
	}
	if p := w.progress(Leader); p.Waiting != 240 {
		t.Error(p)
	}
	w.contribute(banks[1], 5)
	for again := true; again; {
		_, again = w.exchange(1000)
	}
	if p := w.progress(Helper); p.Counted != 241 || p.Waiting != 0 {
		t.Error(p)
	}
}

// Banks upload while the aggregators prepare: nothing is lost and nothing counts twice.
func TestUploadsWhilePreparing(t *testing.T) {
	w := newWorld(t, measures()["count"])
	ups := make([][2][][]byte, 12)
	for i := range ups {
		ups[i] = w.uploads(1, 0, 1)
	}
	var wg sync.WaitGroup
	for i, up := range ups {
		for role := range up {
			wg.Go(func() {
				for range 2 { // and a retry
					if err := w.receive(role, banks[i%3], up[role][0]); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	for range 20 {
		w.exchange(3)
	}
	wg.Wait()
	for again := true; again; {
		_, again = w.exchange(5)
	}
	if p := w.progress(Leader); p.Counted != 36 || p.Waiting != 0 || p.Refused != 0 {
		t.Errorf("%+v", p)
	}
	if got := w.exact(w.closeBatch()); !equal(got, []int64{24}) {
		t.Error(got)
	}
}
