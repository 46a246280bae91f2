package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// lookupWorld is a world whose product is sold for lookups, with a consent service's node.
type lookupWorld struct {
	*world
	actor   *contractstest.Actor
	steward *testNode
	held    map[contracts.CreditCode]consentHeld // consents that name the steward's node
}

const lookupCohort = 4

func newLookupWorld(t *testing.T) *lookupWorld {
	t.Helper()
	p, s := newProxy(t), newProxy(t)
	w := &lookupWorld{held: map[contracts.CreditCode]consentHeld{}}
	w.world = newWorldOf(t, product{schema: testSchema, fields: contractstest.Fields, csv: testCSV(), modes: []policy.Operation{policy.ConsentLookup, policy.PrivateLookup},
		edit: func(f *contracts.Facts) { f.Policy.ConsentRequired, f.Policy.MinimumCohort = false, lookupCohort }}, p.l.Addr().String(), "127.0.0.1:0")
	w.provider.proxy = p
	m := w.m
	m.catchUp()
	w.actor = m.Actor("授权服务运营方", contracts.RoleConsentService)
	ok(t, m.Admit(w.actor))
	ok(t, m.Do(w.actor.ID, "node.register", contracts.NodeRegister{TLSKey: w.actor.TLS.Public.ID(), ReceiptKey: w.actor.Receipt.Public.ID(),
		URL: "https://" + s.l.Addr().String(), Region: "CN-31"}, nil, w.actor.Admin))
	w.actor.Node = m.Last("node")
	w.steward = w.node("steward", w.actor, "127.0.0.1:0", "")
	w.steward.proxy = s
	for _, x := range []*testNode{w.provider, w.bank, w.steward} {
		x.start()
	}
	return w
}

// build makes and commits a new epoch at the provider's node; it waits until all nodes have followed it.
func (w *lookupWorld) build(cohort int64) error {
	w.t.Helper()
	v := w.m.listing.Version
	if err := w.provider.ask(http.MethodPost, "/v1/lookup-tables", map[string]any{"version": v, "cohort": cohort, "consentNode": w.actor.Node}, nil); err != nil {
		return err
	}
	var failed error
	until(w.t, "the table", func() error {
		var s struct{ State string }
		if failed = w.provider.ask(http.MethodGet, "/v1/lookup-tables/"+string(v), nil, &s); failed == nil && s.State != "committed" {
			return errors.New(s.State)
		}
		return nil
	})
	if failed != nil {
		return failed
	}
	for _, x := range []*testNode{w.provider, w.bank, w.steward} {
		w.followed(x)
	}
	return nil
}

// reportDataset puts the dataset's digest on the ledger.
func (w *lookupWorld) reportDataset() {
	w.t.Helper()
	ok(w.t, w.provider.ask(http.MethodPost, "/v1/datasets/tax/report", map[string]string{"version": string(w.m.listing.Version)}, nil))
	w.followed(w.provider)
}

type lookupAnswer struct {
	Answers []lookedUp        `json:"answers"`
	Billed  int64             `json:"billed"`
	Epoch   int64             `json:"epoch"`
	Table   openedFrom        `json:"table"`
	Learnt  map[string]string `json:"learnt"`
	Nonce   string            `json:"nonce"`
	Receipt localReceipt      `json:"receipt"`
}

func (w *lookupWorld) ask(d *contractstest.Deal, cs []contracts.CreditCode, edit func(query)) (*lookupAnswer, error) {
	q := query{"agreement": d.Agreement, "operation": "private_lookup", "purpose": "pre_loan", "subjects": cs}
	if edit != nil {
		edit(q)
	}
	a := new(lookupAnswer)
	if err := w.bank.ask(http.MethodPost, "/v1/lookups", q, a); err != nil {
		return nil, err
	}
	return a, nil
}

// consented makes a question a consent_lookup of the companies that it names.
func (w *lookupWorld) consented(q query) {
	var cs []map[string]any
	for _, c := range q["subjects"].([]contracts.CreditCode) {
		cs = append(cs, map[string]any{"subject": c, "consent": w.held[c].ID, "consentKey": w.held[c].Key})
	}
	delete(q, "subjects")
	q["operation"], q["consents"] = "consent_lookup", cs
}

// right demands that every company's row is its own, the last of companies having none.
func right(t *testing.T, a *lookupAnswer, cs []contracts.CreditCode) {
	t.Helper()
	if len(a.Answers) != len(cs) || a.Billed != int64(len(cs)) || a.Receipt.Units != int64(len(cs)) {
		t.Fatalf("asked about %d companies, got %+v", len(cs), a)
	}
	for i, got := range a.Answers {
		n := -1
		for j, c := range companies[:20] {
			if c == cs[i] {
				n = j
			}
		}
		want := fmt.Sprintf("%s NOT_FOUND map[]", cs[i])
		if n >= 0 {
			want = fmt.Sprintf("%s FOUND map[invoiced_12m:%d.75 red_ratio:0.02 tax_score:%d]", cs[i], 2000+n, 70+n)
		}
		if s := fmt.Sprintf("%s %s %v", got.Subject, got.Outcome, got.Values); s != want {
			t.Errorf("company %d: %s, want %s", i, s, want)
		}
	}
}

// units waits until the bank has acknowledged everything under a deal and gives what was billed.
func (w *lookupWorld) units(d *contractstest.Deal, calls int64) int64 {
	w.t.Helper()
	return w.agreed(d, calls).Provider.Totals.Units
}

// holds searches a node's folder and log for a company's code, as it is, in hex and in base64.
func holds(t *testing.T, x *testNode, code contracts.CreditCode, skip string) (where string) {
	t.Helper()
	forms := [][]byte{[]byte(code), []byte(hex.EncodeToString([]byte(code)))}
	for shift := range 3 { // base64 at each offset, without the characters that neighbours change
		s := base64.StdEncoding.EncodeToString(append(make([]byte, shift), code...))
		forms = append(forms, []byte(s[4:20]))
	}
	look := func(name string, b []byte) {
		for _, f := range forms {
			if bytes.Contains(b, f) {
				where = name
			}
		}
	}
	look("the log", []byte(x.log.String()))
	ok(t, filepath.WalkDir(filepath.Dir(x.config), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if e != nil && e.IsDir() && e.Name() == skip {
				return filepath.SkipDir
			}
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // gone since it was listed
			return nil
		}
		look(path, b)
		return err
	}))
	return where
}

func consentFree(o *contracts.Offer, _ *contracts.Terms) {
	o.Policy.ConsentRequired, o.Policy.MinimumCohort = false, lookupCohort
}

func consentBound(o *contracts.Offer, _ *contracts.Terms) { o.Policy.MinimumCohort = lookupCohort }

// TestPrivateLookup walks a private lookup through two nodes: a table is built and committed, fetched, asked, and
// replaced by the next epoch's. The provider doesn't learn who was asked about.
func TestPrivateLookup(t *testing.T) {
	t.Parallel()
	w := newLookupWorld(t)
	m := w.m
	d := m.agree(consentFree)
	bound := m.agree(consentBound)
	w.registerConsents(companies[:1], 1000)
	calls := w.ready(d)
	w.ready(bound)
	units := calls

	if _, err := w.ask(d, companies[:3], nil); codeOf(err) != "lookup.none" {
		t.Errorf("before there is a table: %v", err)
	}
	if err := w.build(0); codeOf(err) != "lookup.dataset" {
		t.Errorf("of a dataset that was not reported: %v", err)
	}
	w.reportDataset()
	if err := w.build(lookupCohort - 1); codeOf(err) != "lookup.cohort" {
		t.Errorf("with buckets too small: %v", err)
	}
	ok(t, w.build(lookupCohort))

	asked := append(companies[2:6:6], companies[20])
	ask := func(edit func(query)) *lookupAnswer {
		t.Helper()
		a, err := w.ask(d, asked, edit)
		ok(t, err)
		right(t, a, asked)
		return a
	}
	a := ask(nil)
	if !a.Table.Whole || a.Epoch != 1 || a.Learnt["provider"] == "" {
		t.Errorf("%+v", a)
	}
	calls, units = calls+1, units+5
	w.provider.proxy.lose.Store(1) // the answer is lost, and asked for again
	b := ask(nil)
	w.provider.proxy.lose.Store(0)
	if again := ask(func(q query) { q["nonce"] = b.Nonce }); again.Receipt != b.Receipt {
		t.Errorf("asked twice, got receipts %+v and %+v", b.Receipt, again.Receipt)
	}
	calls, units = calls+1, units+5
	if _, err := w.ask(d, companies[:2], func(q query) { q["nonce"] = b.Nonce }); codeOf(err) != string(meter.IDReused) {
		t.Errorf("another question with the nonce: %v", err)
	}
	a = ask(func(q query) { q["buckets"] = true })
	if a.Table.Whole || a.Table.Buckets < 1 || a.Table.Cohort != lookupCohort {
		t.Errorf("%+v", a.Table)
	}
	calls, units = calls+1, units+5

	for code, x := range map[string]struct {
		d    *contractstest.Deal
		edit func(query)
	}{
		"consent.operation": {bound, nil}, // hides its subjects and shows no ticket
		"policy.purpose":    {d, func(q query) { q["purpose"] = "post_loan" }},
		"lookup.fields":     {d, func(q query) { q["fields"] = []string{"tax_score"} }},
		"agreement.unknown": {d, func(q query) { q["agreement"] = m.Buyer.ID }},
	} {
		if _, err := w.ask(x.d, asked, x.edit); codeOf(err) != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	for name, edit := range map[string]func(query){
		"nobody": func(q query) { q["subjects"] = []string{} }, "no code": func(q query) { q["subjects"] = []string{"91310115MA1K00007R"} },
		"one twice": func(q query) { q["subjects"] = []string{string(companies[1]), string(companies[1])} }, "another operation": func(q query) { q["operation"] = "query" },
		"consents too":    func(q query) { q["consents"] = []any{map[string]any{}} },
		"unknown purpose": func(q query) { q["purpose"] = "any" },
	} {
		if _, err := w.ask(d, asked, edit); codeOf(err) != "request.malformed" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Fifteen companies of a table of twenty: somebody may be walking through the register.
	var st struct{ Problems map[string]string }
	ok(t, w.provider.ask(http.MethodGet, "/v1/status", nil, &st))
	if got := st.Problems["lookups of agreement "+string(d.Agreement)]; !strings.Contains(got, "the table has 20") {
		t.Errorf("problems %v", st.Problems)
	}
	w.sub(t, "wire", func(t *testing.T) { w.wireLookups(t, d) })

	// The next epoch: another key and table. What was asked in the epoch before can still be opened, with its nonce.
	ok(t, w.build(0))
	if a = ask(nil); a.Epoch != 2 {
		t.Errorf("%+v", a)
	}
	calls, units = calls+1, units+5
	if again := ask(func(q query) { q["nonce"] = b.Nonce }); again.Epoch != 1 || again.Receipt != b.Receipt {
		t.Errorf("of the epoch before: %+v", again)
	}
	if _, err := w.ask(d, asked, func(q query) { q["buckets"] = true }); codeOf(err) != "lookup.no_buckets" {
		t.Errorf("buckets of a table without: %v", err)
	}
	secrets, err := filepath.Glob(filepath.Join(filepath.Dir(w.provider.config), "node", "lookup", "tables", "*.secret"))
	ok(t, err)
	if len(secrets) != 1 || !strings.Contains(secrets[0], ".2.") {
		t.Errorf("the provider keeps the keys %v", secrets)
	}

	if got := w.units(d, calls); got != units {
		t.Errorf("%d units are billed, want %d", got, units)
	}
	// The bank's node ends between its question and the answer, which is paid for: the question was kept, and its nonce opens it.
	q := &localLookup{Agreement: d.Agreement, Operation: policy.PrivateLookup, Purpose: policy.PreLoan}
	nonce := meter.NewNonce(w.bank.clock.now())
	var ids [][]byte
	for _, c := range asked {
		ids = append(ids, []byte(c))
	}
	l := w.bank.n.lookups
	c, use, err := l.using(d.Agreement)
	ok(t, err)
	x, err := l.newAsked(t.Context(), q, nonce, use, ids, nil, c)
	ok(t, err)
	req, err := x.request()
	ok(t, err)
	paid, err := w.bank.n.use(t.Context(), d.Agreement, nonce, req)
	ok(t, err)
	// A restart of both: tables are read again, and serve.
	for _, x := range []*testNode{w.provider, w.bank} {
		x.end()
		x.start()
	}
	until(t, "a lookup after the restart", func() error { _, err := w.ask(d, asked[:1], nil); return err })
	if a = ask(func(q query) { q["nonce"] = hex.EncodeToString(nonce[:]) }); a.Receipt != paid.receipt() {
		t.Errorf("paid before the restart: %+v, after it %+v", paid.receipt(), a.Receipt)
	}
	for _, c := range asked {
		skip := "vault" // where the provider's own dataset has it
		if c == companies[20] {
			skip = ""
		}
		if where := holds(t, w.provider, c, skip); where != "" {
			t.Errorf("the provider's node holds %s in %s", c, where)
		}
	}
	if holds(t, w.provider, companies[3], "") == "" {
		t.Error("the search finds nothing at all")
	}
}

// wireLookups asks what no node of ours would.
func (w *lookupWorld) wireLookups(t *testing.T, d *contractstest.Deal) {
	l := w.bank.n.lookups
	c, use, err := l.using(d.Agreement)
	ok(t, err)
	q, err := lookup.NewQuery(use.commitment, [][]byte{[]byte(companies[1]), []byte(companies[2])})
	ok(t, err)
	good := gate.Request{Epoch: 1, Fields: use.product.fields(), Operation: policy.PrivateLookup, Payload: q.Request().Bytes(), Purpose: policy.PreLoan, Units: 2}
	identity := bytes.Clone(good.Payload)
	clear(identity[len(identity)-lookup.ElementBytes:])
	other := *use.commitment
	other.Rows++
	foreign, err := lookup.NewQuery(&other, [][]byte{[]byte(companies[1]), []byte(companies[2])})
	ok(t, err)
	for code, edit := range map[string]func(*gate.Request){
		"lookup.epoch":       func(r *gate.Request) { r.Epoch = 2 },
		"lookup.units":       func(r *gate.Request) { r.Units = 1 },
		"lookup.fields":      func(r *gate.Request) { r.Fields = r.Fields[:1] },
		"lookup.malformed":   func(r *gate.Request) { r.Payload = r.Payload[1:] },
		"lookup.element":     func(r *gate.Request) { r.Payload = identity },
		"lookup.other_table": func(r *gate.Request) { r.Payload = foreign.Request().Bytes() },
		"ticket.malformed":   func(r *gate.Request) { r.Operation = policy.ConsentLookup },
	} {
		r := good
		edit(&r)
		_, err := w.bank.n.use(t.Context(), d.Agreement, meter.NewNonce(w.bank.clock.now()), r)
		var no *meter.Refusal
		if !errors.As(err, &no) || string(no.Code) != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	for _, what := range []string{"row/00", "table/1", "bucket/", "bucket/01", "bucket/-1", "bucket/x", ""} {
		if _, err := l.get(t.Context(), c, what, nil); err == nil {
			t.Errorf("%q is served", what)
		}
	}
	if _, err := l.get(t.Context(), c, "bucket/99999", nil); codeOfRefusal(err) != "lookup.malformed" {
		t.Errorf("no such bucket: %v", err)
	}
}

func codeOfRefusal(err error) string {
	var r *contracts.Refusal
	if errors.As(err, &r) {
		return string(r.Code)
	}
	return fmt.Sprint("error: ", err)
}

// TestTableFetch goes on with a part of a table that is here, and throws away one that is not the committed table's.
func TestTableFetch(t *testing.T) {
	t.Parallel()
	w := newLookupWorld(t)
	d := w.m.agree(consentFree)
	w.registerConsents(companies[:1], 1000)
	w.ready(d)
	w.reportDataset()
	ok(t, w.build(0))
	tables, err := filepath.Glob(filepath.Join(filepath.Dir(w.provider.config), "node", "lookup", "tables", "*.table"))
	ok(t, err)
	table, err := os.ReadFile(tables[0])
	ok(t, err)
	_, use, err := w.bank.n.lookups.using(d.Agreement)
	ok(t, err)
	path := w.bank.n.lookups.fetchedPath(use.commitment)
	fetch := func() (s stateOfWork) {
		t.Helper()
		until(t, "the table", func() error {
			err := w.bank.ask(http.MethodPost, "/v1/lookup-tables/fetch", map[string]any{"agreement": d.Agreement}, &s)
			if err == nil && s.State != "fetched" {
				err = errors.New(s.State)
			}
			return err
		})
		return s
	}
	// The first half is false: found out at the end, and fetched anew.
	bad := bytes.Clone(table[:len(table)/2])
	bad[len(bad)-1] ^= 1
	ok(t, os.WriteFile(path+".part", bad, 0o600))
	if err := w.bank.ask(http.MethodPost, "/v1/lookup-tables/fetch", map[string]any{"agreement": d.Agreement}, nil); codeOf(err) != "lookup.table" {
		t.Errorf("a false part: %v", err)
	}
	// The connection breaks in the middle, twice; the rest is fetched alone.
	ok(t, os.WriteFile(path+".part", table[:len(table)/3], 0o600))
	w.provider.proxy.lose.Store(2)
	if s := fetch(); s.Have != int64(len(table)) {
		t.Errorf("%+v", s)
	}
	got, err := os.ReadFile(path)
	ok(t, err)
	if !bytes.Equal(got, table) {
		t.Error("another table was fetched")
	}
	a, err := w.ask(d, companies[:2], nil)
	ok(t, err)
	right(t, a, companies[:2])
	// A table that is damaged here is fetched anew.
	bad = bytes.Clone(table)
	bad[len(bad)/2] ^= 1
	w.bank.end()
	ok(t, os.WriteFile(path, bad, 0o600))
	w.bank.start()
	until(t, "a lookup with the table fetched anew", func() error { _, err := w.ask(d, companies[:2], nil); return err })
	// A freeze stops a fetch, too.
	m := w.m
	m.catchUp()
	ok(t, m.Do(m.Regulator.ID, "freeze.order", contracts.FreezeOrder{Target: d.Agreement, Order: contracts.HashOf("test/order"), Reason: "test"}, nil, m.Regulator.Two()...))
	w.followed(w.provider)
	c := w.bank.n.consumer(d.Agreement)
	until(t, "the freeze", func() error {
		_, err := w.bank.n.lookups.get(t.Context(), c, "table", nil)
		if codeOfRefusal(err) != "freeze.frozen" {
			return fmt.Errorf("served, or %v", err)
		}
		return nil
	})
}
