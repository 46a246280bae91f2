package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/compute"
)

const statisticsSchema = `key: usc
asOf: asof
fields:
  - {name: asof, title: 截止日, titleEn: as of, type: date}
  - {name: usc, title: 统一社会信用代码, titleEn: credit code, type: text, format: credit_code}
  - {name: district, title: 区, titleEn: district, type: code, codes: [{code: east, title: 东, titleEn: east}, {code: west, title: 西, titleEn: west}, {code: isle, title: 岛, titleEn: isle}]}
  - {name: invoiced_12m, title: 近12月开票额, titleEn: invoiced in 12 months, type: decimal, unit: yuan, scale: 2}
  - {name: red_ratio, title: 红冲率, titleEn: share of red invoices, type: decimal, scale: 4}
  - {name: tax_score, title: 纳税评分, titleEn: tax score, type: integer}
`

// statisticsCSV has 1,400 companies in the east, 1,000 in the west and five on the isle.
func statisticsCSV() string {
	var b strings.Builder
	b.WriteString("usc,asof,district,invoiced_12m,red_ratio,tax_score\n")
	for i := range 2405 {
		district := "east"
		if i >= 1400 {
			district = "west"
		}
		if i >= 2400 {
			district = "isle"
		}
		fmt.Fprintf(&b, "%s,2026-01-31,%s,%d.5,0.01,%d\n", contracts.SyntheticCreditCode(uint32(50_000+i)), district, 1000+i%100, i%100)
	}
	return b.String()
}

// newComputeWorld is a world whose provider lets queries run, under a deal that needs nobody's consent.
func newComputeWorld(t *testing.T, budget string) (*world, *contractstest.Deal) {
	t.Helper()
	p := newProxy(t)
	sold := product{schema: statisticsSchema, fields: []string{"district", "invoiced_12m", "tax_score"}, csv: statisticsCSV(), modes: []policy.Operation{policy.Compute},
		edit: func(f *contracts.Facts) { f.Policy.ConsentRequired = false }, config: "    compute: " + budget + "\n"}
	w := newWorldOf(t, sold, p.l.Addr().String(), "127.0.0.1:0")
	w.provider.proxy = p
	return w, w.m.agree(func(o *contracts.Offer, _ *contracts.Terms) {
		o.Policy.ConsentRequired, o.Policy.MinimumCohort = false, 20
	})
}

type queryAnswer struct {
	Outcome  string         `json:"outcome"`
	Answer   compute.Answer `json:"answer"`
	Nonce    string         `json:"nonce"`
	Snapshot string         `json:"snapshot"`
	Receipt  localReceipt   `json:"receipt"`
}

func (w *world) query(d *contractstest.Deal, s compute.Spec, edit func(query)) (*queryAnswer, error) {
	q := query{"agreement": d.Agreement, "purpose": "pre_loan", "spec": s}
	if edit != nil {
		edit(q)
	}
	a := new(queryAnswer)
	if err := w.bank.ask(http.MethodPost, "/v1/queries", q, a); err != nil {
		return nil, err
	}
	return a, nil
}

// budget reads what the provider's status says of its budget.
func (w *world) budget() localBudget {
	w.t.Helper()
	var s struct {
		Compute struct {
			Engine, HeldBy string
			Budgets        []localBudget
		}
	}
	ok(w.t, w.provider.ask(http.MethodGet, "/v1/status", nil, &s))
	if len(s.Compute.Budgets) != 1 || s.Compute.Engine != compute.EngineName {
		w.t.Fatalf("status says %+v", s.Compute)
	}
	return s.Compute.Budgets[0]
}

func byDistrict(epsilon string) compute.Spec {
	return compute.Spec{Epsilon: epsilon, GroupBy: []string{"district"}, Aggregates: []compute.Aggregate{{Function: compute.Count}, {Field: "invoiced_12m", Function: compute.Mean, Lower: "1000", Upper: "1100"}}}
}

func scoreAbove(n string) compute.Spec {
	return compute.Spec{Epsilon: "4", Filters: []compute.Filter{{Field: "tax_score", Operator: compute.GreaterEqual, Values: []string{n}}}, Aggregates: []compute.Aggregate{{Function: compute.Count}}}
}

// TestCompute walks a bank's queries through market, gate, budget, child and receipts.
func TestCompute(t *testing.T) {
	w, d := newComputeWorld(t, `{epoch: 1, epsilon: "40", delta: "0.0001"}`)
	w.provider.start()
	w.bank.start()
	var first *queryAnswer
	until(t, "the first query", func() (err error) { first, err = w.query(d, byDistrict("8"), nil); return err })
	billed := int64(1)
	if len(first.Answer.Cells) != 2 || first.Outcome != "FOUND" || first.Receipt.Units != 1 || first.Answer.MinimumCohort != 20 {
		t.Fatalf("%+v", first)
	}
	for i, truth := range map[int]float64{0: 1400, 1: 1000} {
		c := first.Answer.Cells[i]
		n, err := strconv.ParseFloat(c.Values[0], 64)
		ok(t, err)
		mean, err := strconv.ParseFloat(c.Values[1], 64)
		ok(t, err)
		if c.Keys[0] != []string{"east", "west"}[i] || n < truth-40 || n > truth+40 || mean < 1040 || mean > 1060 {
			t.Errorf("cell %d: %+v", i, c)
		}
	}
	w.sub(t, "repeats", func(t *testing.T) {
		was := w.budget()
		if was.SpentEpsilon != "8" || was.Queries != 1 {
			t.Fatalf("%+v", was)
		}
		again, err := w.query(d, byDistrict("8"), nil)
		ok(t, err)
		billed++ // it is another call, with another receipt
		if fmt.Sprint(again.Answer) != fmt.Sprint(first.Answer) || again.Receipt.Seq == first.Receipt.Seq || w.budget() != was {
			t.Errorf("%+v, then %+v; budget %+v", first, again, w.budget())
		}
		// The same call again is billed once.
		same, err := w.query(d, byDistrict("8"), func(q query) { q["nonce"] = again.Nonce })
		ok(t, err)
		if same.Receipt != again.Receipt {
			t.Errorf("%+v, then %+v", again.Receipt, same.Receipt)
		}
	})
	w.sub(t, "refusals", func(t *testing.T) {
		was := w.budget()
		bad := func(code string, edit func(*compute.Spec, query)) {
			t.Helper()
			s := byDistrict("8")
			q := query{}
			edit(&s, q)
			_, err := w.query(d, s, func(to query) {
				for k, v := range q {
					to[k] = v
				}
			})
			if got := codeOf(err); got != code {
				t.Errorf("got %q, want %q", got, code)
			}
		}
		bad("policy.field", func(s *compute.Spec, _ query) { s.GroupBy = []string{"red_ratio"} })
		bad("policy.field", func(s *compute.Spec, _ query) { s.GroupBy = []string{"usc"} })
		bad("policy.purpose", func(_ *compute.Spec, q query) { q["purpose"] = "research" })
		bad("agreement.unknown", func(_ *compute.Spec, q query) { q["agreement"] = strings.Repeat("0", 32) })
		bad("compute.field", func(s *compute.Spec, _ query) { s.GroupBy = []string{"invoiced_12m"} })
		bad("compute.value", func(s *compute.Spec, _ query) {
			s.Filters = []compute.Filter{{Field: "tax_score", Operator: compute.Equal, Values: []string{"many"}}}
		})
		bad("request.malformed", func(s *compute.Spec, _ query) { s.Epsilon = "9" })
		bad("request.malformed", func(_ *compute.Spec, q query) { q["spec"] = "select * from t" })
		bad("compute.cohort", func(s *compute.Spec, _ query) { // five companies
			*s = scoreAbove("0")
			s.Filters = []compute.Filter{{Field: "district", Operator: compute.Equal, Values: []string{"isle"}}}
		})
		if now := w.budget(); now.SpentEpsilon != "8.8" || now.Queries != was.Queries+1 { // the check of the cohort: a fifth of 4
			t.Errorf("%+v, then %+v", was, now)
		}
	})
	w.sub(t, "differing", func(t *testing.T) {
		above := scoreAbove("10")
		_, err := w.query(d, above, nil)
		ok(t, err)
		billed++
		near := scoreAbove("10") // and not on the isle: by five companies
		near.Filters = append(near.Filters, compute.Filter{Field: "district", Operator: compute.Unequal, Values: []string{"isle"}})
		_, err = w.query(d, near, nil)
		if got := codeOf(err); got != "compute.cohort" {
			t.Errorf("got %q", got)
		}
	})
	w.sub(t, "command", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "query.json")
		ok(t, os.WriteFile(file, []byte(`{
  "groupBy": ["district"],
  "aggregates": [{"function": "mean", "field": "invoiced_12m", "lower": "1000", "upper": "1100"}, {"function": "count"}],
  "epsilon": "8"
}`), 0o600))
		// The command finds the node where its configuration says.
		cfg, err := os.ReadFile(w.bank.config)
		ok(t, err)
		config := filepath.Join(filepath.Dir(w.bank.config), "running.yaml")
		lines := strings.Split(string(cfg), "\n")
		for i, l := range lines {
			if strings.HasPrefix(l, "local:") {
				lines[i] = "local: " + w.bank.local
			}
		}
		ok(t, os.WriteFile(config, []byte(strings.Join(lines, "\n")), 0o600))
		var out, errs bytes.Buffer
		nonce := fmt.Sprintf("%012x%020x", w.bank.clock.now().UnixMilli(), 7) // of the market's day
		if code := run(t.Context(), []string{"query", "--config", config, "--agreement", string(d.Agreement), "--purpose", "pre_loan", "--spec", file, "--nonce", nonce}, nil, &out, &errs); code != 0 {
			t.Fatalf("exit %d: %s", code, errs.String())
		}
		billed++
		var a queryAnswer
		ok(t, json.Unmarshal(out.Bytes(), &a))
		if fmt.Sprint(a.Answer) != fmt.Sprint(first.Answer) {
			t.Errorf("%s", out.String())
		}
	})
	w.agreed(d, billed)
	// What a node logs says nothing of a row.
	for _, x := range []*testNode{w.provider, w.bank} {
		if log := x.log.String(); strings.Contains(log, "east") || strings.Contains(log, string(contracts.SyntheticCreditCode(50_000))) {
			t.Errorf("the log of the %s says what is in the data", x.name)
		}
	}
	// The budget outlives the node, and its configuration can't take a period back.
	spent := w.budget()
	w.provider.end()
	w.provider.start()
	if w.budget() != spent {
		t.Errorf("%+v, after a restart %+v", spent, w.budget())
	}
	w.provider.end()
	cfg, err := os.ReadFile(w.provider.config)
	ok(t, err)
	ok(t, os.WriteFile(w.provider.config, bytes.Replace(cfg, []byte(`epsilon: "40"`), []byte(`epsilon: "41"`), 1), 0o600))
	c, err := ReadConfig(w.provider.config)
	ok(t, err)
	if _, err := openNode(c, quiet, w.provider.clock.now); err == nil || !strings.Contains(err.Error(), "higher epoch") {
		t.Errorf("more budget within an epoch: %v", err)
	}
}

// TestComputeBudgetRace: 32 callers at once, and enough for five.
func TestComputeBudgetRace(t *testing.T) {
	w, d := newComputeWorld(t, `{epoch: 1, epsilon: "5.9", delta: "0.0001"}`)
	w.provider.start()
	w.bank.start()
	sum := func(i int) compute.Spec {
		return compute.Spec{Epsilon: "1", Aggregates: []compute.Aggregate{{Field: "tax_score", Function: compute.Sum, Lower: "0", Upper: strconv.Itoa(i + 1)}}}
	}
	until(t, "the first query", func() error { _, err := w.query(d, sum(0), nil); return err })
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			switch _, err := w.query(d, sum(i+1), nil); codeOf(err) {
			case "":
				served.Add(1)
			case "compute.budget":
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if served.Load() != 4 || refused.Load() != 28 || w.budget().SpentEpsilon != "5" {
		t.Errorf("%d served, %d refused, budget %+v", served.Load(), refused.Load(), w.budget())
	}
	w.agreed(d, 5)
}

// TestComputeKilled: children that are killed are failures, which are tried again; the answer comes, once billed and once
// debited. So it is when the whole node is killed with its child.
func TestComputeKilled(t *testing.T) {
	w, d := newComputeWorld(t, `{epoch: 1, epsilon: "20", delta: "0.0001"}`)
	w.provider.start()
	w.bank.start()
	until(t, "the first query", func() error { _, err := w.query(d, scoreAbove("0"), nil); return err })
	var children atomic.Int64
	w.provider.n.computing.runner.Watch(func(pid int) {
		if children.Add(1) <= 2 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	a, err := w.query(d, scoreAbove("40"), nil)
	ok(t, err)
	if children.Load() != 3 || a.Receipt.Units != 1 || w.budget().SpentEpsilon != "8" {
		t.Errorf("%d children, %+v, budget %+v", children.Load(), a, w.budget())
	}
	if log := w.provider.log.String(); !strings.Contains(log, "signal: killed") {
		t.Error("the log says nothing of the killed children")
	}
	w.agreed(d, 2)
	w.provider.end()

	w.provider.startChild()
	done := make(chan error, 1)
	go func() { _, err := w.query(d, scoreAbove("70"), nil); done <- err }()
	var orphan int
	for orphan == 0 && len(done) == 0 {
		orphan = computingChild(w.provider.child.Process.Pid)
	}
	w.provider.kill()
	if orphan != 0 {
		until(t, "the orphan's end", func() error {
			if computingChild(0) == orphan {
				return fmt.Errorf("process %d lives", orphan)
			}
			return nil
		})
	}
	w.provider.startChild()
	ok(t, <-done) // the bank's node asks until it is answered
	if got := w.budget(); got.SpentEpsilon != "12" || got.Queries != 3 {
		t.Errorf("%+v", got)
	}
	w.agreed(d, 3)
}

// computingChild finds a computing process of a parent, or with 0 of anybody, by what /proc says.
func computingChild(parent int) int {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest) // state, parent, …
		if string(args) != "datanode\x00"+compute.ChildArg+"\x00" || len(fields) < 2 || fields[0] == "Z" {
			continue
		}
		if parent == 0 || fields[1] == strconv.Itoa(parent) {
			return pid
		}
	}
	return 0
}
