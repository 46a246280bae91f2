package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/privacy/consent"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// TestConsentLookup walks consent-bound lookups through three nodes, and refuses what is not consented to.
func TestConsentLookup(t *testing.T) {
	t.Parallel()
	w := newLookupWorld(t)
	m := w.m
	d := m.agree(consentBound)
	w.registerConsents(companies[:1], 1000)
	calls := w.ready(d)
	units := calls
	w.reportDataset()
	ok(t, w.build(0))
	w.consent(companies[1:8], 3)
	w.consent(companies[20:], 3)
	w.followed(w.steward)

	asked := []contracts.CreditCode{companies[2], companies[20], companies[3]}
	a, err := w.ask(d, asked, w.consented)
	ok(t, err)
	right(t, a, asked)
	if a.Learnt["service"] == "" {
		t.Errorf("%+v", a.Learnt)
	}
	calls, units = calls+1, units+3
	w.steward.proxy.lose.Store(1) // the ticket is lost on its way, and counted once
	a, err = w.ask(d, asked[:1], w.consented)
	ok(t, err)
	w.steward.proxy.lose.Store(0)
	calls, units = calls+1, units+1
	again, err := w.ask(d, asked[:1], func(q query) { w.consented(q); q["nonce"] = a.Nonce })
	ok(t, err)
	if again.Receipt != a.Receipt {
		t.Error("asked twice, billed twice")
	}
	h := w.history(companies[2])
	if len(h.Entries) != 2 || h.Entries[0].Bank != m.Buyer.ID || h.Entries[0].Code != companies[2] || h.Entries[0].Purpose != policy.PreLoan || len(h.Used) != 1 || h.Used[0].Used != 2 {
		t.Errorf("history %+v", h)
	}
	if h := w.history(companies[3]); len(h.Entries) != 1 || h.Entries[0].Code != companies[3] {
		t.Errorf("history %+v", h)
	}
	if h := w.history(companies[9]); len(h.Entries) != 0 {
		t.Errorf("history of a company that nobody asked about: %+v", h)
	}

	w.sub(t, "refused", func(t *testing.T) { w.refusedTickets(t, d) })
	w.sub(t, "tickets", func(t *testing.T) { calls, units = calls+1, units+2; w.foreignTickets(t, d) })

	w.sub(t, "at once", func(t *testing.T) { w.sameApplication(t, d) })

	// Used up: three uses of a consent, and no more.
	_, err = w.ask(d, asked[:1], w.consented)
	ok(t, err)
	calls, units = calls+1, units+1
	if _, err := w.ask(d, asked, w.consented); codeOf(err) != "consent.used_up" {
		t.Errorf("used up: %v", err)
	}
	// Taken back: no ticket any more, and for nobody in that question.
	ok(t, w.bank.ask(http.MethodPost, "/v1/consents/"+string(w.held[companies[3]].ID)+"/revoke", nil, nil))
	w.followed(w.steward)
	for range 4 {
		if _, err := w.ask(d, companies[3:5], w.consented); codeOf(err) != "consent.revoked" {
			t.Errorf("after the revocation: %v", err)
		}
	}
	if h := w.history(companies[4]); len(h.Entries) != 0 {
		t.Errorf("a refused question is in a history: %+v", h)
	}
	// What was opened can be opened again: the answer is the bank's.
	if again, err := w.ask(d, asked[:1], func(q query) { w.consented(q); q["nonce"] = a.Nonce }); err != nil || again.Receipt != a.Receipt {
		t.Errorf("what was opened: %v", err)
	}

	if got := w.units(d, calls); got != units {
		t.Errorf("%d units are billed, want %d", got, units)
	}
	for _, c := range asked {
		skip := "vault"
		if c == companies[20] {
			skip = ""
		}
		if where := holds(t, w.provider, c, skip); where != "" {
			t.Errorf("the provider's node holds %s in %s", c, where)
		}
		if where := holds(t, w.steward, c, ""); where != "" {
			t.Errorf("the consent service's node holds %s in clear in %s", c, where)
		}
	}
}

// consent registers consents that name the consent service's node.
func (w *lookupWorld) consent(cs []contracts.CreditCode, maxCalls int64) {
	w.t.Helper()
	now := w.bank.clock.now()
	var in []map[string]any
	for _, c := range cs {
		in = append(in, map[string]any{"product": w.m.listing.Product, "node": w.actor.Node, "subject": c, "purpose": "pre_loan", "fields": w.m.product.fields,
			"from": now.Add(-time.Minute).UnixMilli(), "to": now.Add(48 * time.Hour).UnixMilli(), "maxCalls": maxCalls,
			"evidence": map[string]any{"signerRole": "legal_representative", "realName": "bank_face_to_face", "textVersion": "v3",
				"original": contracts.HashOf("test/original", []byte(c)), "caSignature": contracts.HashOf("test/ca", []byte(c))}})
	}
	var a struct {
		Consents []consentHeld `json:"consents"`
	}
	ok(w.t, w.bank.ask(http.MethodPost, "/v1/consents", map[string]any{"consents": in}, &a))
	for i, c := range a.Consents {
		w.held[cs[i]] = c
	}
}

type companyHistory struct {
	Entries []historyEntry `json:"entries"`
	Note    string         `json:"note"`
	Used    []usedConsent  `json:"used"`
}

func (w *lookupWorld) history(code contracts.CreditCode) (h companyHistory) {
	w.t.Helper()
	ok(w.t, w.steward.ask(http.MethodPost, "/v1/company-histories", map[string]any{"subject": code}, &h))
	if !strings.Contains(h.Note, "five minutes") || !strings.Contains(h.Note, "stay open until the key epoch ends") {
		w.t.Errorf("note %q", h.Note)
	}
	return h
}

// sameApplication sends one application many times at once: it is one ticket and one use.
func (w *lookupWorld) sameApplication(t *testing.T, d *contractstest.Deal) {
	_, use, err := w.bank.n.lookups.using(d.Agreement)
	ok(t, err)
	company := companies[5]
	q, err := lookup.NewQuery(use.commitment, [][]byte{[]byte(company)})
	ok(t, err)
	key, err := hex.DecodeString(w.held[company].Key)
	ok(t, err)
	a, err := consent.Apply(q, consent.Binding{Agreement: d.Agreement, Bank: w.m.Buyer.ID, Epoch: 1, Nonce: consent.NewNonce(), NotAfter: contracts.Millis(w.bank.clock.now().Add(time.Minute).UnixMilli()),
		Purpose: policy.PreLoan, Service: w.actor.Node, Version: use.version}, []consent.Held{{Consent: w.held[company].ID, Key: [32]byte(key)}})
	ok(t, err)
	var wg sync.WaitGroup
	tickets := make([][]byte, 8)
	for i := range tickets {
		wg.Go(func() {
			link, err := w.bank.n.pins.Link(w.actor.Node)
			if err != nil {
				t.Error(err)
				return
			}
			defer link.CloseIdleConnections()
			if tickets[i], err = w.bank.n.lookups.applyTo(t.Context(), link, "https://"+w.steward.proxy.l.Addr().String(), a.Bytes()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, x := range tickets {
		if !bytes.Equal(x, tickets[0]) {
			t.Error("one application brought two tickets")
		}
	}
	if h := w.history(company); len(h.Entries) != 1 || h.Used[0].Used != 1 {
		t.Errorf("history %+v", h)
	}
}

// refusedTickets are refused by the consent service.
func (w *lookupWorld) refusedTickets(t *testing.T, d *contractstest.Deal) {
	ask := func(cs []contracts.CreditCode, edit func(q query)) error {
		_, err := w.ask(d, cs, func(q query) { w.consented(q); edit(q) })
		return err
	}
	first := func(edit func(c map[string]any)) func(query) {
		return func(q query) { edit(q["consents"].([]map[string]any)[0]) }
	}
	cs := companies[4:6]
	for name, x := range map[string]struct {
		code string
		edit func(query)
	}{
		"no such consent":   {"consent.missing", first(func(c map[string]any) { c["consent"] = w.m.Buyer.ID })},
		"another company's": {"consent.subject", first(func(c map[string]any) { c["subject"] = companies[9] })},
		"another purpose":   {"consent.purpose", func(q query) { q["purpose"] = "quota_review" }},
		"one that the provider's node checks, which the service doesn't see": {"consent.missing", first(func(c map[string]any) {
			c["subject"], c["consent"], c["consentKey"] = companies[0], w.consents[companies[0]].ID, w.consents[companies[0]].Key
		})},
	} {
		if err := ask(cs, x.edit); codeOf(err) != x.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range cs {
		if h := w.history(c); len(h.Entries) != 0 {
			t.Errorf("a refused question is in a history: %+v", h)
		}
	}
	// Another member's node applies in the bank's name.
	l := w.bank.n.lookups
	_, use, err := l.using(d.Agreement)
	ok(t, err)
	q, err := lookup.NewQuery(use.commitment, [][]byte{[]byte(cs[0])})
	ok(t, err)
	b := consent.Binding{Agreement: d.Agreement, Bank: w.m.Buyer.ID, Epoch: 1, Nonce: consent.NewNonce(), NotAfter: contracts.Millis(w.bank.clock.now().Add(time.Minute).UnixMilli()),
		Purpose: policy.PreLoan, Service: w.actor.Node, Version: use.version}
	held := []consent.Held{{Consent: w.held[cs[0]].ID}}
	key, err := hex.DecodeString(w.held[cs[0]].Key)
	ok(t, err)
	held[0].Key = [32]byte(key)
	apply := func(x *testNode, b consent.Binding) error {
		a, err := consent.Apply(q, b, held)
		ok(t, err)
		link, err := x.n.pins.Link(w.actor.Node)
		ok(t, err)
		defer link.CloseIdleConnections()
		_, err = x.n.lookups.applyTo(t.Context(), link, "https://"+w.steward.proxy.l.Addr().String(), a.Bytes())
		return err
	}
	if err := apply(w.provider, b); codeOfRefusal(err) != string(consent.TicketForeign) {
		t.Errorf("by another member: %v", err)
	}
	long := b
	long.NotAfter += contracts.Millis((5 * time.Minute).Milliseconds())
	if err := apply(w.bank, long); codeOfRefusal(err) != string(consent.BadLife) {
		t.Errorf("for six minutes: %v", err)
	}
	next := b
	next.Epoch = 2
	if err := apply(w.bank, next); codeOfRefusal(err) != "lookup.epoch" {
		t.Errorf("for the next epoch: %v", err)
	}
	if h := w.history(cs[0]); len(h.Entries) != 0 {
		t.Errorf("a refused application is in a history: %+v", h)
	}
}

// foreignTickets are refused by the provider: expired, for other points, used before. One call is answered.
func (w *lookupWorld) foreignTickets(t *testing.T, d *contractstest.Deal) {
	_, use, err := w.bank.n.lookups.using(d.Agreement)
	ok(t, err)
	cs := companies[6:8]
	ids := [][]byte{[]byte(cs[0]), []byte(cs[1])}
	q, err := lookup.NewQuery(use.commitment, ids)
	ok(t, err)
	other, err := lookup.NewQuery(use.commitment, ids)
	ok(t, err)
	now := contracts.Millis(w.bank.clock.now().UnixMilli())
	// The service's own key signs, so that each ticket is wrong in one thing alone.
	ticket := func(q *lookup.Query, at contracts.Millis, edit func(*consent.Binding)) *consent.Ticket {
		b := consent.Binding{Agreement: d.Agreement, Bank: w.m.Buyer.ID, Epoch: 1, Nonce: consent.NewNonce(), NotAfter: at + 60_000, Purpose: policy.PreLoan, Service: w.actor.Node, Version: use.version}
		if edit != nil {
			edit(&b)
		}
		a, err := consent.Apply(q, b, make([]consent.Held, q.Len()))
		ok(t, err)
		x, err := (&consent.Service{Node: w.actor.Node, Key: w.steward.n.keys.Receipt}).Issue(t.Context(), a, at, func(int, *consent.Claim) error { return nil })
		ok(t, err)
		return x
	}
	send := func(x *consent.Ticket, q *lookup.Query) error {
		_, err := w.bank.n.use(t.Context(), d.Agreement, meter.NewNonce(w.bank.clock.now()), gate.Request{Epoch: 1, Fields: use.product.fields(), Operation: policy.ConsentLookup,
			Payload: consent.Present(x, q.Request()), Purpose: policy.PreLoan, Units: int64(q.Len())})
		return err
	}
	good := ticket(q, now, nil)
	forged := *good
	forged.Binding.NotAfter++
	for name, x := range map[string]struct {
		t    *consent.Ticket
		q    *lookup.Query
		code contracts.Code
	}{
		"expired":                     {ticket(q, now-120_000, nil), q, consent.TicketExpired},
		"for another point":           {good, other, consent.TicketPoints},
		"for another bank":            {ticket(q, now, func(b *consent.Binding) { b.Bank = w.m.Provider.ID }), q, consent.TicketForeign},
		"for another purpose":         {ticket(q, now, func(b *consent.Binding) { b.Purpose = policy.QuotaReview }), q, consent.TicketForeign},
		"for another agreement":       {ticket(q, now, func(b *consent.Binding) { b.Agreement = w.m.Buyer.ID }), q, consent.TicketForeign},
		"for another epoch":           {ticket(q, now, func(b *consent.Binding) { b.Epoch = 2 }), q, consent.TicketForeign},
		"changed after it was signed": {&forged, q, consent.TicketUnsigned},
	} {
		err := send(x.t, x.q)
		var no *meter.Refusal
		if !errors.As(err, &no) || no.Code != x.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok(t, send(good, q))
	for range 3 {
		var no *meter.Refusal
		if err := send(good, q); !errors.As(err, &no) || no.Code != consent.TicketSpent {
			t.Errorf("replayed: %v", err)
		}
	}
}
