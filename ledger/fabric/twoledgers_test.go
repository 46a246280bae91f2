package fabric_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric"
)

// testTwoLedgers: two processes of the venue submit, derive and begin epochs beside each other. Each has its own file,
// which is no more than a copy of the channel's.
func testTwoLedgers(t *testing.T, s *scene) {
	first := s.quick(t, "first") // begins epochs, too
	defer func() { first.Close() }()
	began, err := first.Newest()
	must(t, err)
	here, there := s.market.Consents(150, 700), s.market.Consents(150, 701)
	for _, sub := range append(here, there...) {
		s.ledger.sent[idOf(sub)] = sub
	}
	child, acks := s.submitter(t, "second", there)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := g; i < len(here); i += 8 {
				if _, err := first.Submit(t.Context(), here[i]); err != nil {
					t.Errorf("command %d: %v", i, err)
				}
			}
		})
	}
	n := 0
	for range acks {
		n++
	}
	must(t, child.Wait())
	wg.Wait()
	if n != len(there) {
		t.Fatalf("%d of %d commands of the other process were accepted", n, len(there))
	}
	end := height(t, first)
	second := s.quick(t, "second") // from its file
	defer func() { second.Close() }()
	begun(t, first, began+4)
	begun(t, second, began+4)
	if err := errors.Join(first.Check(t.Context()), second.Check(t.Context())); err != nil {
		t.Fatal(err)
	}
	equal(t, first, second, end)

	// One is closed, the ledger goes on, and it goes on where it was.
	must(t, second.Close())
	for _, sub := range s.market.Consents(20, 702) {
		if _, err := s.ledger.Submit(soon(t), sub); err != nil {
			t.Fatal(err)
		}
	}
	second = s.quick(t, "second")
	end = height(t, s.ledger)
	must(t, second.Wait(soon(t), end-1))
	equal(t, s.ledger.Ledger, second, end)

	// A lost file is derived again.
	must(t, second.Close())
	must(t, os.Remove(filepath.Join(s.dir, "second", "entries.db")))
	second = s.quick(t, "second")
	equal(t, s.ledger.Ledger, second, end)
	must(t, second.Close())

	// A file of another ledger is refused, and one of another channel that goes by the same names, or of a peer that found
	// other transactions valid.
	cfg := s.config("venue", "second")
	other := *cfg.Network
	other.Ledger = "bund.test/other"
	cfg.Network = &other
	if l, err := fabric.Open(soon(t), cfg); err == nil || !strings.Contains(err.Error(), "another ledger") {
		t.Fatalf("opened the file of another ledger: %v, %v", l, err)
	}
	for _, x := range []struct{ field, says string }{{"commit", "found other transactions valid"}, {"head", "channel is another"}} {
		alterMark(t, filepath.Join(s.dir, "second", "entries.db"), x.field)
		if l, err := fabric.Open(soon(t), s.config("venue", "second")); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Fatalf("opened a file with another %s: %v, %v", x.field, l, err)
		}
	}
}

// alterMark changes the first digit of a field in what a file says of the last block.
func alterMark(t *testing.T, file, field string) {
	t.Helper()
	db, err := bolt.Open(file, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte("meta"))
		mark := append([]byte(nil), meta.Get([]byte("mark"))...)
		name := []byte(`"` + field + `":"`)
		digit := &mark[bytes.Index(mark, name)+len(name)]
		if *digit == '0' {
			*digit = '1'
		} else {
			*digit = '0'
		}
		return meta.Put([]byte("mark"), mark)
	}))
	must(t, db.Close())
}

// testClosed: whoever waits for an answer when the ledger is closed gets one that is true.
func testClosed(t *testing.T, s *scene) {
	l := s.quick(t, "first")
	subs := s.market.Consents(400, 750)
	errs := make([]error, len(subs))
	accepted := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := g; i < len(subs); i += 64 {
				if _, errs[i] = l.Submit(context.Background(), subs[i]); errs[i] == nil {
					once.Do(func() { close(accepted) })
				}
			}
		})
	}
	<-accepted
	must(t, l.Close())
	wg.Wait()
	yes, no, unknown := 0, 0, 0
	for i, err := range errs {
		s.ledger.sent[idOf(subs[i])] = subs[i]
		a, err2 := s.ledger.Lookup(soon(t), idOf(subs[i]))
		must(t, err2)
		switch {
		case err == nil:
			yes++
			if a.Status != ledger.Accepted {
				t.Fatalf("command %d was acknowledged: %+v", i, a)
			}
		case errors.Is(err, ledger.ErrOutcomeUnknown):
			unknown++
		default:
			no++
			if a.Status == ledger.Accepted {
				t.Fatalf("command %d was answered with %v: %+v", i, err, a)
			}
		}
	}
	if yes == 0 || no == 0 {
		t.Fatalf("%d accepted, %d not, %d unknown: it was not closed in the midst", yes, no, unknown)
	}
	ctx := soon(t)
	for g := range 64 {
		wg.Go(func() {
			for i := g; i < len(subs); i += 64 {
				if _, err := s.ledger.Submit(ctx, subs[i]); err != nil {
					t.Errorf("command %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
}

// equal compares two derivations entry by entry.
func equal(t *testing.T, a, b *fabric.Ledger, height uint64) {
	t.Helper()
	at := uint64(0)
	for at < height {
		x, err := a.Entries(t.Context(), at, 100)
		must(t, err)
		y, err := b.Entries(t.Context(), at, 100)
		must(t, err)
		if len(x) == 0 || len(y) == 0 {
			t.Fatalf("no entry at %d of %d", at, height)
		}
		for i := range min(len(x), len(y)) {
			if x[i].Hash != y[i].Hash || x[i].Position != at || y[i].Position != at {
				t.Fatalf("entries at %d differ", at)
			}
			at++
		}
	}
}
