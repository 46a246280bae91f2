package ledgertest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/ledger"
)

// Harness is an empty ledger under test, with a scripted clock once its genesis says so.
type Harness struct {
	ID        string
	Ledger    ledger.Ledger
	Operator  ed25519.PublicKey // signs promises; nil: the ledger makes none
	Reopen    func() ledger.Ledger
	StateHash func() (height uint64, hash [32]byte, err error)
}

// Run is what every ledger must pass.
func Run(t *testing.T, open func(t *testing.T) *Harness) {
	for _, x := range []struct {
		name string
		test func(*testing.T, *Harness)
	}{
		{"a trade in sequence", testSequence},
		{"the same bytes again", testRepeat},
		{"a refusal leaves no trace", testRefusal},
		{"lookup", testLookup},
		{"many submitters", testConcurrent},
		{"followers see every entry once", testFollow},
		{"lost answers", testLostAnswers},
		{"open again", testReopen},
	} {
		t.Run(x.name, func(t *testing.T) { x.test(t, open(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, h *Harness) *Market {
	t.Helper()
	m := NewMarket(h.ID, h.Ledger, 1)
	must(t, m.Open())
	return m
}

func height(t *testing.T, l ledger.Ledger) uint64 {
	t.Helper()
	n, err := l.Height(t.Context())
	must(t, err)
	return n
}

// audited reads the whole ledger, checks it, and compares its state with that of the rules alone.
func audited(t *testing.T, h *Harness, m *Market, known []contracts.Submission) *Audit {
	t.Helper()
	a := m.audit(known)
	must(t, a.ReadAll(t.Context(), h.Ledger))
	n, state, err := h.StateHash()
	must(t, err)
	if n != a.Height() || state != a.StateHash() {
		t.Fatalf("the state at %d is not that of the log at %d", n, a.Height())
	}
	return a
}

func testSequence(t *testing.T, h *Harness) {
	m := opened(t, h)
	must(t, m.Trade())
	a := audited(t, h, m, m.Accepted())
	pure := contractstest.NewPure(h.ID)
	for _, s := range m.Accepted() {
		must(t, pure.Submit(t.Context(), s))
	}
	if got, want := a.StateHash(), pure.Hash().Bytes(); got != want {
		t.Fatalf("state %x, by the rules alone %x", got, want)
	}
	if n := height(t, h.Ledger); n != uint64(len(m.Accepted())) {
		t.Fatalf("%d entries of %d accepted commands", n, len(m.Accepted()))
	}
	es, err := h.Ledger.Entries(t.Context(), 0, 1)
	must(t, err)
	if es[0].Time != contractstest.Start {
		t.Fatalf("a scripted ledger began at %d, its genesis says %d", es[0].Time, contractstest.Start)
	}
}

func testRepeat(t *testing.T, h *Harness) {
	m := opened(t, h)
	must(t, m.Trade())
	before := height(t, h.Ledger)
	a := audited(t, h, m, m.Accepted())
	for i, s := range m.Accepted() {
		r, err := h.Ledger.Submit(t.Context(), s)
		must(t, err)
		if !r.Repeated || r.Position != uint64(i) || r.Hash != a.Hashes[i] {
			t.Fatalf("command %d again: %+v", i, r)
		}
		if h.Operator != nil {
			must(t, r.Verify(h.Operator, h.ID))
		}
	}
	same, other := m.consent([32]byte{1}, 1, 10), m.consent([32]byte{1}, 1, 11)
	must(t, m.Submit(t.Context(), same))
	before++
	var no *ledger.Refused
	if _, err := h.Ledger.Submit(t.Context(), other); !errors.As(err, &no) || no.Code != "command.id_reused" {
		t.Fatalf("other bytes under an accepted id: %v", err)
	}
	if n := height(t, h.Ledger); n != before {
		t.Fatalf("height went from %d to %d", before, n)
	}
}

func testRefusal(t *testing.T, h *Harness) {
	m := opened(t, h)
	before := height(t, h.Ledger)
	_, state, err := h.StateHash()
	must(t, err)
	bad := m.Consents(1, 5)[0]
	bad.Signatures[0].Sig[3] ^= 1
	for _, x := range []struct {
		name string
		sub  contracts.Submission
		code contracts.Code
	}{
		{"by the rules", m.Sign(m.Buyer.ID, "member.admit", contracts.MemberAdmit{Applicant: m.Provider.ID}, nil, m.Buyer.Two()...), "member.role"},
		{"by its form", contracts.Submission{Raw: []byte(`{"a":1,"a":2}`)}, "command.malformed"},
		{"by its signature", bad, "signature.invalid"},
	} {
		var no *ledger.Refused
		var refusal *contracts.Refusal
		_, err := h.Ledger.Submit(t.Context(), x.sub)
		if !errors.As(err, &no) || !errors.As(err, &refusal) || no.Code != x.code || no.Position != before {
			t.Fatalf("refused %s at %d: %v", x.name, before, err)
		}
	}
	_, after, err := h.StateHash()
	must(t, err)
	if n := height(t, h.Ledger); n != before || after != state {
		t.Fatalf("refusals moved the ledger from %d to %d, or its state", before, n)
	}
}

func testLookup(t *testing.T, h *Harness) {
	m := opened(t, h)
	subs := m.Consents(2, 6)
	must(t, m.Submit(t.Context(), subs[0]))
	for i, s := range m.Accepted() {
		a, err := h.Ledger.Lookup(t.Context(), commandID(s))
		must(t, err)
		if a.Status != ledger.Accepted || a.Promise.Position != uint64(i) || a.Outcome.Kind == "" {
			t.Fatalf("lookup of command %d: %+v", i, a)
		}
		if h.Operator != nil {
			must(t, a.Promise.Verify(h.Operator, h.ID))
			es, err := h.Ledger.Entries(t.Context(), a.Promise.Position, 1)
			must(t, err)
			must(t, a.Promise.Kept(es[0].Encoded))
		}
	}
	id := commandID(subs[1])
	a, err := h.Ledger.Lookup(t.Context(), id)
	must(t, err)
	if a.Status != ledger.NotFound || a.Height != height(t, h.Ledger) {
		t.Fatalf("lookup of a command not submitted: %+v", a)
	}
	must(t, m.Advance(599))
	if a, err = h.Ledger.Lookup(t.Context(), id); err != nil || a.Status != ledger.NotFound {
		t.Fatalf("lookup before the deadline: %+v, %v", a, err)
	}
	must(t, m.Advance(2))
	if a, err = h.Ledger.Lookup(t.Context(), id); err != nil || a.Status != ledger.Never {
		t.Fatalf("lookup past the deadline: %+v, %v", a, err)
	}
	var no *ledger.Refused
	if _, err := h.Ledger.Submit(t.Context(), subs[1]); !errors.As(err, &no) || no.Code != "command.expired" {
		t.Fatalf("submitted after never: %v", err)
	}
	if _, err := h.Ledger.Lookup(t.Context(), "XYZ"); err == nil {
		t.Fatal("lookup of what is no id")
	}
}

func testConcurrent(t *testing.T, h *Harness) {
	m := opened(t, h)
	subs := m.Consents(200, 7)
	first := height(t, h.Ledger)
	var mu sync.Mutex
	at := map[uint64]contracts.ID{}
	var wg sync.WaitGroup
	for g := range 20 { // each command is submitted by two
		wg.Go(func() {
			for i := g % 10; i < len(subs); i += 10 {
				r, err := h.Ledger.Submit(context.Background(), subs[i])
				if err != nil {
					t.Errorf("command %d: %v", i, err)
					return
				}
				id := commandID(subs[i])
				mu.Lock()
				if other, taken := at[r.Position]; taken && other != id {
					t.Errorf("two commands at %d", r.Position)
				}
				at[r.Position] = id
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := height(t, h.Ledger); n != first+uint64(len(subs)) || len(at) != len(subs) {
		t.Fatalf("height %d after %d and %d commands, %d positions", n, first, len(subs), len(at))
	}
	a := audited(t, h, m, append(m.Accepted(), subs...))
	for p, id := range at {
		if a.IDs[id] != p {
			t.Errorf("command %s was answered at %d and is at %d", id, p, a.IDs[id])
		}
	}
}

func testFollow(t *testing.T, h *Harness) {
	m := opened(t, h)
	subs := m.Consents(120, 8)
	end := height(t, h.Ledger) + uint64(len(subs))
	var wg sync.WaitGroup
	for _, limit := range []int{1, 7, 1000} {
		wg.Go(func() {
			next := uint64(0)
			for next < end {
				if err := h.Ledger.Wait(t.Context(), next); err != nil {
					t.Errorf("wait: %v", err)
					return
				}
				es, err := h.Ledger.Entries(t.Context(), next, limit)
				if err != nil || len(es) == 0 || len(es) > limit {
					t.Errorf("%d entries from %d, limit %d: %v", len(es), next, limit, err)
					return
				}
				for _, e := range es {
					if e.Position != next {
						t.Errorf("entry %d where %d was next", e.Position, next)
						return
					}
					next++
				}
			}
		})
	}
	for _, s := range subs {
		must(t, m.Submit(t.Context(), s))
	}
	wg.Wait()
	es, err := h.Ledger.Entries(t.Context(), end, 10)
	if err != nil || len(es) != 0 {
		t.Fatalf("entries at the height: %d, %v", len(es), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Ledger.Wait(ctx, end); !errors.Is(err, context.Canceled) {
		t.Fatalf("wait with a cancelled context: %v", err)
	}
}

// testLostAnswers is a client's duty: what is unknown is looked up, and only the same bytes are sent again.
func testLostAnswers(t *testing.T, h *Harness) {
	m := opened(t, h)
	subs := m.Consents(60, 9)
	first := height(t, h.Ledger)
	bad := NewFlaky(h.Ledger, 4)
	for i, s := range subs {
		for known := false; !known; {
			_, err := bad.Submit(t.Context(), s)
			switch {
			case err == nil:
				known = true
			case errors.Is(err, ledger.ErrOutcomeUnknown):
				a, err := h.Ledger.Lookup(t.Context(), commandID(s))
				must(t, err)
				known = a.Status == ledger.Accepted
			case !errors.Is(err, ErrNetwork):
				t.Fatalf("command %d: %v", i, err)
			}
		}
	}
	if n := height(t, h.Ledger); n != first+uint64(len(subs)) {
		t.Fatalf("%d entries for %d commands", n-first, len(subs))
	}
	// A caller who gives up learns by Lookup what became of a command, also when it was still on its way.
	for i, s := range m.Consents(30, 10) {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		_, err := h.Ledger.Submit(ctx, s)
		a, err2 := h.Ledger.Lookup(t.Context(), commandID(s))
		must(t, err2)
		switch {
		case err == nil && a.Status != ledger.Accepted:
			t.Fatalf("command %d was accepted, lookup says %s", i, a.Status)
		case err != nil && !errors.Is(err, ledger.ErrOutcomeUnknown) && a.Status != ledger.NotFound:
			t.Fatalf("command %d failed with %v, lookup says %s", i, err, a.Status)
		}
		r, err := h.Ledger.Submit(t.Context(), s)
		must(t, err)
		if r.Repeated != (a.Status == ledger.Accepted) {
			t.Fatalf("command %d: lookup said %s, the next submission repeated %v", i, a.Status, r.Repeated)
		}
	}
}

func testReopen(t *testing.T, h *Harness) {
	m := opened(t, h)
	must(t, m.Trade())
	before := audited(t, h, m, m.Accepted())
	n, state, err := h.StateHash()
	must(t, err)
	h.Ledger = h.Reopen()
	n2, state2, err := h.StateHash()
	must(t, err)
	if n != n2 || state != state2 {
		t.Fatalf("state at %d was %x, after opening again at %d %x", n, state, n2, state2)
	}
	after := audited(t, h, m, m.Accepted())
	for i := range before.Hashes {
		if before.Hashes[i] != after.Hashes[i] {
			t.Fatalf("entry %d is another one", i)
		}
	}
	m.mu.Lock()
	m.ledger = h.Ledger
	m.mu.Unlock()
	subs := m.Consents(3, 11)
	for _, s := range subs {
		must(t, m.Submit(t.Context(), s))
	}
	audited(t, h, m, m.Accepted())
}
