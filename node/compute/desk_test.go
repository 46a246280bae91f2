package compute

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// counter is a desk over one dataset, with the runs of its children counted.
type counter struct {
	t     *testing.T
	dir   string
	desk  *Desk
	src   *rowsInMemory
	runs  atomic.Int64
	spoil atomic.Pointer[string] // what the next children do instead
}

var fields = []string{"day", "trade", "town", "staff", "tax", "listed", "seen"}

func newCounter(t *testing.T, src *rowsInMemory, b Budget) *counter {
	t.Helper()
	c := &counter{t: t, dir: t.TempDir(), src: src}
	c.open(b)
	return c
}

func (c *counter) open(b Budget) {
	c.t.Helper()
	runner := &Runner{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), change: func(cmd *exec.Cmd) {
		c.runs.Add(1)
		if what := c.spoil.Load(); what != nil {
			badly(*what)(cmd)
		}
	}}
	d, err := OpenDesk(DeskConfig{Dir: c.dir, Runner: runner, Now: time.Now})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { d.Close() })
	if err := d.Offer("taxes", b); err != nil {
		c.t.Fatal(err)
	}
	c.desk = d
}

func (c *counter) ask(s Spec) (*Reply, error) {
	return c.desk.Ask(context.Background(), Question{Dataset: "taxes", Snapshot: c.src, Fields: fields, Spec: s.Ordered().Bytes()})
}

// answer asks what must be answered.
func (c *counter) answer(s Spec) *Answer {
	c.t.Helper()
	r, err := c.ask(s)
	if err != nil {
		c.t.Fatal(err)
	}
	a := new(Answer)
	if err := canon.Unmarshal(r.Answer, a); err != nil {
		c.t.Fatal(err)
	}
	return a
}

// refusal asks what must be refused.
func (c *counter) refusal(s Spec) contracts.Code {
	c.t.Helper()
	_, err := c.ask(s)
	return code(c.t, err)
}

func code(t *testing.T, err error) contracts.Code {
	t.Helper()
	var r *contracts.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("no refusal: %v", err)
	}
	return r.Code
}

func (c *counter) spent() string {
	c.t.Helper()
	s, err := c.desk.Standing("taxes")
	if err != nil {
		c.t.Fatal(err)
	}
	return s.SpentEpsilon
}

func (c *counter) want(what, got, want any) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

var wide = Budget{Epoch: 1, Epsilon: "100", Delta: "0.0001"}

func staff(op Operator, n int) Filter {
	return Filter{Field: "staff", Operator: op, Values: []string{strconv.Itoa(n)}}
}

var count = []Aggregate{{Function: Count}}

func TestAnswer(t *testing.T) {
	c := newCounter(t, sample(6000), wide)
	a := c.answer(Spec{Epsilon: "8", GroupBy: []string{"trade"}, Aggregates: []Aggregate{{Function: Count}, {Field: "tax", Function: Mean, Lower: "0", Upper: "100"}, {Field: "staff", Function: Sum, Lower: "10", Upper: "20"}}})
	c.want("cells", len(a.Cells), 3)
	c.want("first", fmt.Sprint(a.Cells[0].Keys), "[farm]")
	near := func(what, text string, truth, scale float64) {
		t.Helper()
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Abs(n-truth) > 60*scale { // more happens once in e^60
			t.Errorf("%s: %s is far from %v", what, text, truth)
		}
	}
	// A part's epsilon is 8·0.7/4. The aggregates are ordered by field: count, staff, tax.
	truth := 0.0
	for i := range 6000 {
		if i%3 == 0 {
			truth += float64(min(max(i%50, 10), 20))
		}
	}
	near("count", a.Cells[0].Values[0], 2000, 1/1.4)
	near("sum", a.Cells[0].Values[1], truth, 20/1.4)
	near("mean", a.Cells[0].Values[2], 49.75, 0.05)
	c.want("within", fmt.Sprint(a.Within95), "[3 43 ]")
	c.want("epsilon", a.Epsilon+" "+a.Delta, "8 0.000000001")
	c.want("spent", c.spent(), "8")
	c.want("snapshot", a.Snapshot, c.src.Digest())

	empty := c.answer(Spec{Epsilon: "1", Aggregates: count})
	c.want("cells", len(empty.Cells), 1)
	c.want("keys", len(empty.Cells[0].Keys), 0)
}

// TestNoise: no figure is the exact one but by chance, and two draws of one are not the same but by chance.
func TestNoise(t *testing.T) {
	c := newCounter(t, sample(6000), wide)
	seen := map[string]bool{}
	for i := range 12 {
		seen[c.answer(Spec{Epsilon: fmt.Sprintf("0.1%d1", i), Aggregates: count}).Cells[0].Values[0]] = true
	}
	if len(seen) < 4 || seen["6000"] && len(seen) == 1 {
		t.Errorf("twelve counts with noise of some fifteen gave %v", seen)
	}
}

// TestRepeats: an identical question has its first answer's bytes, costs nothing and runs nothing, after a restart too.
func TestRepeats(t *testing.T) {
	c := newCounter(t, sample(6000), wide)
	s := Spec{Epsilon: "2", GroupBy: []string{"town"}, Aggregates: count}
	first, err := c.ask(s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if i == 2 {
			c.desk.Close()
			c.open(wide)
		}
		again, err := c.ask(s)
		if err != nil {
			t.Fatal(err)
		}
		c.want("answer", string(again.Answer), string(first.Answer))
		c.want("repeated", again.Repeated, true)
		c.want("spent", c.spent(), "2")
	}
	c.want("runs", c.runs.Load(), int64(1))
	// Another minimum cohort is another question.
	r, err := c.desk.Ask(t.Context(), Question{Dataset: "taxes", Snapshot: c.src, Fields: fields, MinimumCohort: 500, Spec: s.Ordered().Bytes()})
	if err != nil || r.Repeated {
		t.Error(r, err)
	}
	c.want("spent", c.spent(), "4")
}

// TestTwinsAtOnce: of many callers with one question, one pays and runs.
func TestTwinsAtOnce(t *testing.T) {
	c := newCounter(t, sample(6000), wide)
	var wg sync.WaitGroup
	answers := make([]string, 32)
	for i := range answers {
		wg.Go(func() {
			if r, err := c.ask(Spec{Epsilon: "2", Aggregates: count}); err == nil {
				answers[i] = string(r.Answer)
			}
		})
	}
	wg.Wait()
	for _, a := range answers {
		c.want("answer", a, answers[0])
	}
	c.want("runs", c.runs.Load(), int64(1))
	c.want("spent", c.spent(), "2")
}

// TestBudgetRace: 32 callers with different questions and enough budget for five. Five are served, and not one
// thousandth more is spent, before or after a restart.
func TestBudgetRace(t *testing.T) {
	b := Budget{Epoch: 1, Epsilon: "5.4", Delta: "0.0001"}
	c := newCounter(t, sample(6000), b)
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			_, err := c.ask(Spec{Epsilon: "1", Aggregates: []Aggregate{{Field: "staff", Function: Sum, Lower: "0", Upper: strconv.Itoa(i + 1)}}})
			var r *contracts.Refusal
			switch {
			case err == nil:
				served.Add(1)
			case errors.As(err, &r) && r.Code == BudgetSpent:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c.want("served", served.Load(), int64(5))
	c.want("refused", refused.Load(), int64(27))
	c.want("runs", c.runs.Load(), int64(5))
	c.want("spent", c.spent(), "5")
	c.desk.Close()
	c.open(b)
	c.want("spent", c.spent(), "5")
	c.want("refusal", c.refusal(Spec{Epsilon: "0.5", Aggregates: count}), BudgetSpent)
	c.answer(Spec{Epsilon: "0.4", Aggregates: count}) // to the last
	c.want("refusal", c.refusal(Spec{Epsilon: "0.001", Aggregates: count}), BudgetSpent)
}

// TestDeltaIsABudgetToo and so is the number of questions.
func TestDeltaIsABudgetToo(t *testing.T) {
	c := newCounter(t, sample(6000), Budget{Epoch: 1, Epsilon: "100", Delta: "0.000000002"})
	c.answer(Spec{Epsilon: "1", Aggregates: count})
	c.answer(Spec{Epsilon: "1.1", Aggregates: count})
	c.want("refusal", c.refusal(Spec{Epsilon: "1.2", Aggregates: count}), BudgetSpent)
	c = newCounter(t, sample(6000), Budget{Epoch: 1, Epsilon: "100", Delta: "0.001", MaxQueries: 1})
	c.answer(Spec{Epsilon: "1", Aggregates: count})
	c.want("refusal", c.refusal(Spec{Epsilon: "1.2", Aggregates: count}), TooManyAsked)
	c.answer(Spec{Epsilon: "1", Aggregates: count})
}

// TestDebitComesFirst: when the child starts, the debit is on disk already; when it fails, that is a failure, the debit
// stands, and the same question is answered later for it.
func TestDebitComesFirst(t *testing.T) {
	c := newCounter(t, sample(6000), wide)
	s := Spec{Epsilon: "3", Aggregates: count}
	c.desk.cfg.Runner.before = func() {
		// What a crash at this moment leaves: the file as it is now.
		b, err := os.ReadFile(filepath.Join(c.dir, "budget.db"))
		copied := filepath.Join(t.TempDir(), "budget.db")
		if err = errors.Join(err, os.WriteFile(copied, b, 0o600)); err != nil {
			t.Error(err)
			return
		}
		st, err := openStore(copied)
		if err != nil {
			t.Error(err)
			return
		}
		defer st.close()
		a, err := st.account("taxes")
		if err != nil || a.SpentEpsilon != 3_000_000 {
			t.Errorf("%+v, %v", a, err)
		}
	}
	what := "crash"
	c.spoil.Store(&what)
	for range 2 {
		if _, err := c.ask(s); !errors.Is(err, ErrChild) || errors.As(err, new(*contracts.Refusal)) {
			t.Fatal(err)
		}
	}
	c.want("spent", c.spent(), "3")
	c.spoil.Store(nil)
	c.answer(s)
	c.want("spent", c.spent(), "3")
	c.want("runs", c.runs.Load(), int64(3))
}

// TestDiffering: who asks about a cohort, and then about nearly the same one, is refused, in either order and for any
// consumer.
func TestDiffering(t *testing.T) {
	// Staff is 0 to 49, 120 subjects each; a few are special.
	src := sample(6000)
	for i := range 9 {
		src.rows[i*50][4] = "1000"
	}
	all := Spec{Epsilon: "8", Filters: []Filter{staff(GreaterEqual, 0)}, Aggregates: count}
	without := Spec{Epsilon: "8", Filters: []Filter{staff(GreaterEqual, 0), staff(Less, 1000)}, Aggregates: count}
	far := Spec{Epsilon: "8", Filters: []Filter{staff(Less, 25)}, Aggregates: count}
	by := func(s Spec) Spec { s.GroupBy = []string{"trade"}; return s }
	for name, pair := range map[string][2]Spec{
		"smaller":       {all, without},
		"larger":        {without, all},
		"a group":       {by(all), by(without)},
		"larger groups": {by(without), by(all)},
		// The same subjects under another definition tell who is not in the difference.
		"equal":            {all, {Epsilon: "8", Filters: []Filter{staff(GreaterEqual, -1)}, Aggregates: count}},
		"one of the group": {by(all), {Epsilon: "8", Filters: []Filter{staff(Less, 1000), {Field: "trade", Operator: Equal, Values: []string{"farm"}}}, Aggregates: count}},
		"other figures":    {all, {Epsilon: "8", Filters: without.Filters, Aggregates: []Aggregate{{Field: "tax", Function: Sum, Lower: "0", Upper: "1"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t, src, wide)
			first, err := c.ask(pair[0])
			if err != nil {
				t.Fatal(err)
			}
			c.want("second", c.refusal(pair[1]), CohortTooNear)
			// It cost what finding out costs, a fifth without groups, three tenths with them, and keeps its answer.
			cost := map[bool]string{false: "9.6", true: "10.4"}[len(pair[1].GroupBy) > 0]
			c.want("spent", c.spent(), cost)
			runs := c.runs.Load()
			c.want("again", c.refusal(pair[1]), CohortTooNear)
			c.want("spent", c.spent(), cost)
			c.want("runs", c.runs.Load(), runs)
			// The first is still what it was, and what is far enough is answered.
			again, err := c.ask(pair[0])
			if err != nil || string(again.Answer) != string(first.Answer) {
				t.Error(err)
			}
			if len(pair[0].GroupBy) == 0 {
				c.answer(far)
			}
			// Other figures of the very same cohort are no new cohort.
			same := pair[0]
			same.Aggregates = []Aggregate{{Field: "tax", Function: Mean, Lower: "0", Upper: "9"}}
			c.answer(same)
		})
	}
	t.Run("at once", func(t *testing.T) {
		c := newCounter(t, src, wide)
		var wg sync.WaitGroup
		var served atomic.Int64
		for _, s := range []Spec{all, without} {
			wg.Go(func() {
				if _, err := c.ask(s); err == nil {
					served.Add(1)
				} else if code(t, err) != CohortTooNear {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		c.want("served", served.Load(), int64(1))
	})
	t.Run("after a restart", func(t *testing.T) {
		c := newCounter(t, src, wide)
		c.answer(all)
		c.desk.Close()
		c.open(Budget{Epoch: 2, Epsilon: "100", Delta: "0.0001"}) // a new period forgets no cohort of the snapshot
		c.want("second", c.refusal(without), CohortTooNear)
	})
}

// TestMinimumCohort: fewer than k subjects are never shown, by themselves or as a group.
func TestMinimumCohort(t *testing.T) {
	src := sample(6000)
	for i := range 40 {
		src.rows[i*3][3] = "hamlet"
	}
	b := wide
	b.MinimumCohort = 41
	c := newCounter(t, src, b)
	c.want("alone", c.refusal(Spec{Epsilon: "8", Filters: []Filter{{Field: "town", Operator: Equal, Values: []string{"hamlet"}}}, Aggregates: count}), CohortTooNear)
	c.want("nobody", c.refusal(Spec{Epsilon: "8", Filters: []Filter{{Field: "town", Operator: Equal, Values: []string{"nowhere"}}}, Aggregates: count}), CohortTooNear)
	for i := range 5 {
		for _, cell := range c.answer(Spec{Epsilon: fmt.Sprintf("7.%d", i+1), GroupBy: []string{"town"}, Aggregates: count}).Cells {
			if cell.Keys[0] == "hamlet" {
				t.Error("a group of 40 is shown, and 41 is the minimum")
			}
		}
	}
	// A policy may ask for more than the dataset's owner.
	_, err := c.desk.Ask(t.Context(), Question{Dataset: "taxes", Snapshot: src, Fields: fields, MinimumCohort: 6001, Spec: Spec{Epsilon: "8", Aggregates: count}.Ordered().Bytes()})
	c.want("policy", code(t, err), CohortTooNear)
}

// TestRowsPerSubject: however many rows a subject has, its newest few count.
func TestRowsPerSubject(t *testing.T) {
	src := sample(2000)
	for day := range 50 { // one subject with 50 rows
		src.rows = append(src.rows, []string{"zzz", fmt.Sprintf("2026-02-%02d", day%28+1), "mill", "West", "1000000", "1", "", ""})
	}
	s := Spec{Epsilon: "8", Aggregates: []Aggregate{{Field: "staff", Function: Sum, Lower: "0", Upper: "1000000"}}}
	for perSubject, most := range map[int64]float64{1: 1e6, 3: 3e6} {
		b := Budget{Epoch: 1, Epsilon: "100", Delta: "0.0001", RowsPerSubject: perSubject}
		c := newCounter(t, src, b)
		n, err := strconv.ParseFloat(c.answer(s).Cells[0].Values[0], 64)
		if truth := 2000*24.5 + most; err != nil || math.Abs(n-truth) > 60*most/6.4 {
			t.Errorf("%d rows a subject: %v, want about %v", perSubject, n, truth)
		}
	}
}

func TestEpochs(t *testing.T) {
	c := newCounter(t, sample(6000), Budget{Epoch: 3, Epsilon: "1", Delta: "0.0001"})
	c.answer(Spec{Epsilon: "1", Aggregates: count})
	for what, b := range map[string]Budget{
		"an earlier period":    {Epoch: 2, Epsilon: "1", Delta: "0.0001"},
		"more epsilon in it":   {Epoch: 3, Epsilon: "2", Delta: "0.0001"},
		"more delta in it":     {Epoch: 3, Epsilon: "1", Delta: "0.001"},
		"no period":            {Epsilon: "1", Delta: "0.0001"},
		"no epsilon":           {Epoch: 4, Delta: "0.0001"},
		"a delta that is none": {Epoch: 4, Epsilon: "1", Delta: "0.5"},
		"a cohort of one":      {Epoch: 4, Epsilon: "1", Delta: "0.0001", MinimumCohort: 1},
	} {
		if err := c.desk.Offer("taxes", b); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	c.want("spent", c.spent(), "1")
	if err := c.desk.Offer("taxes", Budget{Epoch: 3, Epsilon: "0.5", Delta: "0.0001"}); err != nil {
		t.Error(err)
	}
	c.want("refusal", c.refusal(Spec{Epsilon: "0.1", Aggregates: count}), BudgetSpent)
	if err := c.desk.Offer("taxes", Budget{Epoch: 4, Epsilon: "1", Delta: "0.0001"}); err != nil {
		t.Error(err)
	}
	c.want("spent", c.spent(), "0")
	runs := c.runs.Load()
	c.answer(Spec{Epsilon: "1", Aggregates: count}) // the snapshot is the same, and so are its answers
	c.want("runs", c.runs.Load(), runs)
	c.want("spent", c.spent(), "0")
	c.answer(Spec{Epsilon: "0.9", Aggregates: count})

	// A new snapshot is a new question, and what an earlier period kept of the old one goes with the next debit.
	if err := c.desk.Offer("taxes", Budget{Epoch: 5, Epsilon: "1", Delta: "0.0001"}); err != nil {
		t.Fatal(err)
	}
	old := c.src
	c.src = sample(5990)
	c.answer(Spec{Epsilon: "0.5", Aggregates: count})
	c.want("spent", c.spent(), "0.5")
	c.src = old
	c.want("refusal", c.refusal(Spec{Epsilon: "1", Aggregates: count}), BudgetSpent)
}

func TestRefusals(t *testing.T) {
	c := newCounter(t, sample(50), wide)
	sum := func(field, lower, upper string) Spec {
		return Spec{Epsilon: "1", Aggregates: []Aggregate{{Field: field, Function: Sum, Lower: lower, Upper: upper}}}
	}
	filter := func(field string, op Operator, values ...string) Spec {
		return Spec{Epsilon: "1", Aggregates: count, Filters: []Filter{{Field: field, Operator: op, Values: values}}}
	}
	all := append([]string{"code", "ghost"}, fields...)
	for what, x := range map[string]struct {
		spec Spec
		code contracts.Code
	}{
		"no such field":        {filter("ghost", Equal, "1"), BadField},
		"the key as filter":    {filter("code", Equal, "000001"), BadField},
		"the key as group":     {Spec{Epsilon: "1", Aggregates: count, GroupBy: []string{"code"}}, BadField},
		"order of texts":       {filter("town", Less, "East"), BadField},
		"order of truth":       {filter("listed", Greater, "false"), BadField},
		"groups of decimals":   {Spec{Epsilon: "1", Aggregates: count, GroupBy: []string{"tax"}}, BadField},
		"groups of times":      {Spec{Epsilon: "1", Aggregates: count, GroupBy: []string{"seen"}}, BadField},
		"sum of texts":         {sum("town", "0", "1"), BadField},
		"sum of dates":         {sum("day", "2026-01-01", "2026-01-02"), BadField},
		"no integer":           {filter("staff", Equal, "1.5"), BadValue},
		"leading zero":         {filter("staff", Equal, "01"), BadValue},
		"finer than scale":     {filter("tax", Equal, "0.001"), BadValue},
		"zero at the end":      {filter("tax", Equal, "0.10"), BadValue},
		"no day":               {filter("day", Equal, "2026-02-30"), BadValue},
		"no truth":             {filter("listed", Equal, "yes"), BadValue},
		"beyond 2^62":          {filter("staff", Less, "4611686018427387904"), BadValue},
		"bounds the wrong way": {sum("staff", "1", "1"), BadValue},
		"bounds too wide":      {sum("staff", "0", "1000000000000000000"), BadValue},
		"noise too wide":       {Spec{Epsilon: "0.001", Aggregates: []Aggregate{{Field: "staff", Function: Sum, Lower: "0", Upper: "10000000000000000"}}}, BadValue},
	} {
		_, err := c.desk.Ask(t.Context(), Question{Dataset: "taxes", Snapshot: c.src, Fields: all, Spec: x.spec.Ordered().Bytes()})
		if got := code(t, err); got != x.code {
			t.Errorf("%s: %s, want %s", what, got, x.code)
		}
	}
	_, err := c.desk.Ask(t.Context(), Question{Dataset: "taxes", Snapshot: c.src, Fields: []string{"staff"}, Spec: Spec{Epsilon: "1", Aggregates: count, GroupBy: []string{"trade"}}.Bytes()})
	c.want("a field that isn't permitted", code(t, err), BadField)
	_, err = c.desk.Ask(t.Context(), Question{Dataset: "others", Snapshot: c.src, Spec: Spec{Epsilon: "1", Aggregates: count}.Bytes()})
	c.want("another dataset", code(t, err), NotOffered)
	_, err = c.desk.Ask(t.Context(), Question{Dataset: "taxes", Snapshot: c.src, Spec: []byte(`select 1; drop table t`)})
	c.want("SQL", code(t, err), Malformed)
	c.want("spent", c.spent(), "0")
	c.want("runs", c.runs.Load(), int64(0))
}

// TestManyTexts: a text that nearly every subject has another of is no field to ask by.
func TestManyTexts(t *testing.T) {
	src := sample(maxListed + 1)
	for i := range src.rows {
		src.rows[i][3] = fmt.Sprint("town ", i)
	}
	c := newCounter(t, src, wide)
	c.want("refusal", c.refusal(Spec{Epsilon: "1", Aggregates: count, GroupBy: []string{"town"}}), BadField)
}

// TestAnswersTake: an answer or a refusal leaves after 1, 2, 4 … steps, whatever it took, so its time tells little.
func TestAnswersTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Desk{cfg: DeskConfig{Now: time.Now, Step: 200 * time.Millisecond}}
		for took, want := range map[time.Duration]time.Duration{0: 200, 1: 200, 199: 200, 200: 200, 201: 400, 390: 400, 401: 800, 900: 1600} {
			begun := time.Now()
			time.Sleep(took * time.Millisecond)
			if err := d.hold(t.Context(), begun); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(begun); got != want*time.Millisecond {
				t.Errorf("what took %v ms left after %v, want %v ms", int64(took), got, int64(want))
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(io.ErrClosedPipe)
		if err := d.hold(ctx, time.Now()); !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	})
}
