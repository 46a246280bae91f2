package gate_test

import (
	"errors"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
)

// ticketWorld is a consent service's node in a world with a table of consent_lookup and two companies' consents.
func ticketWorld(t *testing.T) (w *world, us []contracts.Use) {
	t.Helper()
	w = newWorld(t)
	f := w.listing.Facts
	f.Modes = []policy.Operation{policy.ConsentLookup}
	f.Policy.Operations = f.Modes
	l, err := w.List(f)
	must(t, err)
	steward := w.Actor("授权服务", contracts.RoleConsentService)
	must(t, w.Admit(steward))
	w.do(steward, "node.register", contracts.NodeRegister{TLSKey: steward.TLS.Public.ID(), ReceiptKey: steward.Receipt.Public.ID(), URL: "https://127.0.0.1:1", Region: "CN-31"}, steward.Admin)
	steward.Node = w.Last("node")
	key := w.Random()
	w.do(w.Provider, "lookup.commit", contracts.LookupCommit{Version: l.Version, Node: w.Provider.Node, Epoch: 1, Suite: contracts.LookupSuite, PublicKey: key[:], Root: contracts.HashOf("test/root"),
		Rows: 9, Dataset: contracts.HashOf("test/dataset"), ConsentNode: steward.Node}, w.Provider.Machine)
	for i := range 2 {
		code, key := contracts.SyntheticCreditCode(uint32(i)), gate.NewConsentKey()
		w.do(w.Buyer, "consent.register", contracts.ConsentRegister{Consents: []contracts.ChannelConsent{{
			Scope: contracts.ConsentScope{Product: l.Product, Node: steward.Node, Subject: contracts.Subject(key, code), Purpose: policy.PreLoan, Fields: contractstest.Fields,
				From: w.Now, To: w.Now.Add(86400), MaxCalls: 2},
			Evidence: contracts.ChannelEvidence{SignerRole: "legal_representative", RealName: "bank", TextVersion: "v1", Original: contracts.HashOf("test/o"), CASignature: contracts.HashOf("test/c")},
		}}}, w.Buyer.Machine)
		us = append(us, contracts.Use{Agreement: w.deal.Agreement, Peer: w.Buyer.ID, Node: steward.Node, Operation: policy.ConsentLookup, Purpose: policy.PreLoan, Region: "CN-31",
			Version: l.Version, Epoch: 1, Consent: contracts.ConsentID(w.LastCommand(), 0), Subject: contracts.Subject(key, code)})
	}
	w.gate.Node = steward.Node
	w.follow()
	return w, us
}

// TestTickets: all or none, revocations at once, on a fresh state only, and each consent as often as it allows.
func TestTickets(t *testing.T) {
	t.Parallel()
	w, us := ticketWorld(t)
	refusal := func(us []contracts.Use) (code contracts.Code, at int) {
		t.Helper()
		_, _, at, err := w.gate.AdmitTickets(t.Context(), us)
		var r *contracts.Refusal
		if err != nil && !errors.As(err, &r) {
			t.Fatal(err)
		}
		if r != nil {
			code = r.Code
		}
		return code, at
	}
	for range 2 {
		p, table, _, err := w.gate.AdmitTickets(t.Context(), us)
		must(t, err)
		if table.Epoch != 1 || table.ConsentNode != w.gate.Node {
			t.Errorf("%+v", table)
		}
		uses, err := p.Hold()
		must(t, err)
		if len(uses) != 2 {
			t.Errorf("%d uses are held", len(uses))
		}
		must(t, uses.Keep())
	}
	p, _, _, err := w.gate.AdmitTickets(t.Context(), us)
	must(t, err)
	var r *contracts.Refusal
	if _, err := p.Hold(); !errors.As(err, &r) || r.Code != gate.UsedUp {
		t.Errorf("a third time: %v", err)
	}
	other := append([]contracts.Use{}, us...)
	other[1].Purpose = policy.QuotaReview
	if code, at := refusal(other); code != "consent.purpose" || at != 1 {
		t.Errorf("another purpose: %s at %d", code, at)
	}
	w.do(w.Buyer, "consent.revoke", contracts.ConsentRevoke{Consent: us[1].Consent}, w.Buyer.Machine)
	if code, _ := refusal(us); code != "" {
		t.Errorf("before anybody told the node: %s", code)
	}
	w.announce()
	if code, at := refusal(us); code != "consent.revoked" || at != 1 {
		t.Errorf("as soon as it is announced: %s at %d", code, at)
	}
	w.follow()
	if code, at := refusal(us); code != "consent.revoked" || at != 1 {
		t.Errorf("once it is followed: %s at %d", code, at)
	}
	if code, _ := refusal(us[:1]); code != "" {
		t.Errorf("the other company: %s", code)
	}
	w.log.Clock.Add((gate.TicketStaleSec + 1) * time.Second)
	if code, _ := refusal(us[:1]); code != gate.Stale {
		t.Errorf("on a state that is %d s old: %s", gate.TicketStaleSec+1, code)
	}
}
