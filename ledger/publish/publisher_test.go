package publish_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
	"github.com/bund-exchange/bund/ledger/witness"
)

// brokenChain shows another entry 7 than it published.
type brokenChain struct{ *publishtest.Log }

func (b brokenChain) Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	es, err := b.Log.Entries(ctx, from, limit)
	es = append([]*ledger.Stored{}, es...)
	for i, s := range es {
		if s.Position == 7 {
			e := *s.Entry
			e.Raw = []byte("another")
			es[i] = &ledger.Stored{Entry: &e, Encoded: e.Encode(), Hash: s.Hash}
		}
	}
	return es, err
}

// inProcess carries requests to a handler without a network, so that a test may own the clock.
type inProcess struct{ h http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.h.ServeHTTP(w, r)
	return w.Result(), nil
}

// TestRun owns the clock: a growing ledger gets a checkpoint at most every CheckpointEvery, a resting one is cosigned
// again every RecosignEvery.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		skey, _, err := note.GenerateKey(nil, "w.example")
		if err != nil {
			t.Fatal(err)
		}
		w, err := witness.Open(witness.Config{Dir: t.TempDir(), LogKey: b.key, Key: skey, Begin: true})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		c := b.config()
		c.Witnesses = []publish.Witness{{URL: "http://w.example", Key: w.VerifierKey()}}
		c.Quorum, c.HTTP, c.Now = 1, &http.Client{Transport: inProcess{w.Handler()}}, time.Now
		c.CheckpointEvery, c.RecosignEvery = time.Second, 20*time.Second
		l := &publishtest.Log{}
		p, err := publish.Open(t.Context(), c, l)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if _, ok := p.Head(); ok {
			t.Error("an empty ledger has a checkpoint")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		size := func(want uint64) time.Time {
			t.Helper()
			h, _ := p.Head()
			at, ok := h.FreshAt(1, time.Now())
			if h.Size != want || want > 0 && !ok {
				t.Errorf("size %d, want %d; cosigned %v", h.Size, want, ok)
			}
			return at
		}
		time.Sleep(10 * time.Second)
		l.Fill(3)
		synctest.Wait()
		first := size(3) // nothing was published for a while: at once
		l.Fill(2)
		synctest.Wait()
		size(3) // within the pause
		time.Sleep(time.Second)
		synctest.Wait()
		second := size(5)
		if second.Sub(first) != time.Second {
			t.Errorf("second checkpoint %v after the first", second.Sub(first))
		}
		for range 3 {
			time.Sleep(20 * time.Second)
			synctest.Wait()
			again := size(5)
			if again.Sub(second) != 20*time.Second {
				t.Errorf("cosigned again after %v", again.Sub(second))
			}
			second = again
		}
		// A failing ledger is tried again.
		l.Fail(errors.New("out of order"))
		l.Fill(1)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		size(5)
		l.Fail(nil)
		time.Sleep(25 * time.Second)
		synctest.Wait()
		size(6)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestNeverDiffers: an entry that doesn't chain to the published one stops publication.
func TestNeverDiffers(t *testing.T) {
	b := newBench(t)
	l := &publishtest.Log{}
	l.Fill(5)
	p, err := publish.Open(t.Context(), b.config(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l.Fill(5)
	*l = *l.Rewritten(3) // the ledger changes under the publisher
	if err := p.Run(t.Context()); !errors.Is(err, publish.ErrDiffers) {
		t.Fatal(err)
	}
	if h, _ := p.Head(); h.Size != 5 {
		t.Errorf("published %d", h.Size)
	}
}

// TestRoundsAreShared: many callers at once cost few rounds, each sees an entry that was there before its call.
func TestRoundsAreShared(t *testing.T) {
	b := newBench(t, "a.example")
	l := &publishtest.Log{}
	l.Fill(1)
	p, err := publish.Open(t.Context(), b.config(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	before := b.witnesses[0].Asked()
	const callers = 50
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			n := l.Fill(1)
			h, err := p.Cosign(t.Context())
			if err != nil || h.Size < n || len(h.Cosignatures) != 1 {
				t.Errorf("size %d, want %d: %v", h.Size, n, err)
			}
		})
	}
	wg.Wait()
	if asked := b.witnesses[0].Asked() - before; asked > callers {
		t.Errorf("%d requests to the witness for %d callers", asked, callers)
	} else {
		t.Logf("%d rounds for %d callers", asked, callers)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Cosign(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestKeptCosignature: a witness that fails in a later round of the same size keeps its older signature there.
func TestKeptCosignature(t *testing.T) {
	b := newBench(t, "a.example", "b.example")
	l := &publishtest.Log{}
	l.Fill(4)
	p, err := publish.Open(t.Context(), b.config(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b.witnesses[0].Down(true)
	if h, err := p.Cosign(t.Context()); err != nil || len(h.Cosignatures) != 2 {
		t.Errorf("%d cosignatures, %v", len(h.Cosignatures), err)
	}
	l.Fill(1)
	if h, err := p.Cosign(t.Context()); err != nil || len(h.Cosignatures) != 1 || h.Cosignatures[0].Witness != "b.example" {
		t.Errorf("%+v, %v", h.Cosignatures, err)
	}
	for _, w := range p.Status(t.Context()).Witnesses {
		if (w.Err != nil) != (w.Name == "a.example") {
			t.Errorf("%s: %v", w.Name, w.Err)
		}
	}
	b.witnesses[0].Down(false)
	if h, err := p.Cosign(t.Context()); err != nil || len(h.Cosignatures) != 2 {
		t.Errorf("%d cosignatures, %v", len(h.Cosignatures), err)
	}
}

// lyingWitness answers 200 with a signature of somebody else.
func TestLyingWitness(t *testing.T) {
	b := newBench(t)
	stranger, key := publishtest.Key(t, "w.example")
	_ = stranger
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, cp, _ := bytes.Cut(body, []byte("\n\n"))
		w.Write(cp[bytes.LastIndex(cp, []byte("\n\n"))+2:]) // the log's own line
	}))
	defer srv.Close()
	l := &publishtest.Log{}
	l.Fill(1)
	h := b.mustOpen(l, func(c *publish.Config) { c.Witnesses = []publish.Witness{{URL: srv.URL, Key: key}} })
	if len(h.Cosignatures) != 0 || strings.Count(string(h.Signed), "— ") != 1 {
		t.Errorf("%s", h.Signed)
	}
}
