package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
)

func init() { psiFrameElements = 2 } // so that a few companies take several frames

// newPSIWorld is a world whose product is sold for intersections, with a deal under which no consent is needed.
func newPSIWorld(t *testing.T) (*world, *contractstest.Deal) {
	t.Helper()
	p := newProxy(t)
	w := newWorldOf(t, product{schema: testSchema, fields: contractstest.Fields, csv: testCSV(), modes: []policy.Operation{policy.PSI},
		edit: func(f *contracts.Facts) { f.Policy.ConsentRequired = false }}, p.l.Addr().String(), "127.0.0.1:0")
	w.provider.proxy = p
	d := w.m.agree(func(o *contracts.Offer, _ *contracts.Terms) { o.Policy.ConsentRequired = false })
	w.provider.start()
	w.bank.start()
	until(t, "the first call", func() error {
		_, err := w.call(d, 0, func(q query) { delete(q, "consent"); delete(q, "consentKey") })
		return err
	})
	return w, d
}

// lines is a list as the local API takes it.
func lines(cs []contracts.CreditCode) []byte {
	var b []byte
	for _, c := range cs {
		b = append(append(b, c...), '\n')
	}
	return b
}

// intersect asks the bank's node about a list.
func (w *world) intersect(query string, list []byte) (*localIntersection, error) {
	v := new(localIntersection)
	b, err := w.rawLocal(http.MethodPost, "/v1/intersections?"+query, list)
	if err != nil {
		return nil, err
	}
	return v, json.Unmarshal(b, v)
}

// rawLocal speaks to the bank's local API as it is.
func (w *world) rawLocal(method, path string, body []byte) ([]byte, error) {
	token, err := readSeed(filepath.Join(filepath.Dir(w.bank.config), "node", "local.token"), false)
	ok(w.t, err)
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.bank.local+path, bytes.NewReader(body))
	ok(w.t, err)
	r.Header.Set("Authorization", fmt.Sprintf("Bearer %x", token))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		p := &refusedAnswer{body: b}
		if err = json.Unmarshal(b, &p.problem); err == nil {
			err = p
		}
	}
	return b, err
}

// met waits until an intersection is over and gives what it found.
func (w *world) met(id contracts.ID) (v *localIntersection, matches string) {
	w.t.Helper()
	until(w.t, "the intersection", func() error {
		v = new(localIntersection)
		if err := w.bank.ask(http.MethodGet, "/v1/intersections/"+string(id), nil, v); err != nil {
			return err
		}
		if v.State != "done" && v.State != "refused" {
			return fmt.Errorf("it is %+v", v)
		}
		return nil
	})
	if v.State == "refused" {
		w.t.Fatalf("refused: %+v", v)
	}
	b, err := w.rawLocal(http.MethodGet, "/v1/intersections/"+string(id)+"/matches", nil)
	ok(w.t, err)
	return v, string(b)
}

func agreementQuery(d *contractstest.Deal, more string) string {
	return "agreement=" + string(d.Agreement) + "&purpose=pre_loan" + more
}

// TestIntersection walks set intersection through two nodes: asked, billed by the announced size, run over a broken
// line and restarts, read, forgotten.
func TestIntersection(t *testing.T) {
	t.Parallel()
	w, d := newPSIWorld(t)
	billed, units := int64(1), int64(1)

	// Sixteen companies, of which the provider has fifteen.
	list := slices.Clone(companies[5:21])
	slices.Reverse(list)
	w.provider.proxy.lose.Store(3)
	v, err := w.intersect(agreementQuery(d, ""), lines(list))
	ok(t, err)
	got, matches := w.met(v.Intersection)
	if want := string(lines(list[1:])); matches != want {
		t.Errorf("matches\n%s, want\n%s", matches, want)
	}
	if got.IDs != 16 || got.Announced != 16 || got.Providers != 20 || *got.Matches != 15 || got.Receipt.Units != 16 || got.Receipt.Outcome != "FOUND" || len(got.Learnt) != 2 {
		t.Errorf("%+v", got)
	}
	billed, units = billed+1, units+16

	// Announced sizes are rounded: 17 as 18. The provider's own is rounded as well. The same nonce is the same question.
	nonce := meter.NewNonce(w.bank.clock.now())
	more := append(slices.Clone(companies[:16]), contracts.SyntheticCreditCode(99))
	again := agreementQuery(d, fmt.Sprintf("&nonce=%x", nonce))
	if v, err = w.intersect(again, lines(more)); err != nil || v.Announced != 18 {
		t.Fatalf("%+v, %v", v, err)
	}
	// Both nodes are stopped at once, and go on.
	w.provider.end()
	w.bank.end()
	w.provider.start()
	w.bank.start()
	if _, matches = w.met(v.Intersection); matches != string(lines(companies[:16])) {
		t.Errorf("after a restart: matches\n%s", matches)
	}
	same, err := w.intersect(again, lines(more))
	if err != nil || same.Intersection != v.Intersection || same.State != "done" {
		t.Errorf("the same nonce: %+v, %v", same, err)
	}
	billed, units = billed+1, units+18

	// A list of nobody whom the provider has, announced as it is, over a line that breaks all the time.
	w.provider.proxy.lose.Store(40)
	v, err = w.intersect(agreementQuery(d, "&padding=exact"), lines([]contracts.CreditCode{companies[20]}))
	if err != nil {
		var r *refusedAnswer
		if !errors.As(err, &r) || r.Code != "outcome_unknown" {
			t.Fatal(err)
		}
		v = new(localIntersection)
		ok(t, json.Unmarshal(r.body, v))
	}
	if got, matches = w.met(v.Intersection); matches != "" || got.Announced != 1 || *got.Matches != 0 {
		t.Errorf("nobody: %+v, %q", got, matches)
	}
	w.provider.proxy.lose.Store(0)
	billed, units = billed+1, units+1

	w.sub(t, "refused", func(t *testing.T) { w.psiRefusals(t, d) })
	w.sub(t, "command", func(t *testing.T) { w.psiCommand(t, d) })
	billed, units = billed+1, units+3
	w.sub(t, "forgotten", func(t *testing.T) {
		ok(t, w.bank.ask(http.MethodDelete, "/v1/intersections/"+string(v.Intersection), nil, nil))
		if err := w.bank.ask(http.MethodGet, "/v1/intersections/"+string(v.Intersection), nil, nil); codeOf(err) != string(noIntersection) {
			t.Errorf("%v", err)
		}
	})
	w.agreed(d, billed)
	a, err := w.view(w.bank, d)
	ok(t, err)
	if a.Consumer.Totals.Units != units {
		t.Errorf("billed %d units, want %d", a.Consumer.Totals.Units, units)
	}
	for _, c := range companies {
		for name, x := range map[string]*testNode{"provider": w.provider, "bank": w.bank} {
			if strings.Contains(x.log.String(), string(c)) {
				t.Errorf("the %s's log names company %s", name, c)
			}
		}
	}
	// What remains on either disk of the sessions tells how they ended and nothing else.
	for _, x := range []*testNode{w.provider, w.bank} {
		err := filepath.WalkDir(filepath.Join(filepath.Dir(x.config), "node", "sessions"), func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() && !slices.Contains([]string{"lock", "terms", "outcome"}, e.Name()) {
				if st, err := e.Info(); err != nil || st.Size() > 0 {
					t.Errorf("the %s keeps %s", x.name, path)
				}
			}
			return err
		})
		ok(t, err)
	}
}

// psiRefusals bill nothing and leave nothing behind.
func (w *world) psiRefusals(t *testing.T, d *contractstest.Deal) {
	good := lines(companies[:2])
	for name, c := range map[string]struct {
		query string
		list  []byte
		code  string
	}{
		"purpose":           {"agreement=" + string(d.Agreement) + "&purpose=post_loan", good, "policy.purpose"},
		"agreement":         {"agreement=" + string(w.m.Buyer.ID) + "&purpose=pre_loan", good, "agreement.unknown"},
		"no agreement":      {"purpose=pre_loan", good, "request.malformed"},
		"padding":           {agreementQuery(d, "&padding=x"), good, "request.malformed"},
		"another parameter": {agreementQuery(d, "&x=1"), good, "request.malformed"},
		"twice":             {agreementQuery(d, "&padding=exact&padding=exact"), good, "request.malformed"},
		"nonce":             {agreementQuery(d, "&nonce=1"), good, "request.malformed"},
		"empty list":        {agreementQuery(d, ""), nil, "request.malformed"},
		"no code":           {agreementQuery(d, ""), append(slices.Clone(good), "1\n"...), "request.malformed"},
		"empty line":        {agreementQuery(d, ""), append(slices.Clone(good), '\n'), "request.malformed"},
	} {
		_, err := w.intersect(c.query, c.list)
		if codeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	for _, path := range []string{"", "/matches"} {
		if err := w.bank.ask(http.MethodGet, "/v1/intersections/"+string(w.m.Buyer.ID)+path, nil, nil); codeOf(err) != string(noIntersection) {
			t.Errorf("unknown%s: %v", path, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(w.bank.config), "node", "psi"))
	if err != nil || len(entries) != 3 {
		t.Errorf("%d intersections are kept, %v", len(entries), err)
	}
	// What the bank's node would never send.
	c := w.bank.n.consumer(d.Agreement)
	req := func(edit func(*asked, *gate.Request)) gate.Request {
		a := &asked{Agreement: d.Agreement, Purpose: "pre_loan", Padding: "exact", IDs: 3, Session: w.m.Buyer.ID}
		r := a.request()
		edit(a, &r)
		return r
	}
	for name, r := range map[string]gate.Request{
		"units":   req(func(_ *asked, r *gate.Request) { r.Units = 2 }),
		"fields":  req(func(_ *asked, r *gate.Request) { r.Fields = []string{"tax_score"} }),
		"payload": req(func(_ *asked, r *gate.Request) { r.Payload = []byte("{}") }),
		"size": req(func(a *asked, r *gate.Request) {
			a.IDs, a.Padding = 17, "rounded"
			*r = a.request()
			r.Payload = bytes.Replace(r.Payload, []byte(`"18"`), []byte(`"17"`), 1)
		}),
	} {
		_, err := c.receipts.CallFor(t.Context(), meter.NewNonce(w.bank.clock.now()), r.Bytes(), r.Asked())
		var no *meter.Refusal
		if !errors.As(err, &no) || no.Code != gate.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// psiCommand runs the command on a file with a header and two columns.
func (w *world) psiCommand(t *testing.T, d *contractstest.Deal) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "ids.csv"), filepath.Join(dir, "matches.csv")
	ok(t, os.WriteFile(in, []byte(fmt.Sprintf("usc,name\n%s,a\n%s,b\n%s,c\n", companies[3], companies[20], companies[0])), 0o600))
	b, err := os.ReadFile(w.bank.config)
	ok(t, err)
	config := filepath.Join(filepath.Dir(w.bank.config), "command.yaml") // says where the node listens in fact
	ok(t, os.WriteFile(config, bytes.Replace(b, []byte("local: 127.0.0.1:0"), []byte("local: "+w.bank.local), 1), 0o600))
	var stdout, stderr bytes.Buffer
	args := []string{"psi", "--config", config, "--agreement", string(d.Agreement), "--purpose", "pre_loan", "--ids", in, "--out", out}
	if code := run(t.Context(), args, nil, &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	b, err = os.ReadFile(out)
	if err != nil || string(b) != string(lines([]contracts.CreditCode{companies[3], companies[0]})) {
		t.Errorf("found %q, %v", b, err)
	}
	if !strings.Contains(stderr.String(), "intersection ") || !strings.Contains(stdout.String(), `"learnt"`) {
		t.Errorf("said %s and %s", stderr.String(), stdout.String())
	}
	args[6] = "post_loan"
	if code := run(t.Context(), args, nil, &stdout, &stderr); code != 3 {
		t.Errorf("refused: exit %d", code)
	}
	ok(t, os.WriteFile(in, []byte("usc\n1\n"), 0o600))
	if code := run(t.Context(), args, nil, &stdout, &stderr); code != 1 {
		t.Errorf("bad list: exit %d", code)
	}
}

// TestIntersectionStands: while the agreement is frozen no frame goes, of a session that an admitted call opened either,
// and what was asked waits; it goes on when the freeze is lifted.
func TestIntersectionStands(t *testing.T) {
	t.Parallel()
	w, d := newPSIWorld(t)
	m := w.m
	v, err := w.intersect(agreementQuery(d, ""), lines(companies[:4]))
	ok(t, err)
	w.met(v.Intersection)
	c := w.bank.n.consumer(d.Agreement)
	frames := func(method string, session contracts.ID, path string) (status int, code string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, m.NodeURL+"/agreements/"+string(d.Agreement)+"/sessions/"+string(session)+path, nil)
		ok(t, err)
		resp, err := c.link.RoundTrip(r)
		ok(t, err)
		defer resp.Body.Close()
		var p problem
		if resp.StatusCode != http.StatusOK {
			ok(t, json.NewDecoder(resp.Body).Decode(&p))
		}
		return resp.StatusCode, p.Code
	}
	if status, _ := frames(http.MethodGet, v.Intersection, "/frames"); status != http.StatusOK {
		t.Errorf("a session that is done: %d", status)
	}
	if _, code := frames(http.MethodGet, m.Buyer.ID, "/frames"); code != "session.unknown" {
		t.Errorf("an unknown session: %s", code)
	}
	if _, code := frames(http.MethodPut, v.Intersection, "/frames/1000"); code != "session.ended" {
		t.Errorf("a frame more: %s", code)
	}
	m.catchUp()
	ok(t, m.Do(m.Regulator.ID, "freeze.order", contracts.FreezeOrder{Target: d.Agreement, Order: contracts.HashOf("test/order"), Reason: "test"}, nil, m.Regulator.Two()...))
	w.followed(w.provider)
	for _, path := range []string{"/frames", "/frames/0"} {
		if _, code := frames(http.MethodGet, v.Intersection, path); code != "freeze.frozen" {
			t.Errorf("%s while frozen: %s", path, code)
		}
	}
	if _, err := w.intersect(agreementQuery(d, ""), lines(companies[:4])); codeOf(err) != "freeze.frozen" {
		t.Errorf("asked while frozen: %v", err)
	}
	// One that was asked before waits: the record says that it was, as after a crash of the node behind it.
	nonce := meter.NewNonce(w.bank.clock.now())
	a := &asked{Agreement: d.Agreement, Purpose: "pre_loan", Padding: "exact", IDs: 2, Nonce: nonce[:], Session: sessionOf(d.Agreement, nonce)}
	w.bank.end()
	dir := filepath.Join(filepath.Dir(w.bank.config), "node", "psi", string(a.Session))
	ok(t, errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, listFile), lines(companies[19:21]), 0o600),
		os.WriteFile(filepath.Join(dir, askedFile), canon.Marshal(*a), 0o600)))
	w.bank.start()
	until(t, "it waits", func() error {
		v := new(localIntersection)
		if err := w.bank.ask(http.MethodGet, "/v1/intersections/"+string(a.Session), nil, v); err != nil || v.State == "waiting" && v.Why == "freeze.frozen" {
			return err
		}
		return fmt.Errorf("it is %+v", v)
	})
	m.catchUp()
	ok(t, m.Do(m.Regulator.ID, "freeze.lift", contracts.FreezeOrder{Target: d.Agreement, Order: contracts.HashOf("test/lift"), Reason: "test"}, nil, m.Regulator.Two()...))
	if _, matches := w.met(a.Session); matches != string(lines(companies[19:20])) {
		t.Errorf("found %q", matches)
	}
}

// TestIntersectionNeedsNoConsent: what hides its subjects can't show their consents, so a grant that wants them refuses.
func TestIntersectionNeedsNoConsent(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t, policy.PSI)
	d := w.m.agree(nil)
	w.provider.start()
	w.bank.start()
	w.registerConsents(companies[:1], 1000)
	w.ready(d)
	if _, err := w.intersect(agreementQuery(d, ""), lines(companies[:2])); codeOf(err) != "consent.operation" {
		t.Errorf("%v", err)
	}
}
