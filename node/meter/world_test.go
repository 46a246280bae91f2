package meter

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// world is a provider node and a consumer node with one agreement between them. The network is a function call.
type world struct {
	t        *testing.T
	dir      string
	terms    Terms
	schedule Schedule
	pk, ck   ed25519.PrivateKey
	fence    int64

	mu      sync.Mutex // p and l change while calls run
	p       *Provider
	l       *Log
	journal *Journal
	c       *Consumer

	between func(http.Handler) http.Handler // a dishonest or broken network
	refuse  func(*Call) *Refusal
	execs   atomic.Int64
	pcfg    func(*ProviderConfig)
	ccfg    func(*ConsumerConfig)
}

const priceMicro = 2800

type option func(*world)

func windowOf(calls int64) option {
	return func(w *world) { w.terms.WindowCalls = calls }
}

func newWorld(t *testing.T, opts ...option) *world {
	t.Helper()
	_, pk, _ := ed25519.GenerateKey(rand.Reader)
	_, ck, _ := ed25519.GenerateKey(rand.Reader)
	w := &world{t: t, dir: t.TempDir(), pk: pk, ck: ck, fence: 7}
	w.terms = testTerms(pub(pk), pub(ck))
	for _, o := range opts {
		o(w)
	}
	if w.schedule == nil {
		w.schedule = func(int64) (Terms, bool) { return w.terms, true }
	}
	w.startProvider()
	w.startConsumer()
	t.Cleanup(func() {
		w.p.Close()
		w.journal.Close()
	})
	return w
}

func testTerms(provider, consumer contracts.PublicKey) Terms {
	return Terms{Agreement: "000102030405060708090a0b0c0d0e0f", PriceMicro: priceMicro, BillNotFound: true, WindowFen: 1 << 20, WindowCalls: 1000,
		EscrowFen: 1 << 30, QuotaCalls: 1 << 40, TTLSec: 60, SkewSec: 5, Provider: provider, Consumer: consumer}
}

func pub(k ed25519.PrivateKey) contracts.PublicKey {
	return contracts.Ed25519Key(k.Public().(ed25519.PublicKey))
}

func (w *world) openProvider(dir string, fence int64) (*Provider, *Log, error) {
	cfg := ProviderConfig{Dir: dir, Fence: fence, Key: w.pk, SealKey: bytes.Repeat([]byte{1}, 32), Log: quiet}
	if w.pcfg != nil {
		w.pcfg(&cfg)
	}
	p, err := OpenProvider(cfg)
	if err != nil {
		return nil, nil, err
	}
	l, err := p.Open(context.Background(), w.schedule, Backend{Admit: w.admit, Execute: w.execute})
	if err != nil {
		p.Close()
	}
	return p, l, err
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func (w *world) admit(_ context.Context, c *Call) *Refusal {
	if w.refuse != nil {
		return w.refuse(c)
	}
	fmt.Sscanf(string(c.Body), `"%d companies`, &c.Units)
	return nil
}

func (w *world) execute(_ context.Context, c *Call) (Result, error) {
	w.execs.Add(1)
	s := string(c.Body)
	switch {
	case strings.Contains(s, "noconsent"):
		return Result{Body: []byte(`{"refused":"no consent"}`), Outcome: NoConsent}, nil
	case strings.Contains(s, "missing"):
		return Result{Body: []byte(`{"found":false}`), Outcome: NotFound, Snapshot: Digest{1}}, nil
	case strings.Contains(s, "fails"):
		return Result{}, errors.New("source is down")
	}
	return Result{Body: []byte(`{"answer":` + s + `}`), Outcome: Found, AsOf: 1700000000000, KnownAt: 1700000000001, Snapshot: Digest{1}}, nil
}

func (w *world) startProvider() {
	w.t.Helper()
	p, l, err := w.openProvider(filepath.Join(w.dir, "provider"), w.fence)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p, w.l = p, l
}

// restartProvider leaves the old process where it stands, as a crash does: only the lease keeps it from writing.
func (w *world) restartProvider() {
	w.t.Helper()
	old := w.p
	w.t.Cleanup(func() { old.Close() })
	w.startProvider()
}

func (w *world) log() *Log {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.l
}

func (w *world) startConsumer() {
	w.t.Helper()
	var err error
	if w.journal, err = OpenJournal(filepath.Join(w.dir, "consumer.db"), bytes.Repeat([]byte{2}, 32)); err != nil {
		w.t.Fatal(err)
	}
	cfg := ConsumerConfig{Schedule: w.schedule, Key: w.ck, RequestKey: bytes.Repeat([]byte{3}, 32), Journal: w.journal, Log: quiet,
		Client: &http.Client{Transport: w}, URL: "https://provider.example/agreements/a", Idle: 20 * time.Millisecond}
	if w.ccfg != nil {
		w.ccfg(&cfg)
	}
	if w.c, err = OpenConsumer(cfg); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) restartConsumer() {
	w.t.Helper()
	w.journal.Close()
	w.startConsumer()
}

// RoundTrip is the network.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	var h http.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.log().Handler().ServeHTTP(rw, r) })
	if w.between != nil {
		h = w.between(h)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// call makes n calls, each bounded, and gives the first error: a full window is one when the time is up.
func (w *world) call(n int, text string) error { return w.callWithin(200*time.Millisecond, n, text) }

func (w *world) callWithin(bound time.Duration, n int, text string) error {
	for i := range n {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		_, err := w.c.Call(ctx, NewNonce(time.Now()), fmt.Appendf(nil, "%q", fmt.Sprint(text, i)))
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) must(n int, text string) {
	w.t.Helper()
	if err := w.callWithin(30*time.Second, n, text); err != nil { // a busy disk is no fault
		w.t.Fatal(err)
	}
}

// settle pulls and acknowledges all that may be.
func (w *world) settle() error {
	return errors.Join(w.c.RunOnce(context.Background()), w.c.RunOnce(context.Background()))
}

// run keeps the acknowledger running until the test ends.
func (w *world) run() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	c := w.c
	go func() { defer close(done); c.Run(ctx) }()
	w.t.Cleanup(func() { stop(); <-done })
}

// agreed fails the test unless both sides stand at size, all of it acknowledged, with so many billed calls.
func (w *world) agreed(size, calls int64) {
	w.t.Helper()
	p, c := w.log().State(), w.c.State()
	if p.Size != size || p.Acked != size || c.Acked != size || c.Size != size {
		w.t.Fatalf("not agreed at %d: provider %+v, consumer %+v, breach %v, objections %+v", size, p, c, w.c.Breach(), w.c.Objections())
	}
	if p.Totals.Calls != calls || p.Totals != p.AckedTotals || p.Totals != c.Totals || p.Totals.Micro != contracts.MicroYuan(calls*priceMicro) {
		w.t.Fatalf("totals: provider %+v, consumer %+v, want %d calls", p, c, calls)
	}
}

// forge makes the provider write a leaf for a call that nobody asked for.
func (w *world) forge(id RequestID, body string) Leaf {
	w.t.Helper()
	l := w.log()
	c := &Call{ID: id, Epoch: l.State().Epoch, Body: []byte(body)}
	j := &job{log: l, kind: jobCall, done: make(chan struct{}), id: id, digest: sha256.Sum256(c.Body), epoch: c.Epoch}
	if err := l.execute(context.Background(), j, c); err != nil {
		w.t.Fatal(err)
	}
	if _, err := l.await(context.Background(), j); err != nil {
		w.t.Fatal(err)
	}
	return j.leaf
}

// splitBetween sends every second request to an overtaken node, if there is one.
func splitBetween(old *atomic.Pointer[Log], n *atomic.Int64) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if l := old.Load(); l != nil && n.Add(1)%2 == 0 {
				l.Handler().ServeHTTP(rw, r)
				return
			}
			h.ServeHTTP(rw, r)
		})
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func (w *world) requestID(body string) RequestID {
	return w.c.requests.make(NewNonce(time.Now()), sha256.Sum256([]byte(body)), 1)
}
