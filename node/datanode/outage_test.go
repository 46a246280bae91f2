package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/meter"
)

// TestKilled kills each node as a process, with calls under way, and starts it again: no gap, nothing billed twice.
func TestKilled(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	d := w.m.agree(func(o *contracts.Offer, t *contracts.Terms) { t.WindowCalls = 16 })
	w.provider.startChild()
	w.bank.startChild()
	w.registerConsents(companies, 1000)
	w.ready(d)
	made := map[string]localReceipt{} // by nonce
	nonce := func() string { return fmt.Sprintf("%x", meter.NewNonce(w.bank.clock.now())) }
	for round, victim := range []*testNode{w.provider, w.bank, w.provider, w.bank} {
		// Four callers ask until the node is killed in the middle; what has no answer then is asked for again.
		type asked struct {
			nonce  string
			answer *callAnswer
		}
		answers := make(chan asked)
		for g := range 4 {
			go func() {
				for i := range 8 {
					n := nonce()
					a, err := w.call(d, (g*8+i)%20, func(q query) { q["nonce"] = n })
					if err != nil {
						a = nil
					}
					answers <- asked{n, a}
				}
			}()
		}
		var again []string
		for i := range 32 {
			if i == 5+3*round {
				victim.kill()
				victim.startChild()
			}
			x := <-answers
			if x.answer == nil {
				again = append(again, x.nonce)
				continue
			}
			made[x.nonce] = x.answer.Receipt
		}
		// A nonce whose call was lost with the node may be asked for again; one that was answered gives the same leaf.
		for _, n := range again {
			until(t, "the call again", func() error {
				for g := range 20 { // whose company it was is not known any more: another one is refused
					a, err := w.call(d, g, func(q query) { q["nonce"] = n })
					if err == nil {
						made[n] = a.Receipt
						return nil
					}
					if codeOf(err) != string(meter.IDReused) {
						return err
					}
				}
				return errors.New("no company's")
			})
		}
	}
	seqs := map[int64]string{}
	for n, r := range made {
		if other, twice := seqs[r.Seq]; twice {
			t.Errorf("leaf %d for the nonces %s and %s", r.Seq, n, other)
		}
		seqs[r.Seq] = n
	}
	w.agreed(d, int64(len(made))+1) // and the first call
}

// A node that lost the market serves to its stale bound, then refuses; restarted without it, it still knows all that it
// needs, and goes on with receipts.
func TestMarketDown(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	m := w.m
	d := m.agree(func(o *contracts.Offer, t *contracts.Terms) { t.WindowCalls = 16 })
	fresh := m.agree(func(o *contracts.Offer, t *contracts.Terms) { o.MaxStaleSec = 0 })
	w.provider.start()
	w.bank.start()
	w.registerConsents(companies[:3], 1000)
	billed := w.ready(d)
	w.ready(fresh)

	m.down.Store(true)
	before := m.requests.Load()
	for range 20 {
		_, err := w.call(d, 1, nil)
		ok(t, err)
		billed++
	}
	w.refused("LEDGER_STALE", fresh, 1, nil)
	w.agreed(d, billed)

	// Restarted while the market is away.
	for _, x := range []*testNode{w.provider, w.bank} {
		x.end()
		x.start()
	}
	until(t, "calls after the restart", func() error { _, err := w.call(d, 2, nil); return err })
	billed++
	w.agreed(d, billed)
	w.provider.clock.add(61 * time.Second)
	w.bank.clock.add(61 * time.Second)
	w.refused("LEDGER_STALE", d, 1, nil)
	until(t, "the report's trouble in the status", func() error {
		var s struct {
			Problems map[string]string `json:"problems"`
		}
		ok(t, w.provider.ask(http.MethodGet, "/v1/status", nil, &s))
		if s.Problems["report of agreement "+string(d.Agreement)] == "" {
			return fmt.Errorf("problems: %v", s.Problems)
		}
		return nil
	})
	// Two nodes that poll, two agreements to report, a bounded number of requests: nobody hammers.
	if n := m.requests.Load() - before; n > 400 {
		t.Errorf("%d requests while the market was down", n)
	}
	m.clock.add(61 * time.Second)
	m.down.Store(false)
	until(t, "calls with the market back", func() error { _, err := w.call(d, 1, nil); return err })
	billed++
	w.agreed(d, billed)
	until(t, "the report", func() error {
		u, totals, err := m.usage(d)
		if err == nil && totals.Calls < billed {
			err = fmt.Errorf("%+v: %+v", u, totals)
		}
		w.provider.clock.add(time.Second) // its patience has grown
		return err
	})
}

// A report whose answer is lost goes again, with the same bytes; so does one that failed.
func TestReportOutcomes(t *testing.T) {
	t.Parallel()
	w, d, billed := newTrade(t)
	m := w.m
	w.agreed(d, billed)
	m.failNext.Store(2)
	m.loseNext.Store(2)
	m.forgetTokens() // the market was restarted: tokens are made anew
	m.catchUp()
	ok(t, m.Do(m.Buyer.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Buyer.Machine))
	w.reported(t, d, 1, billed, contracts.MicroYuan(billed)*800_000)
	u, _, err := m.usage(d)
	ok(t, err)
	if u.Reports > 2 { // an interim one may have come before
		t.Errorf("%d reports", u.Reports)
	}
	w.agreed(d, billed)
}

// A consent whose outcome is unknown is named, with its key, and looked up.
func TestUnknownConsent(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	w.bank.patience = 2 * time.Second
	w.bank.start()
	until(t, "the sign-in", func() error {
		return w.bank.ask(http.MethodGet, "/v1/commands/"+strings.Repeat("0", 32), nil, nil)
	})
	in := map[string]any{"consents": []map[string]any{{"product": w.m.listing.Product, "node": w.m.Provider.Node, "subject": companies[0], "purpose": "pre_loan",
		"fields": []string{"tax_score"}, "from": w.m.clock.now().UnixMilli(), "to": w.m.clock.now().Add(time.Hour).UnixMilli(), "maxCalls": 1,
		"evidence": map[string]any{"signerRole": "legal_representative", "realName": "x", "textVersion": "v3", "original": contracts.HashOf("x"), "caSignature": contracts.HashOf("y")}}}}
	// Refusals come through with the ledger's code.
	bad := in["consents"].([]map[string]any)[0]
	bad["node"] = w.m.Buyer.ID
	if got := codeOf(w.bank.ask(http.MethodPost, "/v1/consents", in, nil)); got != "node.unknown" {
		t.Errorf("got %s", got)
	}
	bad["node"] = w.m.Provider.Node
	w.m.loseNext.Store(1000) // accepted, and the answer never comes
	err := w.bank.ask(http.MethodPost, "/v1/consents", in, nil)
	var r *refusedAnswer
	if !errors.As(err, &r) || r.Code != "outcome_unknown" || r.Status != http.StatusGatewayTimeout || r.Command == "" {
		t.Fatalf("got %v", err)
	}
	w.m.loseNext.Store(0)
	var a struct{ Status string }
	ok(t, w.bank.ask(http.MethodGet, "/v1/commands/"+r.Command, nil, &a))
	if a.Status != "accepted" || !strings.Contains(string(r.body), `"consent":"`+string(contracts.ConsentID(contracts.ID(r.Command), 0))) || !strings.Contains(string(r.body), `"consentKey":"`) {
		t.Errorf("%s: %s", a.Status, r.body)
	}
}

func TestLocalAPI(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	w.bank.start()
	for what, c := range map[string]struct {
		header string
		path   string
		status int
	}{
		"no token": {"", "/v1/status", 401}, "another token": {"Bearer " + strings.Repeat("0", 64), "/v1/status", 401}, "not bearer": {"Basic x", "/v1/calls", 401},
		"healthz needs none": {"", "/healthz", 200},
	} {
		r, err := http.NewRequest(http.MethodGet, "http://"+w.bank.local+c.path, nil)
		ok(t, err)
		if c.header != "" {
			r.Header.Set("Authorization", c.header)
		}
		resp, err := http.DefaultClient.Do(r)
		ok(t, err)
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d", what, resp.StatusCode)
		}
	}
	until(t, "following", func() error {
		var s struct {
			Followed int64
			Problems map[string]string
		}
		ok(t, w.bank.ask(http.MethodGet, "/v1/status", nil, &s))
		if s.Followed == 0 || len(s.Problems) > 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	for path, code := range map[string]string{"/v1/agreements/77/void": "request.malformed", "/v1/agreements/" + string(w.m.Buyer.ID) + "/void": "agreement.unknown",
		"/v1/agreements/" + string(w.m.Buyer.ID) + "/epoch": "agreement.unknown", "/v1/datasets/tax/report": "request.malformed"} {
		if got := codeOf(w.bank.ask(http.MethodPost, path, struct{}{}, nil)); got != code {
			t.Errorf("%s: %s, want %s", path, got, code)
		}
	}
	// The dataset is reported by the node that has it.
	w.provider.start()
	ok(t, w.provider.ask(http.MethodPost, "/v1/datasets/tax/report", map[string]any{"version": w.m.listing.Version}, nil))
	b, err := w.m.Get(contracts.KeyDataset(w.m.listing.Version))
	ok(t, err)
	ds, err := contracts.Read[contracts.Dataset](b)
	ok(t, err)
	if ds.Rows != 40 || ds.Digest == "" {
		t.Errorf("%+v", ds)
	}
}

// A node with keys that aren't those on the ledger says so.
func TestForeignKeys(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	keys := filepath.Join(filepath.Dir(w.bank.config), "node", "keys", "tls.seed")
	ok(t, os.WriteFile(keys, []byte(strings.Repeat("77", 32)+"\n"), 0o600))
	w.bank.start()
	var s struct{ Problems map[string]string }
	until(t, "the trouble", func() error {
		ok(t, w.bank.ask(http.MethodGet, "/v1/status", nil, &s))
		if !strings.Contains(s.Problems["identity"], "keys") {
			return fmt.Errorf("%v", s.Problems)
		}
		return nil
	})
}

// A provider's node that is retired is called no more, and serves no more.
func TestRetired(t *testing.T) {
	t.Parallel()
	w, d, billed := newTrade(t)
	w.agreed(d, billed)
	w.m.catchUp()
	ok(t, w.m.Do(w.m.Provider.ID, "node.retire", contracts.NodeRetire{Node: w.m.Provider.Node}, nil, w.m.Provider.Admin))
	until(t, "the end", func() error {
		_, err := w.call(d, 1, nil)
		if code := codeOf(err); code != "peer.unknown" && code != "node.retired" {
			return fmt.Errorf("code %q", code)
		}
		return nil
	})
}

// Terms that are erased on the ledger are erased here; a period that was reported before needs them no more.
func TestErased(t *testing.T) {
	t.Parallel()
	w, d, billed := newTrade(t)
	m := w.m
	name := filepath.Join(filepath.Dir(w.bank.config), "node", "openings", string(d.Offer.Terms))
	if _, err := os.Stat(name); err != nil {
		t.Fatal(err)
	}
	m.catchUp()
	// Another price from the next period on, so that the first period's terms are needed for it alone.
	terms := d.Terms
	terms.UnitPrice = 900_000
	hash, o := commit(m, terms)
	offer := d.Offer
	offer.Terms = hash
	ok(t, m.Do(m.Provider.ID, "agreement.amend", contracts.AgreementAmend{Agreement: d.Agreement, Policy: offer.Policy, To: offer.To, QuotaCalls: offer.QuotaCalls,
		MaxStaleSec: offer.MaxStaleSec, Terms: hash, Text: m.Text(m.listing, contracts.Trade, dealOf(offer, terms, o))}, []contracts.Opening{o},
		append(m.Provider.Two(), m.Buyer.Two()...)...))
	ok(t, m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine))
	w.reported(t, d, 1, billed, contracts.MicroYuan(billed)*800_000)
	ok(t, m.Do(m.Buyer.ID, "erasure.record", contracts.ErasureRecord{Commitments: []contracts.Hash{d.Offer.Terms}, Reason: "asked for"}, nil, m.Buyer.Maker))
	m.mu.Lock()
	delete(m.openings, d.Offer.Terms)
	m.mu.Unlock()
	until(t, "the erasure", func() error {
		if _, err := os.Stat(name); err == nil {
			return errors.New("still there")
		}
		return nil
	})
	for _, x := range []*testNode{w.provider, w.bank} {
		x.end()
		x.start()
	}
	until(t, "calls after the erasure", func() error { _, err := w.call(d, 1, nil); return err })
	w.agreed(d, billed+1)
}

// An operator takes a leaf back, and both sides begin a new log: totals go on.
func TestRepairs(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	d := w.m.agree(nil)
	w.provider.start()
	w.bank.startChild()
	w.registerConsents(companies[:3], 1000)
	billed := w.ready(d)
	w.agreed(d, billed)
	_, err := w.call(d, 1, nil)
	ok(t, err)
	w.bank.kill() // before it has acknowledged
	void := "/v1/agreements/" + string(d.Agreement) + "/void"
	before, err := w.view(w.provider, d)
	ok(t, err)
	if before.Provider.Acked == before.Provider.Size {
		t.Skip("the acknowledgement was faster")
	}
	ok(t, w.provider.ask(http.MethodPost, void, map[string]any{"seq": before.Provider.Size - 1}, nil))
	if got := codeOf(w.provider.ask(http.MethodPost, void, map[string]any{"seq": before.Provider.Size - 1}, nil)); got != string(meter.NotVoidable) {
		t.Errorf("twice: %s", got)
	}
	w.bank.start()
	if p := w.agreed(d, billed); p.Provider.Size != before.Provider.Size+1 {
		t.Errorf("%+v", p.Provider)
	}

	epoch := "/v1/agreements/" + string(d.Agreement) + "/epoch"
	for _, x := range []*testNode{w.provider, w.bank} {
		if err := x.ask(http.MethodPost, epoch, map[string]any{"epoch": 9}, nil); err == nil {
			t.Error("epoch 9 follows 1")
		}
		for range 2 {
			ok(t, x.ask(http.MethodPost, epoch, map[string]any{"epoch": 2}, nil))
		}
	}
	until(t, "a call in the new epoch", func() error {
		a, err := w.call(d, 1, nil)
		if err == nil && (a.Receipt.Epoch != 2 || a.Receipt.Seq != 0) {
			t.Fatalf("%+v", a.Receipt)
		}
		return err
	})
	w.agreed(d, billed+1)
	w.m.catchUp()
	ok(t, w.m.Do(w.m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(w.m.Now)}, nil, w.m.Venue.Machine))
	w.reported(t, d, 1, billed+1, contracts.MicroYuan(billed+1)*800_000)
}

// Whatever was asked, no log line has a company, a consent's key, a token or a secret in it.
func TestLogsAreClean(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	d := w.m.agree(nil)
	w.provider.start()
	w.bank.start()
	w.registerConsents(companies[:3], 2)
	w.ready(d)
	w.call(d, 1, func(q query) { q["purpose"] = "post_loan" })
	w.call(d, 1, func(q query) { q["subject"] = "91310115MA1K00007R" })
	for range 4 {
		w.call(d, 2, nil)
	}
	w.m.down.Store(true)
	w.bank.ask(http.MethodGet, "/v1/commands/"+string(w.m.Buyer.ID), nil, nil)
	w.m.down.Store(false)
	token, err := readSeed(filepath.Join(filepath.Dir(w.bank.config), "node", "local.token"), false)
	ok(t, err)
	w.bank.end()
	w.provider.end()
	logs := w.bank.log.String() + w.provider.log.String()
	secrets := []string{"secret-of", hex.EncodeToString(token[:])}
	for _, c := range companies {
		secrets = append(secrets, string(c))
	}
	for _, c := range w.consents {
		secrets = append(secrets, c.Key)
	}
	for _, s := range secrets {
		if strings.Contains(logs, s) {
			t.Errorf("the log has %q", s)
		}
	}
}

// A node that ends leaves no goroutine behind.
func TestNoGoroutineStays(t *testing.T) {
	w, _, _ := newTrade(t)
	w.bank.end()
	w.provider.end()
	until(t, "all node goroutines to end", func() error {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		for _, g := range bytes.Split(buf, []byte("\n\n")) {
			if bytes.Contains(g, []byte("main.(*Node)")) || bytes.Contains(g, []byte("node/meter.")) || bytes.Contains(g, []byte("follow.(*Follower)")) {
				return fmt.Errorf("%s", g)
			}
		}
		return nil
	})
}

// Secrets that others may read are refused before anything is opened.
func TestSecretFiles(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	dir := filepath.Dir(w.bank.config)
	for _, name := range []string{"client", "node/keys/machine.seed", "node/keys/tls.seed", "node/keys/receipt.seed", "node/keys/seal.seed", "node/keys/request.seed"} {
		ok(t, os.Chmod(filepath.Join(dir, name), 0o640))
		cfg, err := ReadConfig(w.bank.config)
		ok(t, err)
		if n, err := OpenNode(cfg, quiet); err == nil || !strings.Contains(err.Error(), "chmod 600") || !strings.Contains(err.Error(), filepath.Base(name)) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				n.Close()
			}
		}
		ok(t, os.Chmod(filepath.Join(dir, name), 0o600))
	}
	ok(t, os.WriteFile(filepath.Join(dir, "client"), []byte("no-secret\n"), 0o600))
	cfg, err := ReadConfig(w.bank.config)
	ok(t, err)
	if _, err := OpenNode(cfg, quiet); err == nil || !strings.Contains(err.Error(), "want client-id:secret") || strings.Contains(err.Error(), "no-secret") {
		t.Errorf("%v", err)
	}
}
