package fabric_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric"
)

// TestFaults takes one market through what its organisations, and those who attack it, can do to the network. The parts
// build on each other.
func TestFaults(t *testing.T) {
	s := setScene(t, 1, 6*time.Second)
	for _, x := range []struct {
		name string
		test func(*testing.T, *scene)
	}{
		{"the regulator's machines are off", testRegulatorOff},
		{"whose identity submits", testIdentities},
		{"endorsed by too few", testPolicies},
		{"openings stay with their audience", testCanary},
		{"held back", testHeldBack},
		{"the custodian's state was edited", testEditedCustodian},
		{"the venue's state was edited", testEditedVenue},
		{"two ledgers of the venue", testTwoLedgers},
		{"closed in the midst", testClosed},
		{"never", testNever},
	} {
		if !t.Run(x.name, func(t *testing.T) { x.test(t, s) }) {
			t.FailNow()
		}
	}
	a, err := audit(t.Context(), s.ledger, s.ledger.sent)
	if err != nil {
		t.Fatal(err)
	}
	for id := range s.ledger.acked {
		if _, ok := a.IDs[id]; !ok {
			t.Errorf("command %s was acknowledged and is lost", id)
		}
	}
	for _, o := range []string{"venue", "custodian", "provider", "buyer", "regulator"} {
		s.same(t, o, a)
	}
}

// soon bounds what must happen by itself.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func height(t *testing.T, l ledger.Ledger) uint64 {
	t.Helper()
	n, err := l.Height(t.Context())
	must(t, err)
	return n
}

func refusedWith(err error) contracts.Code {
	var no *ledger.Refused
	if errors.As(err, &no) {
		return no.Code
	}
	return ""
}

// figure gives a counter's value, by the value of its one label.
func figure(t *testing.T, l *fabric.Ledger, name string) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(l.Collectors()...)
	fs, err := r.Gather()
	must(t, err)
	out := map[string]float64{}
	for _, f := range fs {
		if f.GetName() == name {
			for _, m := range f.Metric {
				out[m.Label[0].GetValue()] = m.Counter.GetValue()
			}
		}
	}
	return out
}

// testRegulatorOff: settlement does not wait for an auditor's machine.
func testRegulatorOff(t *testing.T, s *scene) {
	regulator := open(t, s.config("regulator", "regulator"))
	defer regulator.Close()
	s.kill(t, "peer.regulator")
	before := height(t, s.ledger)
	for range 3 {
		must(t, s.market.Deposit(s.deal, 500_000))
	}
	must(t, s.market.Activate(s.deal))
	for _, sub := range s.market.Consents(3, 100) {
		if _, err := s.ledger.Submit(soon(t), sub); err != nil {
			t.Fatal(err)
		}
	}
	after := height(t, s.ledger)
	if after != before+7 {
		t.Fatalf("height went from %d to %d", before, after)
	}
	if n := height(t, regulator); n > before {
		t.Fatalf("the regulator has read %d entries from a peer that is off", n)
	}
	if regulator.Health().Broken == nil {
		t.Error("the regulator's client does not say that its peer is off")
	}
	s.start(t, "peer.regulator")
	must(t, regulator.Wait(soon(t), after-1))
	theirs, err := regulator.Entries(t.Context(), before, 7)
	must(t, err)
	ours, err := s.ledger.Entries(t.Context(), before, 7)
	must(t, err)
	for i := range ours {
		if theirs[i].Hash != ours[i].Hash {
			t.Fatalf("the regulator derives another entry %d", ours[i].Position)
		}
	}
	if err := regulator.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// testIdentities: the identity of a gateway opens the network to a command, and says nothing about who commands.
func testIdentities(t *testing.T, s *scene) {
	m := s.market
	provider := open(t, s.config("provider", "provider"))
	defer provider.Close()
	draft := m.Sign(m.Provider.ID, "product.draft", contracts.ProductDraft{Facts: m.Listing.Facts}, nil, m.Provider.Maker)
	s.ledger.sent[idOf(draft)] = draft
	r, err := provider.Submit(soon(t), draft)
	must(t, err)
	must(t, s.ledger.Wait(soon(t), r.Position))
	es, err := s.ledger.Entries(t.Context(), r.Position, 1)
	must(t, err)
	if es[0].Hash != r.Hash {
		t.Fatal("provider and venue derive different entries")
	}

	before := height(t, s.ledger)
	consent := m.Consents(2, 200)
	forged := consent[0]
	forged.Signatures = []contracts.Signature{{Key: forged.Signatures[0].Key, Sig: m.Venue.Machine.Sign(forged.Raw)}}
	mine := m.Sign(m.Buyer.ID, "product.draft", contracts.ProductDraft{Facts: m.Listing.Facts}, nil, m.Venue.Maker)
	for _, x := range []struct {
		name string
		sub  contracts.Submission
		code contracts.Code
	}{
		{"under the member's key", forged, "signature.invalid"},
		{"under the venue's own", mine, "key.foreign"},
	} {
		_, err := s.ledger.Ledger.Submit(soon(t), x.sub)
		if refusedWith(err) != x.code {
			t.Fatalf("the venue commands for a member %s: %v", x.name, err)
		}
		// And past the client: the endorsers' no is ordered as if it were a yes.
		h := s.endorse(t, s.ledger.Ledger, x.sub, "VenueMSP", "BuyerMSP")
		if reply, err := h.Reply(1); err != nil || reply.Answers[0].Refused == nil {
			t.Fatalf("endorsed: %+v, %v", reply, err)
		}
		verdict, err := h.Order(soon(t))
		must(t, err)
		if n := height(t, s.ledger); n != before {
			t.Fatalf("a refusal that was ordered is %s and %d entries", verdict, n-before)
		}
	}
}

// testPolicies: what the venue endorses alone, or others without it, changes nothing.
func testPolicies(t *testing.T, s *scene) {
	deposit := s.unsent(t, func() error { return s.market.Deposit(s.deal, 700_000) })
	consent := s.market.Consents(1, 300)[0]
	before := height(t, s.ledger)
	for _, x := range []struct {
		sub  contracts.Submission
		msps []string
	}{
		{consent, []string{"VenueMSP"}},
		{consent, []string{"BuyerMSP"}},
		{consent, []string{"CustodianMSP", "ProviderMSP", "BuyerMSP"}},
		{deposit, []string{"VenueMSP"}},
		{deposit, []string{"CustodianMSP"}},
		{deposit, []string{"VenueMSP", "ProviderMSP"}},
	} {
		h := s.endorse(t, s.ledger.Ledger, x.sub, x.msps...)
		if reply, err := h.Reply(1); err != nil || reply.Answers[0].Accepted == nil {
			t.Fatalf("endorsed by %v: %+v, %v", x.msps, reply, err)
		}
		verdict, err := h.Order(soon(t))
		must(t, err)
		if verdict != "ENDORSEMENT_POLICY_FAILURE" || height(t, s.ledger) != before {
			t.Fatalf("a transaction endorsed by %v is %s, and the height went from %d to %d", x.msps, verdict, before, height(t, s.ledger))
		}
		if a, err := s.ledger.Lookup(soon(t), idOf(x.sub)); err != nil || a.Status != ledger.NotFound {
			t.Fatalf("endorsed by %v: %+v, %v", x.msps, a, err)
		}
	}
	for _, sub := range []contracts.Submission{consent, deposit} {
		if r, err := s.ledger.Submit(soon(t), sub); err != nil || r.Repeated {
			t.Fatalf("what was invalid can't be submitted any more: %+v, %v", r, err)
		}
	}
}
