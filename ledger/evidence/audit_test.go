package evidence_test

import (
	"context"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/evidence/evidencetest"
)

const ledgerID = "bund.test/evidence"

var honest = sync.OnceValues(func() (*evidencetest.Trade, error) {
	l, err := evidencetest.New(ledgerID)
	if err != nil {
		return nil, err
	}
	return evidencetest.NewTrade(l)
})

// trade gives an honest ledger that nobody changes.
func trade(t testing.TB) *evidencetest.Trade {
	t.Helper()
	w, err := honest()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func audit(t testing.TB, dir string, l *evidencetest.Ledger, options ...func(*evidence.Config)) *evidence.Report {
	t.Helper()
	trust, err := evidence.TrustOf(l.Trust())
	if err != nil {
		t.Fatal(err)
	}
	cfg := evidence.Config{Dir: dir, Trust: trust}
	for _, o := range options {
		o(&cfg)
	}
	r, err := evidence.Audit(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func export(t testing.TB, l *evidencetest.Ledger, openings bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "export")
	if err := l.Export(dir, openings); err != nil {
		t.Fatal(err)
	}
	return dir
}

func show(t testing.TB, r *evidence.Report) {
	t.Helper()
	for _, c := range r.Checks {
		t.Logf("%-13s %-22s %d, %d skipped  %s  %s", c.Verdict, c.Name, c.Count, c.Skipped, c.Where, c.Detail)
	}
}

// want checks verdicts; those not named must be verified.
func want(t testing.TB, r *evidence.Report, not map[string]evidence.Verdict) {
	t.Helper()
	for _, c := range r.Checks {
		v := evidence.Verified
		if x, ok := not[c.Name]; ok {
			v = x
		}
		if c.Verdict != v {
			t.Errorf("%s is %s (%s: %s), want %s", c.Name, c.Verdict, c.Where, c.Detail, v)
		}
		if c.Verdict == evidence.Verified && c.Count == 0 {
			t.Errorf("%s verified nothing", c.Name)
		}
	}
	if t.Failed() {
		show(t, r)
	}
}

func seen(t testing.TB, l *evidencetest.Ledger, n int) func(*evidence.Config) {
	t.Helper()
	early := l.Clone()
	early.Entries = early.Entries[:n]
	cp, err := early.Checkpoint(2)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *evidence.Config) { c.Seen = append(c.Seen, cp) }
}

func TestAuditWhole(t *testing.T) {
	w := trade(t)
	n := len(w.Entries)
	r := audit(t, export(t, w.Ledger, true), w.Ledger, seen(t, w.Ledger, n/2), seen(t, w.Ledger, 1), seen(t, w.Ledger, n))
	want(t, r, nil)
	for name, count := range map[string]int{evidence.CheckEntries: n, evidence.CheckChain: n, evidence.CheckRules: n, evidence.CheckTree: n, evidence.CheckConsistency: 3,
		evidence.CheckWitnesses: 3, evidence.CheckFiles: 3, evidence.CheckOpenings: len(w.Openings)} {
		if c := r.Check(name); c.Count != count {
			t.Errorf("%s: %d, want %d", name, c.Count, count)
		}
	}
	// One certificate with its number, one of the product's registration, two settlements.
	if c := r.Check(evidence.CheckCertificates); c.Count != 5 {
		t.Errorf("certificates: %d", c.Count)
	}
	if d := r.Check(evidence.CheckMoney).Detail; !strings.Contains(d, "1000000 fen paid in = 0 in escrow + 335320 charged + 664680 given back") {
		t.Errorf("money: %s", d)
	}
	if !r.OK() {
		t.Error("not OK")
	}
}

// The same state as the market's own.
func TestAuditState(t *testing.T) {
	p := contractstest.NewPure(ledgerID)
	if err := contractstest.NewMarket(ledgerID, p, 3).Begin(); err != nil {
		t.Fatal(err)
	}
	l, err := evidencetest.Of(p)
	if err != nil {
		t.Fatal(err)
	}
	if r := audit(t, export(t, l, false), l); r.State != string(p.Hash()) {
		t.Errorf("state %s, the market's is %s", r.State, p.Hash())
	}
}

// Without openings what needs none is verified, and the rest says so.
func TestAuditWithoutOpenings(t *testing.T) {
	w := trade(t)
	r := audit(t, export(t, w.Ledger, false), w.Ledger)
	some := evidence.NotCheckable
	want(t, r, map[string]evidence.Verdict{evidence.CheckRules: some, evidence.CheckOpenings: some, evidence.CheckMoney: some, evidence.CheckConsistency: some})
	rules := r.Check(evidence.CheckRules)
	if rules.Count+rules.Skipped != len(w.Entries) || rules.Count < 40 || rules.Skipped < 10 {
		t.Errorf("rules: %d replayed, %d not, of %d", rules.Count, rules.Skipped, len(w.Entries))
	}
	if !r.OK() {
		t.Error("not OK: nothing failed")
	}
}

// An erasure makes its own opening's absence lawful, whenever it was recorded, and nobody else's.
func TestAuditErasure(t *testing.T) {
	l, err := evidencetest.New(ledgerID)
	if err != nil {
		t.Fatal(err)
	}
	w, err := evidencetest.NewTrade(l)
	if err != nil {
		t.Fatal(err)
	}
	terms := w.Prepaid.Offer.Terms
	if err := w.Erase(terms); err != nil {
		t.Fatal(err)
	}
	some := evidence.NotCheckable
	lawful := map[string]evidence.Verdict{evidence.CheckRules: some, evidence.CheckOpenings: some, evidence.CheckMoney: some, evidence.CheckConsistency: some}
	r := audit(t, export(t, l, true), l)
	want(t, r, lawful)
	if c := r.Check(evidence.CheckOpenings); c.Skipped != 1 || c.Count != len(w.Openings) {
		t.Errorf("openings: %d, %d erased", c.Count, c.Skipped)
	}
	other := w.Postpaid.Offer.Terms
	delete(w.Openings, other)
	r = audit(t, export(t, l, true), l)
	lawful[evidence.CheckOpenings] = evidence.Failed
	want(t, r, lawful)
	if c := r.Check(evidence.CheckOpenings); c.Failures != 1 || !strings.Contains(c.Detail, string(other)) || !strings.HasPrefix(c.Where, "entries.bin: entry ") {
		t.Errorf("openings: %+v", c)
	}
}

// Of every opening of the trade: missing without an erasure it fails, erased it doesn't; the money is never said to be
// wrong for it.
func TestAuditEveryOpening(t *testing.T) {
	w := trade(t)
	for _, c := range slices.Sorted(maps.Keys(w.Openings)) {
		l := w.Clone()
		tag := l.Openings[c].Tag
		delete(l.Openings, c)
		r := audit(t, export(t, l, true), l)
		if x := r.Check(evidence.CheckOpenings); x.Verdict != evidence.Failed || x.Failures != 1 || !strings.Contains(x.Detail, string(c)) {
			t.Errorf("%s %s missing: %+v", tag, c, x)
		}
		e := &evidencetest.Trade{Ledger: l, Market: w.Market}
		exec := w.Market.Exec
		w.Market.Exec = l
		err := e.Erase(c)
		w.Market.Exec = exec
		if err != nil {
			t.Fatal(err)
		}
		if r = audit(t, export(t, l, true), l); !r.OK() {
			t.Errorf("%s %s erased:", tag, c)
			show(t, r)
		}
	}
}

var steps = flag.Int("steps", 300, "steps of TestAuditSimulation")

// Random markets, with everything that the rules know.
func TestAuditSimulation(t *testing.T) {
	for _, seed := range []uint64{1, 2} {
		m, err := contractstest.NewSimulation("bund.test/simulation", seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range *steps {
			if err := m.Step(); err != nil {
				t.Fatal(err)
			}
		}
		l, err := evidencetest.Of(m.Scene.Oracle)
		if err != nil {
			t.Fatal(err)
		}
		r := audit(t, export(t, l, true), l)
		if !r.OK() || r.Check(evidence.CheckRules).Count != len(l.Entries) || r.State != string(m.Scene.Oracle.Hash()) {
			t.Errorf("seed %d:", seed)
			show(t, r)
		}
		if r := audit(t, export(t, l, false), l); !r.OK() {
			t.Errorf("seed %d, without openings:", seed)
			show(t, r)
		}
		t.Logf("seed %d: %d entries, %d openings; %s", seed, len(l.Entries), len(l.Openings), r.Check(evidence.CheckMoney).Detail)
	}
}

func TestWriterRefuses(t *testing.T) {
	w := trade(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.Create(dir, evidence.Manifest{}, w.Keys.Log); err == nil {
		t.Error("an export in a folder that is not empty")
	}
	x, err := evidence.Create(t.TempDir(), evidence.Manifest{Ledger: ledgerID}, w.Keys.Log)
	if err != nil {
		t.Fatal(err)
	}
	sorted := slices.Sorted(maps.Keys(w.Openings))
	if err := x.Opening(w.Openings[sorted[1]]); err != nil {
		t.Fatal(err)
	}
	if x.Opening(w.Openings[sorted[0]]) == nil {
		t.Error("openings out of order")
	}
	k := w.Openings[sorted[2]]
	k.Tag = contracts.TagEscrow + "x"
	if x.Opening(k) == nil {
		t.Error("an opening that doesn't fit")
	}
	if x.Close(nil) == nil {
		t.Error("an export without entries")
	}
}
