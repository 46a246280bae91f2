package meter

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// After a breach both sides begin a new epoch from the last acknowledgement, across restarts of both: totals go on,
// what was not acknowledged is not billed, its ids are free again, and acknowledged ids are not.
func TestEpochAfterBreach(t *testing.T) {
	w := newWorld(t)
	w.must(3, "a")
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	acked := w.requestID(`"z"`)
	if _, err := w.c.Call(t.Context(), acked.Nonce(), []byte(`"z"`)); err != nil {
		t.Fatal(err)
	}
	w.settle()
	nonce := NewNonce(time.Now())
	if _, err := w.c.Call(t.Context(), nonce, []byte("1")); err != nil {
		t.Fatal(err)
	}
	w.l.tamper = func(l *Leaf) { l.Totals.Micro++ }
	w.call(1, "b")
	if w.c.Breach() == nil {
		t.Fatal("no breach")
	}
	for _, wrong := range []int64{0, 3} {
		if w.l.NextEpoch(t.Context(), wrong) == nil || w.c.NextEpoch(t.Context(), wrong) == nil {
			t.Errorf("epoch %d followed 1", wrong)
		}
	}
	w.restartProvider()
	w.restartConsumer()
	// One side alone is refused, not taken for a cheat.
	if err := w.l.NextEpoch(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	w.settle()
	var b *Breach
	if err := w.call(1, "c"); !errors.As(err, &b) {
		t.Fatalf("the breach was forgotten: %v", err)
	}
	if err := w.c.NextEpoch(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for range 2 { // asked twice, and again after a restart: no harm
		if err := errors.Join(w.l.NextEpoch(t.Context(), 2), w.c.NextEpoch(t.Context(), 2)); err != nil {
			t.Fatal(err)
		}
		w.restartProvider()
		w.restartConsumer()
	}
	before := w.execs.Load()
	if _, err := w.c.Call(t.Context(), nonce, []byte("1")); err != nil {
		t.Fatal(err)
	}
	if w.execs.Load() != before+1 {
		t.Error("an id that was never billed wasn't executed again")
	}
	if _, err := w.l.Serve(t.Context(), &Call{ID: acked, Epoch: 2, Body: []byte(`"z"`)}); !refused(err, AlreadyAcknowledged) {
		t.Errorf("acknowledged in the epoch before: %v", err)
	}
	if a, err := w.c.Call(t.Context(), acked.Nonce(), []byte(`"z"`)); err != nil || string(a.Body) != `{"answer":"z"}` {
		t.Errorf("answer of the epoch before: %v", err)
	}
	w.must(2, "d")
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.agreed(3, 7)
	for _, e := range []int64{1, 2} {
		r, err := w.l.FinalReport(e)
		if (err == nil) != (e == 1) {
			t.Fatalf("final report of epoch %d: %v", e, err)
		}
		if e == 1 && (r.Size != 4 || r.Totals.Calls != 4 || !r.Verify(w.terms.Consumer, w.terms.Provider)) {
			t.Errorf("final report %+v", r)
		}
	}
	// The disputed leaves are kept.
	f, err := openLeafFile(w.p.store.dir, w.l.agreement, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.file.Close()
	if n, _ := f.size(); n != 6 {
		t.Errorf("%d leaves of epoch 1 are on disk, want 6", n)
	}
}

// A consumer that is in another epoch than the provider is refused, either way round.
func TestEpochMismatch(t *testing.T) {
	w := newWorld(t)
	w.must(1, "a")
	if err := w.l.NextEpoch(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err := w.call(1, "b"); !refused(err, EpochMismatch) || w.c.Breach() != nil {
		t.Errorf("consumer behind: %v", err)
	}
	if err := w.settle(); !refused(err, EpochMismatch) || w.c.Breach() != nil {
		t.Errorf("consumer behind: %v", err)
	}
	// What the consumer signed in the meantime didn't reach the provider: the epoch begins without it.
	if st := w.c.State(); st.Acked != 1 || w.l.State().Totals.Calls != 0 {
		t.Fatalf("consumer %+v, provider %+v", st, w.l.State())
	}
	if err := w.c.NextEpoch(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	w.must(1, "c")
	if err := w.c.NextEpoch(t.Context(), 3); !refused(err, EpochMismatch) {
		t.Errorf("consumer ahead: %v", err)
	}
	w.settle()
	w.agreed(1, 1)
}

// An amended price holds from exactly the CLOSE leaf on, at both sides, across restarts; no call at the new price is
// written before the CLOSE is acknowledged, so that a VOID can still move it.
func TestPriceChangesAtClose(t *testing.T) {
	const position, dearer = 77, 2 * priceMicro
	var amended, followed atomic.Bool
	w := newWorld(t, func(w *world) {
		w.schedule = func(at int64) (Terms, bool) {
			x := w.terms
			if at >= position {
				x.PriceMicro = dearer
				return x, amended.Load()
			}
			return x, true
		}
	})
	w.ccfg = func(c *ConsumerConfig) {
		provider := c.Schedule
		c.Schedule = func(at int64) (Terms, bool) {
			x, ok := provider(at)
			return x, ok && (at < position || followed.Load())
		}
	}
	w.restartConsumer()
	w.must(3, "a")
	if _, err := w.l.ClosePeriod(t.Context(), position); err == nil {
		t.Fatal("closed at unknown terms")
	}
	amended.Store(true)
	forged := w.forge(RequestID{1}, `"x"`)
	first, err := w.l.ClosePeriod(t.Context(), position)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again, err := w.l.ClosePeriod(t.Context(), position); err != nil || again != first {
			t.Fatalf("closing again gave %+v, %v", again, err)
		}
		if err := w.call(1, "b"); !refused(err, WindowFull) {
			t.Fatalf("a call at a price that may move: %v", err)
		}
		w.restartProvider()
	}
	w.settle()
	if st := w.c.State(); st.Acked != 3 || st.Waiting != position {
		t.Fatalf("the consumer hasn't followed the ledger so far: %+v", st)
	}
	followed.Store(true)
	w.settle()
	if st := w.c.State(); st.Acked != 3 || st.Waiting != 0 {
		t.Fatalf("objection: %+v", st)
	}
	if _, err := w.l.Void(t.Context(), forged.Seq); err != nil {
		t.Fatal(err)
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.must(2, "c")
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
		w.restartProvider()
		w.restartConsumer()
	}
	r, err := w.l.Report(position)
	if err != nil {
		t.Fatal(err)
	}
	if want := (contracts.Totals{Calls: 3, Units: 3, Micro: 3 * priceMicro}); r.Totals != want {
		t.Errorf("period: %+v, want %+v", r.Totals, want)
	}
	if got, want := w.l.State().Totals, (contracts.Totals{Calls: 7, Units: 7, Micro: 3*priceMicro + 4*dearer}); got != want || w.c.State().Totals != want {
		t.Errorf("totals %+v, consumer %+v, want %+v", got, w.c.State().Totals, want)
	}
	if _, err := w.l.ClosePeriod(t.Context(), position-1); !refused(err, CloseOutOfOrder) {
		t.Errorf("an earlier period: %v", err)
	}
}

// A period closes among running calls: its report is at exactly the CLOSE leaf, and one receipt can be shown alone,
// by either side, against the other's signature.
func TestCloseReportDispute(t *testing.T) {
	w := newWorld(t, windowOf(200))
	w.run()
	started := make(chan struct{}, 64*10)
	closed := make(chan error, 1)
	var leaf Leaf
	go func() {
		for range 200 {
			<-started
		}
		var err error
		leaf, err = w.l.ClosePeriod(t.Context(), 4711)
		closed <- err
	}()
	crowdOf(func(int) {
		for range 10 {
			if _, err := w.c.Call(t.Context(), NewNonce(time.Now()), []byte("1")); err != nil {
				t.Error(err)
			}
			started <- struct{}{}
		}
	})
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.agreed(641, 640)
	for range 2 {
		r, err := w.l.Report(4711)
		if err != nil {
			t.Fatal(err)
		}
		if r.Size != leaf.Seq+1 || r.Totals != leaf.Totals || r.Close != 4711 || !r.Verify(w.terms.Consumer, w.terms.Provider) {
			t.Fatalf("report %+v of leaf %+v", r, leaf)
		}
		seq := leaf.Seq / 2
		shown, err := w.c.Evidence(seq, r.Provider(), contracts.TagReport)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := shown.Verify(w.terms.Provider); err != nil || got.Seq != seq {
			t.Errorf("consumer's evidence: %+v, %v", got, err)
		}
		back, err := w.l.Evidence(seq, *w.l.Acknowledged(), contracts.TagAck)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := back.Verify(w.terms.Consumer); err != nil || got.Seq != seq || !bytes.Equal(back.Leaf, shown.Leaf) {
			t.Errorf("provider's evidence: %+v, %v", got, err)
		}
		altered, err := DecodeLeaf(shown.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		altered.Outcome = NotFound
		bad := *shown
		bad.Leaf = altered.Encode()
		if _, err := bad.Verify(w.terms.Provider); err == nil {
			t.Error("an altered leaf was verified")
		}
		if _, err := shown.Verify(w.terms.Consumer); err == nil {
			t.Error("verified with the wrong key")
		}
		other := *shown
		other.Tag = contracts.TagAck
		if _, err := other.Verify(w.terms.Provider); err == nil {
			t.Error("verified as another kind of statement")
		}
		w.restartProvider()
		w.restartConsumer()
	}
	if _, err := w.c.Evidence(0, sign(contracts.Statement{Agreement: w.terms.Agreement, Epoch: 1, Size: 5, Root: contracts.HashOf("x")}, contracts.TagHead, w.pk), contracts.TagHead); err == nil {
		t.Error("evidence against a head of another log")
	}
	if _, err := w.l.Report(4712); err == nil {
		t.Error("report of a period that wasn't closed")
	}
	if r, err := w.l.Report(0); err != nil || r.Size != 641 {
		t.Errorf("interim report %+v, %v", r, err)
	}
}
