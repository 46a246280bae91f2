package fabric_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric"
)

// edit stops a peer, replaces an id in a value of its state, where ids stand as bytes, and starts it again.
func (s *scene) edit(t *testing.T, peer, key string, old, id contracts.ID) {
	t.Helper()
	tool := filepath.Join(s.dir, "stateedit")
	if out, err := exec.Command("go", "build", "-C", "../../deploy/fabric/tools", "-o", tool, "./testdata/stateedit").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.kill(t, peer)
	p := s.net.Profile()
	if out, err := exec.Command(tool, filepath.Join(s.netDir, peer, "data", "ledgersData", "stateLeveldb"), p.Channel, p.Market, key, string(old), string(id)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.start(t, peer)
}

// misplaced is a consent that names the bank's own node as the one that checks it. It is refused, unless the product's
// provider is the bank.
func (s *scene) misplaced(n int, seed uint64) (subs []contracts.Submission) {
	m := s.market
	right := m.Provider.Node
	m.Provider.Node = m.Buyer.Node
	defer func() { m.Provider.Node = right }()
	return m.Consents(n, seed)
}

// warned is a client of the venue whose warnings are kept.
func (s *scene) warned(t *testing.T, folder string) (*fabric.Ledger, *safeBuffer) {
	t.Helper()
	log := &safeBuffer{}
	cfg := s.config("venue", folder)
	cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	l := open(t, cfg)
	return l, log
}

// accusations counts the warnings that a peer decides otherwise than the others. That its blocks can't be read while it is
// down is another.
func accusations(log *safeBuffer, name string) (n int) {
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "decides otherwise") && strings.Contains(line, name) {
			n++
		}
	}
	return n
}

// testEditedCustodian: what two others decide goes on, and the third is named.
func testEditedCustodian(t *testing.T, s *scene) {
	m := s.market
	l, log := s.warned(t, "edited")
	defer l.Close()
	edit := func(old, id contracts.ID) {
		s.edit(t, "peer.custodian", contracts.KeyProduct(m.Listing.Product), old, id)
	}
	edit(m.Provider.ID, m.Buyer.ID)
	name := s.net.Profile().PeersOf("CustodianMSP")[0].Name
	wrong, right := s.misplaced(100, 600), m.Consents(100, 601)
	for i := 0; figure(t, l, "bund_ledger_disagreements_total")[name] == 0; i++ {
		if i == len(right) {
			t.Fatal("nobody noticed")
		}
		if _, err := l.Submit(soon(t), wrong[i]); refusedWith(err) != "node.unknown" {
			t.Fatalf("misplaced consent %d: %v", i, err)
		}
		if _, err := l.Submit(soon(t), right[i]); err != nil {
			t.Fatalf("consent %d: %v", i, err)
		}
		s.ledger.sent[idOf(right[i])] = right[i]
	}
	// It can still be the custodian's turn, and decides alone with the venue nothing.
	h, err := l.Endorse(soon(t), s.net.Profile().Market, call(t, l, wrong[99]), "CustodianMSP")
	must(t, err)
	if reply, err := h.Reply(1); err != nil || reply.Answers[0].Accepted == nil {
		t.Fatalf("the edit has no effect on the custodian's own decision: %+v, %v", reply, err)
	}
	if ds := figure(t, l, "bund_ledger_disagreements_total"); len(ds) != 1 {
		t.Errorf("disagreements: %v", ds)
	}
	if odd := l.Health().Odd; !slices.Equal(odd, []string{name}) {
		t.Errorf("odd: %v", odd)
	}
	if n := accusations(log, name); n != 1 {
		t.Errorf("%d warnings of %s:\n%s", n, name, log.String())
	}
	edit(m.Buyer.ID, m.Provider.ID)
}

// testEditedVenue: without the venue nothing is decided, and what fails says why.
func testEditedVenue(t *testing.T, s *scene) {
	m := s.market
	l, log := s.warned(t, "edited")
	defer l.Close()
	edit := func(old, id contracts.ID) {
		s.edit(t, "peer.venue", contracts.KeyProduct(m.Listing.Product), old, id)
	}
	edit(m.Provider.ID, m.Buyer.ID)
	name := s.net.Profile().PeersOf("VenueMSP")[0].Name
	wrong, right := s.misplaced(2, 610), m.Consents(2, 611)
	for _, sub := range slices.Concat(right, wrong) {
		for disagreed := false; !disagreed; {
			_, err := l.Submit(soon(t), sub)
			if err == nil || refusedWith(err) != "" || errors.Is(err, ledger.ErrOutcomeUnknown) || errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("decided on an edited state: %v", err)
			}
			disagreed = strings.Contains(err.Error(), "endorsers disagree") // else the peer is still starting
		}
		if a, err := l.Lookup(soon(t), idOf(sub)); err != nil || a.Status != ledger.NotFound {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	// A command with openings, which the venue is asked about first and alone.
	offer, o := m.Offer(s.deal.Offer.Policy, s.deal.Terms)
	request := m.Sign(m.Buyer.ID, "negotiation.request", contracts.NegotiationRequest{Version: m.Listing.Version, Scenario: "sme-tax-loan-pre",
		Kind: contracts.Trade, Offer: offer}, []contracts.Opening{o}, m.Buyer.Two()...)
	if _, err := l.Submit(soon(t), request); err == nil || refusedWith(err) != "" || errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Fatalf("decided by the venue's edited state alone: %v", err)
	}
	if ds := figure(t, l, "bund_ledger_disagreements_total"); len(ds) != 1 || ds[name] == 0 {
		t.Errorf("disagreements: %v", ds)
	}
	if odd := l.Health().Odd; !slices.Equal(odd, []string{name}) {
		t.Errorf("odd: %v", odd)
	}
	if n := accusations(log, name); n != 1 {
		t.Errorf("%d warnings of %s:\n%s", n, name, log.String())
	}
	// What doesn't read what was edited goes on.
	must(t, m.Deposit(s.deal, 100))

	edit(m.Buyer.ID, m.Provider.ID)
	for _, sub := range append(right, request) {
		if _, err := s.ledger.Submit(soon(t), sub); err != nil {
			t.Fatalf("with the state that was: %v", err)
		}
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
