package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/privacy/stats"
)

const exposureSchema = `key: usc
asOf: asof
fields:
  - {name: usc, title: 统一社会信用代码, titleEn: credit code, type: text, format: credit_code}
  - {name: asof, title: 截止日, titleEn: as of, type: date}
  - {name: exposure, title: 授信余额分布, titleEn: distribution of exposure, type: integer, unit: yuan}
`

// statWorld is a market with a joint statistic: the provider collects and sells, three banks contribute, two operators of
// their own aggregate.
type statWorld struct {
	*world
	banks  []*testNode
	actors []*contractstest.Actor // of the banks
	agg    [2]*testNode
	ops    [2]*contractstest.Actor
	task   contracts.ID
}

func newStatWorld(t testing.TB) *statWorld {
	t.Helper()
	p := newProxy(t)
	w := &statWorld{world: newWorldOf(t, product{schema: exposureSchema, fields: []string{"exposure"}, modes: []policy.Operation{policy.JointStatistics}, config: "statisticsEpsilonMicro: 40000000\n",
		edit: func(f *contracts.Facts) {
			f.CreditInfo, f.Policy.ConsentRequired, f.Policy.MinimumCohort = false, false, 6
			f.Modes, f.Policy.Operations = []policy.Operation{policy.JointStatistics}, []policy.Operation{policy.JointStatistics}
		}}, p.l.Addr().String(), "127.0.0.1:0")}
	w.provider.proxy = p
	m := w.m
	m.catchUp()
	m.addHPKE(w.provider, m.Provider)
	member := func(name, url string, roles ...contracts.Role) *contractstest.Actor {
		a := m.Actor(name, roles...)
		ok(t, m.Admit(a))
		ok(t, m.Do(a.ID, "node.register", contracts.NodeRegister{TLSKey: a.TLS.Public.ID(), ReceiptKey: a.Receipt.Public.ID(), URL: url, Region: "CN-31"}, nil, a.Admin))
		a.Node = m.Last("node")
		return a
	}
	w.banks, w.actors = []*testNode{w.bank}, []*contractstest.Actor{m.Buyer}
	for _, name := range []string{"second bank", "third bank"} {
		a := member(name, "", contracts.RoleBuyer)
		w.banks, w.actors = append(w.banks, w.node(name, a, "", "")), append(w.actors, a)
	}
	for i, name := range []string{"leader", "helper"} {
		p := newProxy(t)
		w.ops[i] = member(name, "https://"+p.l.Addr().String(), contracts.RoleDelivery)
		w.agg[i] = w.node(name, w.ops[i], "127.0.0.1:0", "")
		w.agg[i].proxy = p
		m.addHPKE(w.agg[i], w.ops[i])
	}
	m.catchUp()
	ok(t, m.Do(m.Provider.ID, "statistics.propose", contracts.StatisticsPropose{Version: m.listing.Version, Aggregators: []contracts.ID{w.ops[0].Node, w.ops[1].Node},
		Contributors: []contracts.ID{w.actors[0].ID, w.actors[1].ID, w.actors[2].ID}, Measure: contracts.Measure{Kind: "histogram", Buckets: []int64{1, 1_000_000, 10_000_000}},
		MinBatch: 9, EpsilonMicro: 20_000_000, From: m.Now, To: m.Now.Add(30 * 86400)}, nil, m.Provider.Two()...))
	w.task = m.Last("statistics")
	return w
}

func (w *statWorld) nodes() []*testNode {
	return append(append([]*testNode{w.provider}, w.agg[:]...), w.banks...)
}

func (w *statWorld) allFollowed() {
	w.t.Helper()
	for _, x := range w.nodes() {
		w.followed(x)
	}
}

func (w *statWorld) join(as ...*contractstest.Actor) {
	w.t.Helper()
	w.m.catchUp()
	for _, a := range as {
		ok(w.t, w.m.Do(a.ID, "statistics.join", contracts.StatisticsTurn{Task: w.task}, nil, a.Two()...))
	}
	w.allFollowed()
}

// contribute brings a bank's values, under an id of their own.
func (w *statWorld) contribute(bank, n int, values ...int64) (known bool, err error) {
	var a struct{ Known bool }
	err = w.banks[bank].ask(http.MethodPost, "/v1/statistics/"+string(w.task)+"/contributions", map[string]any{"id": fmt.Sprintf("%030d%02d", n, bank), "values": values}, &a)
	return a.Known, err
}

type statResult struct {
	Batch, Reports, Margin95, EpsilonMicro int64
	Values                                 []int64
}

func (w *statWorld) collect() (r statResult, err error) {
	err = w.provider.ask(http.MethodPost, "/v1/statistics/"+string(w.task)+"/collect", struct{}{}, &r)
	return r, err
}

// near holds a result against the sums in the clear: at this epsilon the noise is above three once in 10^13 draws.
func near(t *testing.T, r statResult, want ...int64) {
	t.Helper()
	if len(r.Values) != len(want) || r.EpsilonMicro != 20_000_000 || r.Margin95 < 0 {
		t.Fatalf("%+v", r)
	}
	sum := int64(0)
	for i, v := range r.Values {
		if v-want[i] > 3 || want[i]-v > 3 {
			t.Errorf("%v, want some %v", r.Values, want)
		}
		sum += want[i]
	}
	if r.Reports != sum {
		t.Errorf("%d reports of %d", r.Reports, sum)
	}
}

// TestJointStatistics: three banks learn together how much their borrowers owe, and nobody sees one bank's figures.
func TestJointStatistics(t *testing.T) {
	t.Parallel()
	w := newStatWorld(t)
	d := w.m.agree(func(o *contracts.Offer, _ *contracts.Terms) {
		o.Policy.Operations, o.Policy.ConsentRequired, o.Policy.MinimumCohort = []policy.Operation{policy.JointStatistics}, false, 6
	})
	for _, x := range w.nodes() {
		x.start()
	}
	w.allFollowed()
	w.sub(t, "before all have joined", func(t *testing.T) {
		w.join(append(w.actors[:2:2], w.ops[:]...)...)
		if _, err := w.contribute(0, 1, 5); codeOf(err) != "statistics.not_joined" {
			t.Error(err)
		}
		w.join(w.actors[2])
	})

	// The first bank by the command, the second over connections that break.
	values := filepath.Join(t.TempDir(), "exposure.csv")
	ok(t, os.WriteFile(values, []byte("0\n500000\n1000000\r\n12000000\n"), 0o600))
	var says bytes.Buffer
	contribute := func() error {
		says.Reset()
		return contributeValues(&command{ctx: t.Context(), args: []string{"--config", w.bank.asking(), "--task", string(w.task), "--values", values}, err: &says, log: quiet, now: w.bank.clock.now})
	}
	ok(t, contribute())
	ok(t, contribute()) // the same file counts once
	if says.String() != "4 of 4 reports, known\n" {
		t.Errorf("said %q", says.String())
	}
	if _, err := w.collect(); codeOf(err) != "stats.batch" {
		t.Errorf("below the minimum: %v", err)
	}
	for _, x := range w.agg {
		x.proxy.lose.Store(2)
	}
	until(t, "the second bank's reports", func() error { _, err := w.contribute(1, 1, 0, 999_999, 1_000_000, 10_000_000); return err })
	if known, err := w.contribute(1, 1, 0, 999_999, 1_000_000, 10_000_000); err != nil || !known {
		t.Errorf("known %v, %v", known, err)
	}
	if _, err := w.contribute(1, 1, 7); codeOf(err) != "statistics.contribution" {
		t.Errorf("other values under one id: %v", err)
	}
	if _, err := w.collect(); codeOf(err) != "stats.batch" {
		t.Errorf("eight of nine: %v", err)
	}
	// The third while the helper is away, and both aggregators start again.
	w.agg[1].end()
	if _, err := w.contribute(2, 1, 3, 3); codeOf(err) != "failure" {
		t.Errorf("without the helper: %v", err)
	}
	w.agg[0].end()
	w.agg[0].start()
	w.agg[1].start()
	w.allFollowed()
	until(t, "the third bank's reports", func() error { _, err := w.contribute(2, 1, 3, 3); return err })
	var r statResult
	w.agg[1].proxy.lose.Store(1)
	until(t, "the first batch", func() (err error) { r, err = w.collect(); return err })
	near(t, r, 2, 4, 2, 2)
	if r.Batch != 1 {
		t.Errorf("%+v", r)
	}
	w.sub(t, "sold", func(t *testing.T) { w.soldResult(t, d, r) })
	w.sub(t, "refused", w.statRefusals)

	// The next batch is another nine reports; what is left of the budget allows this one and none after it.
	for bank := range 3 {
		_, err := w.contribute(bank, 2, 0, 0, 20_000_000)
		ok(t, err)
	}
	r, err := w.collect()
	ok(t, err)
	near(t, r, 6, 0, 0, 3)
	if _, err := w.collect(); codeOf(err) != "stats.batch" {
		t.Errorf("the empty third batch: %v", err)
	}
	for bank := range 3 {
		_, err := w.contribute(bank, 3, 0, 0, 1)
		ok(t, err)
	}
	for range 2 {
		if _, err := w.collect(); codeOf(err) != "statistics.budget" {
			t.Errorf("beyond the budget: %v", err)
		}
	}
	var status struct {
		Collected struct{ Next, SpentMicro, BudgetMicro int64 }
	}
	ok(t, w.provider.ask(http.MethodGet, "/v1/statistics/"+string(w.task), nil, &status))
	if status.Collected.Next != 3 || status.Collected.SpentMicro != 40_000_000 || status.Collected.BudgetMicro != 40_000_000 {
		t.Errorf("%+v", status)
	}
	var leader struct {
		Aggregator struct {
			Leads                            bool
			Batch, Counted, Waiting, Refused int64
		}
	}
	ok(t, w.agg[0].ask(http.MethodGet, "/v1/statistics/"+string(w.task), nil, &leader))
	if a := leader.Aggregator; !a.Leads || a.Batch != 4 || a.Counted != 0 || a.Waiting != 0 || a.Refused != 0 {
		t.Errorf("%+v", a)
	}

	// A member leaves, and nothing more is taken.
	w.m.catchUp()
	ok(t, w.m.Do(w.actors[2].ID, "statistics.end", contracts.StatisticsTurn{Task: w.task}, nil, w.actors[2].Maker))
	w.allFollowed()
	if _, err := w.contribute(0, 9, 1); codeOf(err) != "statistics.ended" {
		t.Errorf("after its end: %v", err)
	}
	for _, x := range w.nodes() {
		if l := x.log.String(); strings.Contains(l, "12000000") || strings.Contains(l, "999999") {
			t.Errorf("the %s's log holds a value", x.name)
		}
	}
}

// asking gives a configuration that has the address the node got, for commands.
func (x *testNode) asking() string {
	b, err := os.ReadFile(x.config)
	ok(x.t, err)
	name := filepath.Join(filepath.Dir(x.config), "asking.yaml")
	ok(x.t, os.WriteFile(name, bytes.Replace(b, []byte("local: 127.0.0.1:0"), []byte("local: "+x.local), 1), 0o600))
	return name
}

// soldResult buys the result by a metered call, as any other data.
func (w *statWorld) soldResult(t *testing.T, d *contractstest.Deal, want statResult) {
	buy := func(edit func(query)) (r statResult, outcome string, err error) {
		q := query{"agreement": d.Agreement, "task": w.task, "batch": 1, "fields": []string{"exposure"}, "purpose": "pre_loan"}
		if edit != nil {
			edit(q)
		}
		var a struct {
			Outcome string
			Result  statResult
			Receipt localReceipt
		}
		err = w.bank.ask(http.MethodPost, "/v1/statistics/results", q, &a)
		if err == nil && a.Receipt.Units != map[string]int64{"FOUND": 1}[a.Outcome] {
			t.Errorf("billed %+v", a)
		}
		return a.Result, a.Outcome, err
	}
	var r statResult
	until(t, "the result", func() (err error) { r, _, err = buy(nil); return err })
	if fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("sold %+v, collected %+v", r, want)
	}
	if r, _, err := buy(nil); err != nil || fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("again %+v, %v: another noise would show the sum", r, err)
	}
	if _, outcome, err := buy(func(q query) { q["batch"] = 7 }); err != nil || outcome != "NOT_FOUND" {
		t.Errorf("a batch that wasn't collected: %s %v", outcome, err)
	}
	for code, edit := range map[string]func(query){
		"statistics.unknown": func(q query) { q["task"] = w.m.Buyer.ID }, "policy.purpose": func(q query) { q["purpose"] = "post_loan" },
		"policy.field": func(q query) { q["fields"] = []string{"usc"} }, "request.malformed": func(q query) { q["batch"] = 0 },
	} {
		if _, _, err := buy(edit); codeOf(err) != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	w.agreed(d, 2)
}

// statRefusals speaks to the aggregators as nodes that may not say what they say.
func (w *statWorld) statRefusals(t *testing.T) {
	say := func(from *testNode, to int, what string, body []byte) string {
		t.Helper()
		n := from.n
		l, err := peer.Pins{Key: n.keys.TLS, Read: n.readBoth, Now: n.now}.Link(w.ops[to].Node)
		ok(t, err)
		defer l.CloseIdleConnections()
		method := http.MethodPost
		if what == "key" {
			method = http.MethodGet
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+w.agg[to].proxy.l.Addr().String()+"/statistics/"+string(w.task)+"/"+what, bytes.NewReader(body))
		ok(t, err)
		resp, err := l.RoundTrip(r)
		ok(t, err)
		defer resp.Body.Close()
		b := new(bytes.Buffer)
		b.ReadFrom(resp.Body)
		if resp.StatusCode == http.StatusOK {
			return "ok"
		}
		var p problem
		ok(t, json.Unmarshal(b.Bytes(), &p))
		return p.Code
	}
	share := canon.Marshal(wanted{Batch: 1, Key: w.provider.n.keys.HPKE.ID()})
	for _, c := range []struct {
		name string
		from *testNode
		to   int
		what string
		body []byte
		want string
	}{
		{"a bank collects", w.bank, 0, "share", share, "statistics.unknown"},
		{"a bank closes", w.bank, 0, "close", canon.Marshal(wanted{Batch: 2}), "statistics.unknown"},
		{"a bank leads", w.bank, 1, "job", nil, "statistics.unknown"},
		{"the collector contributes", w.provider, 0, "reports", nil, "statistics.unknown"},
		{"an aggregator contributes", w.agg[1], 0, "reports", nil, "statistics.unknown"},
		{"an aggregator collects", w.agg[1], 0, "share", share, "statistics.unknown"},
		{"the helper leads", w.agg[1], 0, "job", nil, "stats.order"},
		{"the helper closes", w.agg[1], 0, "order", nil, "stats.order"},
		{"the helper sets the verify key", w.agg[1], 0, "verify-key", nil, "stats.order"},
		{"the collector has the helper close", w.provider, 1, "close", canon.Marshal(wanted{Batch: 2}), "stats.order"},
		{"a batch to come", w.provider, 0, "close", canon.Marshal(wanted{Batch: 9}), "stats.order"},
		{"below the minimum", w.provider, 0, "close", canon.Marshal(wanted{Batch: 2}), "stats.batch"},
		{"a batch that isn't closed", w.provider, 1, "share", canon.Marshal(wanted{Batch: 2, Key: w.provider.n.keys.HPKE.ID()}), "stats.batch"},
		{"a share for somebody else's key", w.provider, 1, "share", canon.Marshal(wanted{Batch: 1, Key: w.agg[1].n.keys.HPKE.ID()}), "hpke.key"},
		{"no batch", w.provider, 0, "share", []byte("{}"), "stats.form"},
		{"no upload", w.bank, 0, "reports", []byte("x"), "stats.form"},
		{"no job", w.agg[0], 1, "job", []byte("x"), "stats.form"},
		{"a share again", w.provider, 0, "share", share, "ok"},
		{"the key", w.bank, 0, "key", nil, "ok"},
	} {
		if got := say(c.from, c.to, c.what, c.body); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// Another verify key than the one that reports were prepared with.
	onLedger, err := (&statistics{n: w.agg[0].n}).onLedger(w.task)
	ok(t, err)
	sealed, err := stats.SealVerifyKey(taskOf(w.task, onLedger), w.agg[1].n.keys.HPKE.Public(), [32]byte{1})
	ok(t, err)
	if got := say(w.agg[0], 1, "verify-key", sealed); got != "stats.order" {
		t.Errorf("a second verify key: %s", got)
	}
	if _, err := w.contribute(0, 77); codeOf(err) != "request.malformed" {
		t.Errorf("no values: %v", err)
	}
	if err := w.provider.ask(http.MethodPost, "/v1/statistics/"+string(w.task)+"/contributions", map[string]any{"id": w.task, "values": []int64{1}}, nil); codeOf(err) != "statistics.unknown" {
		t.Errorf("the collector contributes: %v", err)
	}
	if err := w.bank.ask(http.MethodPost, "/v1/statistics/"+string(w.task)+"/collect", struct{}{}, nil); codeOf(err) != "statistics.unknown" {
		t.Errorf("a bank collects: %v", err)
	}
	// Frozen: the task stands still.
	m := w.m
	m.catchUp()
	ok(t, m.Do(m.Regulator.ID, "freeze.order", contracts.FreezeOrder{Target: w.actors[1].ID, Order: contracts.HashOf("test/order"), Reason: "test"}, nil, m.Regulator.Two()...))
	w.allFollowed()
	if got := say(w.bank, 0, "key", nil); got != "freeze.frozen" {
		t.Errorf("frozen: %s", got)
	}
	ok(t, m.Do(m.Regulator.ID, "freeze.lift", contracts.FreezeOrder{Target: w.actors[1].ID, Order: contracts.HashOf("test/lift"), Reason: "test"}, nil, m.Regulator.Two()...))
	w.allFollowed()
}

// TestReadValues: a list is taken as it is, or not at all.
func TestReadValues(t *testing.T) {
	for text, want := range map[string]int{"1\n2\n": 2, "-5\r\n7": 2, "": -1, "1\n\n2\n": -1, "1,2\n": -1, "1.5\n": -1, "+1\n": -1, "01\n": -1, " 1\n": -1, "9223372036854775808\n": -1} {
		name := filepath.Join(t.TempDir(), "values")
		ok(t, os.WriteFile(name, []byte(text), 0o600))
		list, _, err := readValues(name)
		if (err == nil) != (want >= 0) || err == nil && len(list) != want {
			t.Errorf("%q: %v, %v", text, list, err)
		}
		if err != nil && strings.Contains(err.Error(), "9223372036854775808") {
			t.Error("the error holds a value")
		}
	}
}
