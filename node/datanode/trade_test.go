package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
)

// TestTrade walks one trade through two nodes: calls, refusals, a lost answer, the end of a period, amended terms, a
// top-up.
func TestTrade(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t)
	m := w.m
	trade := m.agree(func(o *contracts.Offer, t *contracts.Terms) { t.WindowCalls = 16 })
	quota := m.agree(func(o *contracts.Offer, t *contracts.Terms) { o.QuotaCalls = 3 })
	capped := m.agree(func(o *contracts.Offer, t *contracts.Terms) { o.Policy.MaxCalls = 3 })
	w.provider.start()
	w.bank.start()
	w.registerConsents(companies, 1000)
	billed := w.ready(trade)

	// Many at once, some as of an earlier date, some of nobody.
	var wg sync.WaitGroup
	var found, missing atomic.Int64
	for g := range 8 {
		wg.Go(func() {
			for i := range 16 {
				n := (g*16 + i) % len(companies)
				edit := func(query) {}
				want := strconv.Itoa(2000+n) + ".75"
				if i%4 == 0 {
					edit = func(q query) { q["asOf"] = contracts.Day("2026-02-01").Start() }
					want = strconv.Itoa(1000+n) + ".25"
				}
				a, err := w.call(trade, n, edit)
				switch {
				case err != nil:
					t.Error(err)
				case n == 20:
					missing.Add(1)
					if a.Outcome != "NOT_FOUND" || a.Receipt.Units != 0 || len(a.Values) > 0 {
						t.Errorf("of nobody: %+v", a)
					}
				default:
					found.Add(1)
					if a.Outcome != "FOUND" || a.Receipt.Units != 1 || a.Values["invoiced_12m"] != want || len(a.Values) != 2 {
						t.Errorf("company %d: %+v, want %s", n, a, want)
					}
				}
			}
		})
	}
	wg.Wait()
	billed += found.Load()
	if billed < 100 || missing.Load() == 0 {
		t.Errorf("%d billed, %d of nobody", billed, missing.Load())
	}
	p := w.agreed(trade, billed)
	if p.Provider.Size != billed+missing.Load() {
		t.Errorf("%d leaves for %d calls", p.Provider.Size, billed+missing.Load())
	}

	w.sub(t, "refused", func(t *testing.T) { w.refusals(t, trade) })
	w.sub(t, "wire", func(t *testing.T) { billed += w.wire(t, trade) })
	w.sub(t, "quota", func(t *testing.T) {
		for d, code := range map[*contractstest.Deal]string{quota: "QUOTA_EXCEEDED", capped: "policy.quota"} {
			for range 3 {
				_, err := w.call(d, 1, nil)
				ok(t, err)
			}
			w.refused(code, d, 1, nil)
			w.agreed(d, 3)
		}
	})
	w.sub(t, "lost answers", func(t *testing.T) { billed += w.lost(t, trade) })
	w.agreed(trade, billed)

	w.sub(t, "stopped and started", func(t *testing.T) {
		m.catchUp()
		ok(t, m.Do(m.Regulator.ID, "freeze.order", contracts.FreezeOrder{Target: trade.Agreement, Order: contracts.HashOf("test/order"), Reason: "test"}, nil, m.Regulator.Two()...))
		billed += w.stopped("freeze.frozen", trade, 1)
		w.refused("freeze.frozen", trade, 2, nil)
		ok(t, m.Do(m.Regulator.ID, "freeze.lift", contracts.FreezeOrder{Target: trade.Agreement, Order: contracts.HashOf("test/lift"), Reason: "test"}, nil, m.Regulator.Two()...))
		w.followed(w.provider) // a node that has followed the order, and not yet its end, is still frozen
		billed += w.ready(trade)
		ok(t, w.bank.ask(http.MethodPost, "/v1/consents/"+string(w.consents[companies[3]].ID)+"/revoke", nil, nil))
		billed += w.stopped("consent.revoked", trade, 3)
		w.refused("consent.revoked", trade, 3, nil)
	})
	w.agreed(trade, billed)

	w.sub(t, "period", func(t *testing.T) { billed += w.period(t, trade, billed) })
	w.sub(t, "money", w.money)
}

// refusals are those that lie in the call.
func (w *world) refusals(t *testing.T, d *contractstest.Deal) {
	before, err := w.view(w.provider, d)
	ok(t, err)
	other := w.consents[companies[7]]
	for code, edit := range map[string]func(query){
		"policy.purpose":    func(q query) { q["purpose"] = "post_loan" },
		"policy.field":      func(q query) { q["fields"] = []string{"legal_rep"} },
		"policy.operation":  func(q query) { q["operation"] = "verify" },
		"consent.missing":   func(q query) { delete(q, "consent"); delete(q, "consentKey") },
		"consent.subject":   func(q query) { q["consent"], q["consentKey"] = other.ID, other.Key },
		"agreement.unknown": func(q query) { q["agreement"] = w.m.Buyer.ID },
		"REQUEST_EXPIRED":   func(q query) { q["nonce"] = "000000000001" + strings.Repeat("0", 20) },
	} {
		w.sub(t, code, func(t *testing.T) { w.refused(code, d, 4, edit) })
	}
	for name, edit := range map[string]func(query){
		"no fields": func(q query) { q["fields"] = []string{} }, "unknown purpose": func(q query) { q["purpose"] = "any_use" },
		"half a consent": func(q query) { delete(q, "consentKey") }, "short key": func(q query) { q["consentKey"] = "00" },
		"wrong credit code": func(q query) { q["subject"] = "91310115MA1K00007R" }, "unknown field": func(q query) { q["whatever"] = 1 },
		"folded field": func(q query) { q["Agreement"] = q["agreement"] }, "bad nonce": func(q query) { q["nonce"] = "77" },
	} {
		if _, err := w.call(d, 4, edit); codeOf(err) != "request.malformed" {
			t.Errorf("%s: %v", name, err)
		}
	}
	after, err := w.view(w.provider, d)
	ok(t, err)
	if after.Provider.Size != before.Provider.Size {
		t.Errorf("refused calls left %d leaves", after.Provider.Size-before.Provider.Size)
	}
}

// raw sends a call as a node with the given TLS key.
func (w *world) raw(t *testing.T, key ed25519.PrivateKey, d *contractstest.Deal, id meter.RequestID, body []byte) error {
	n := w.bank.n
	l, err := peer.Pins{Key: key, Read: n.readBoth, Now: n.now}.Link(w.m.Provider.Node)
	ok(t, err)
	defer l.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.m.NodeURL+"/agreements/"+string(d.Agreement)+"/call", strings.NewReader(string(body)))
	ok(t, err)
	r.Header.Set(meter.HeaderRequest, id.String())
	r.Header.Set(meter.HeaderEpoch, "1")
	resp, err := l.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode == http.StatusOK {
		return err
	}
	p := &refusedAnswer{body: b}
	if err := json.Unmarshal(b, &p.problem); err != nil {
		return err
	}
	return p
}

// wire replays and alters what went over it, and speaks as others.
func (w *world) wire(t *testing.T, d *contractstest.Deal) (billed int64) {
	a, err := w.call(d, 5, nil)
	ok(t, err)
	raw, err := base64.StdEncoding.DecodeString(a.Receipt.Leaf)
	ok(t, err)
	leaf, err := meter.DecodeLeaf(raw)
	ok(t, err)
	until(t, "the acknowledgement", func() error {
		v, err := w.view(w.provider, d)
		if err == nil && v.Provider.Acked <= leaf.Seq {
			err = errors.New("not acknowledged yet")
		}
		return err
	})
	c := w.consents[companies[5]]
	key, err := hex.DecodeString(c.Key)
	ok(t, err)
	req := gate.Request{Consent: c.ID, ConsentKey: key, Fields: []string{"invoiced_12m", "tax_score"}, Operation: policy.Query, Purpose: policy.PreLoan, Subject: companies[5]}
	tls := w.bank.n.keys.TLS
	other := req
	other.Subject = companies[6]
	stranger := ed25519.NewKeyFromSeed(make([]byte, 32))
	law := w.m.Seeds[w.m.LawFirm.TLS.Public]
	for range 8 {
		if got := codeOf(w.raw(t, tls, d, leaf.Request, req.Bytes())); got != string(meter.AlreadyAcknowledged) {
			t.Fatalf("replayed: %s", got)
		}
		if got := codeOf(w.raw(t, tls, d, leaf.Request, other.Bytes())); got != string(meter.IDReused) {
			t.Fatalf("altered: %s", got)
		}
		if err := w.raw(t, stranger, d, leaf.Request, req.Bytes()); err == nil || !strings.HasPrefix(codeOf(err), "error: ") {
			t.Fatalf("a stranger got past the handshake: %v", err)
		}
		if err := w.raw(t, ed25519.NewKeyFromSeed(law[:]), d, leaf.Request, req.Bytes()); err == nil {
			t.Fatal("a member without a node got past the handshake")
		}
		if got := codeOf(w.raw(t, w.provider.n.keys.TLS, d, leaf.Request, req.Bytes())); got != "grant.unknown" {
			t.Fatalf("a node without a grant: %s", got)
		}
	}
	return 1
}

// lost loses answers on the wire: each is served again under the same leaf, and billed once.
func (w *world) lost(t *testing.T, d *contractstest.Deal) (billed int64) {
	for range 10 {
		w.provider.proxy.lose.Store(1)
		nonce := fmt.Sprintf("%x", meter.NewNonce(w.bank.clock.now()))
		a, err := w.call(d, 1, func(q query) { q["nonce"] = nonce })
		ok(t, err)
		b, err := w.call(d, 1, func(q query) { q["nonce"] = nonce })
		ok(t, err)
		if a.Receipt != b.Receipt || a.Nonce != nonce {
			t.Fatalf("asked twice, got %+v and %+v", a, b)
		}
		billed++
	}
	w.provider.proxy.lose.Store(0)
	return billed
}

// usage gives the ledger's last report of a deal, with its totals.
func (m *testMarket) usage(d *contractstest.Deal) (*contracts.Usage, contracts.Totals, error) {
	b, err := m.Get(contracts.KeyUsage(d.Agreement))
	if err != nil || b == nil {
		return nil, contracts.Totals{}, errors.Join(err, errors.New("no usage is reported"))
	}
	u, err := contracts.Read[contracts.Usage](b)
	if err != nil {
		return nil, contracts.Totals{}, err
	}
	o, err := m.opening(u.Totals)
	if err != nil {
		return nil, contracts.Totals{}, err
	}
	t, err := contracts.Read[contracts.Totals](o.Value)
	return u, *t, err
}

func (m *testMarket) opening(c contracts.Hash) (*contracts.Opening, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, known := m.openings[c]
	if !known {
		return nil, errors.New("no such opening")
	}
	return &o.Opening, nil
}

// reported waits for the final report of a period.
func (w *world) reported(t *testing.T, d *contractstest.Deal, period, billed int64, micro contracts.MicroYuan) {
	t.Helper()
	until(t, fmt.Sprint("the final report of period ", period), func() error {
		u, totals, err := w.m.usage(d)
		if err != nil {
			return err
		}
		if !u.Final || u.Period != period {
			return fmt.Errorf("last report %+v", u)
		}
		if totals.Calls != billed || totals.Micro != micro {
			t.Fatalf("reported %+v, want %d calls and %d micro-yuan", totals, billed, micro)
		}
		o, err := w.m.opening(u.Totals)
		d.Totals = o
		return err
	})
}

// period ends two periods: the nodes report by themselves, and amended terms hold from the close on.
func (w *world) period(t *testing.T, d *contractstest.Deal, before int64) (billed int64) {
	m := w.m
	until(t, "an interim report", func() error {
		u, _, err := m.usage(d)
		if err == nil && (u.Final || u.Period != 1) {
			err = fmt.Errorf("%+v", u)
		}
		return err
	})
	// The price doubles from period 2 on; the answer to a search for nothing costs too.
	m.catchUp()
	terms := d.Terms
	terms.UnitPrice, terms.BillOn = 1_600_000, "query"
	offer := d.Offer
	hash, o := commit(m, terms)
	offer.Terms = hash
	text := m.Text(m.listing, contracts.Trade, dealOf(offer, terms, o))
	ok(t, m.Do(m.Provider.ID, "agreement.amend", contracts.AgreementAmend{Agreement: d.Agreement, Policy: offer.Policy, To: offer.To, QuotaCalls: offer.QuotaCalls,
		MaxStaleSec: offer.MaxStaleSec, Terms: hash, Text: text}, []contracts.Opening{o}, append(m.Provider.Two(), m.Buyer.Two()...)...))
	call := func(company int, price int64) {
		t.Helper()
		v, err := w.view(w.bank, d)
		ok(t, err)
		a, err := w.call(d, company, nil)
		ok(t, err)
		var after localAgreement
		until(t, "the leaf in the prefix", func() error {
			after, err = w.view(w.bank, d)
			if err == nil && after.Consumer.Totals.Micro == v.Consumer.Totals.Micro && price > 0 {
				err = errors.New("not yet")
			}
			return err
		})
		if got := int64(after.Consumer.Totals.Micro - v.Consumer.Totals.Micro); got != price || a.Receipt.Units != min(price, 1) {
			t.Fatalf("billed %d micro-yuan and %d units, want %d", got, a.Receipt.Units, price)
		}
	}
	call(1, 800_000) // still at the old price
	billed++
	ok(t, m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine))
	w.reported(t, d, 1, before+billed, contracts.MicroYuan(before+billed)*800_000)
	first := before + billed
	until(t, "the amended terms", func() error { // both nodes have followed the close
		v, err := w.view(w.bank, d)
		if err == nil && (v.Consumer.Waiting != 0 || v.Consumer.Acked != v.Consumer.Size) {
			err = errors.New("not yet")
		}
		return err
	})
	call(1, 1_600_000)
	call(20, 1_600_000) // nothing is found, and that is an answer now
	billed += 2
	m.catchUp()
	ok(t, m.Do(m.Buyer.ID, "acceptance.record", contracts.AcceptanceRecord{Agreement: d.Agreement, Period: 1, Report: contracts.HashOf("test/acceptance")}, nil, m.Buyer.Two()...))
	gross := contracts.Fen(300_000 + first*80)
	ok(t, m.Settle(d, 1, gross+gross/100))
	call(2, 1_600_000) // the settlement moves balance and settled totals together: use goes on
	billed++

	ok(t, m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 2, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine))
	w.reported(t, d, 2, before+billed, contracts.MicroYuan(first*800_000+3*1_600_000))
	d.Opening = o
	call(2, 1_600_000)
	billed++
	return billed
}

// money spends a small escrow to the end of its grace, and tops it up.
func (w *world) money(t *testing.T) {
	m := w.m
	d := m.agree(func(o *contracts.Offer, t *contracts.Terms) { t.FlatFee, t.Escrow, t.GraceAmount = 500, 1_000, 40 })
	billed := w.ready(d)
	for range 12 { // 13 calls of 80 fen: the escrow and all of the grace
		_, err := w.call(d, 1, nil)
		ok(t, err)
		billed++
	}
	w.refused("ESCROW_EXHAUSTED", d, 1, nil)
	w.agreed(d, billed)
	m.catchUp()
	ok(t, m.Deposit(d, 800))
	until(t, "the top-up", func() error { _, err := w.call(d, 1, nil); return err })
	billed++
	for range 9 {
		_, err := w.call(d, 1, nil)
		ok(t, err)
		billed++
	}
	w.refused("ESCROW_EXHAUSTED", d, 1, nil)
	w.agreed(d, billed)
}
