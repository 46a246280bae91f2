package embedded

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

// shelf is an Openings in memory.
type shelf struct {
	mu   sync.Mutex
	kept map[contracts.Hash]ledger.Opening
	fail error
}

func (s *shelf) Put(_ context.Context, os []ledger.Opening) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, o := range os {
		s.kept[o.Commitment] = o
	}
	return nil
}

func newShelf() *shelf { return &shelf{kept: map[contracts.Hash]ledger.Opening{}} }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestConformance(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) *ledgertest.Harness {
		cfg := Config{Dir: t.TempDir(), LedgerID: "bund.test/1", Key: operator, Openings: newShelf(), Log: quiet, SegmentBytes: 32 << 10}
		l, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return &ledgertest.Harness{
			ID: cfg.LedgerID, Ledger: l, Operator: operator.Public().(ed25519.PublicKey),
			StateHash: func() (uint64, [32]byte, error) { return l.StateHash() },
			Reopen: func() ledger.Ledger {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if l, err = Open(cfg); err != nil {
					t.Fatal(err)
				}
				return l
			},
		}
	})
}

// A full disk: the writer stops, nothing acknowledged is lost, and with room again everything goes on.
func TestDiskFull(t *testing.T) {
	for room := int64(0); room < 600; room += 37 {
		cfg := testConfig(t.TempDir())
		fs := ledgertest.NewFaultFS(1)
		cfg.Files = faulty{fs}
		l := mustOpen(t, cfg)
		mustSubmit(t, l, "a", "open", "a")
		fs.Capacity = fs.Used() + room
		acked := 1
		var err error
		for err == nil {
			if _, err = l.Submit(t.Context(), submission(fmt.Sprint("b", acked), "open", fmt.Sprint("b", acked))); err == nil {
				acked++
			}
		}
		if !errors.Is(err, ledger.ErrOutcomeUnknown) {
			t.Fatalf("room %d: %v", room, err)
		}
		if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
			t.Fatalf("the error doesn't say why: %v", err)
		}
		if _, err := l.Submit(t.Context(), submission("c", "open", "c")); !errors.Is(err, ledger.ErrStopped) {
			t.Fatalf("the writer went on: %v", err)
		}
		if _, err := l.Lookup(t.Context(), ledgertest.CommandID(testTime, "c")); !errors.Is(err, ledger.ErrStopped) {
			t.Fatalf("not found is not known after a stop: %v", err)
		}
		if a, err := l.Lookup(t.Context(), ledgertest.CommandID(testTime, "a")); err != nil || a.Status != ledger.Accepted {
			t.Fatalf("what was accepted can be looked up: %+v, %v", a, err)
		}
		if h := l.Health(); h.Stopped == nil || h.Height != uint64(acked) {
			t.Fatalf("health %+v", h)
		}
		l.Abort()
		if l, err := Open(cfg); err == nil { // nothing to cut, or there is room for the next segment's header
			l.Abort()
		} else if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
			t.Fatalf("room %d: opened on a full disk: %v", room, err)
		}
		fs.Capacity = 0
		l = mustOpen(t, cfg)
		if n, _ := l.Height(t.Context()); n != uint64(acked) {
			t.Fatalf("room %d: %d acknowledged, %d there", room, acked, n)
		}
		for i := range acked + 1 {
			r := mustSubmit(t, l, fmt.Sprint("b", i+1), "open", fmt.Sprint("b", i+1))
			if r.Repeated != (i+1 < acked) {
				t.Fatalf("command %d of %d: %+v", i, acked, r)
			}
		}
		l.Abort()
	}
}

// A batch that fails answers each of its commands with what is true of it.
func TestFailedBatch(t *testing.T) {
	cfg := testConfig(t.TempDir())
	fs := ledgertest.NewFaultFS(1)
	cfg.Files = faulty{fs}
	l := mustOpen(t, cfg)
	mustSubmit(t, l, "a", "open", "a")
	fs.FailAt = fs.Ops() + 2 // the sync
	rs, err := l.SubmitAll(t.Context(), []contracts.Submission{submission("b", "open", "b"), submission("a", "open", "a"), submission("c", "open", "b"), submission("d", "nonsense")})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(rs[0].Err, ledger.ErrOutcomeUnknown) {
		t.Errorf("an entry whose sync failed: %v", rs[0].Err)
	}
	for i, r := range rs[1:] { // the refusal of c rests on b, which may be lost
		var no *ledger.Refused
		if !errors.Is(r.Err, ledger.ErrStopped) || errors.Is(r.Err, ledger.ErrOutcomeUnknown) || errors.As(r.Err, &no) {
			t.Errorf("command %d without an entry: %v", i+1, r.Err)
		}
	}
}

func TestRefusalWaitsForItsBatch(t *testing.T) {
	cfg := testConfig(t.TempDir())
	l := mustOpen(t, cfg)
	rs, err := l.SubmitAll(t.Context(), []contracts.Submission{
		submission("a", "open", "x"), submission("b", "open", "x"), submission("a", "open", "x"), submission("c", "open", "y"), submission("a", "open", "z"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var no *ledger.Refused
	switch {
	case rs[0].Err != nil || rs[0].Receipt.Position != 0:
		t.Errorf("first: %+v", rs[0])
	case !errors.As(rs[1].Err, &no) || no.Code != "account.exists" || no.Position != 1:
		t.Errorf("refused by what came before it: %v", rs[1].Err)
	case rs[2].Err != nil || !rs[2].Receipt.Repeated || rs[2].Receipt.Position != 0 || rs[2].Receipt.Hash != rs[0].Receipt.Hash:
		t.Errorf("repeated within its batch: %+v", rs[2])
	case rs[3].Err != nil || rs[3].Receipt.Position != 1:
		t.Errorf("a refusal takes no position: %+v", rs[3])
	case !errors.As(rs[4].Err, &no) || no.Code != "command.id_reused":
		t.Errorf("other bytes: %v", rs[4].Err)
	}
	for _, r := range []*ledger.Receipt{rs[0].Receipt, rs[2].Receipt, rs[3].Receipt} {
		if err := r.Verify(operator.Public().(ed25519.PublicKey), testLedger); err != nil {
			t.Error(err)
		}
	}
}

func TestPanicOfTheRulesFailsOneCommand(t *testing.T) {
	l := mustOpen(t, testConfig(t.TempDir()))
	_, err := l.Submit(t.Context(), submission("p", "panic"))
	var no *ledger.Refused
	if err == nil || errors.As(err, &no) || errors.Is(err, ledger.ErrStopped) {
		t.Fatalf("a panic is a failure: %v", err)
	}
	mustSubmit(t, l, "a", "open", "a")
}

func TestOpeningsAreKeptFirst(t *testing.T) {
	cfg := testConfig(t.TempDir())
	s := newShelf()
	cfg.Openings = s
	cfg.Tap = func(es []*ledger.Stored) {
		for _, e := range es {
			if c := e.Writes[1].Value; len(s.kept) == 0 || s.kept[contracts.Hash(c)].Command == "" {
				t.Errorf("entry %d was durable before its opening", e.Position)
			}
		}
	}
	l := mustOpen(t, cfg)
	mustSubmit(t, l, "a", "seal", "secret")
	s.fail = errors.New("the shelf is broken")
	_, err := l.Submit(t.Context(), submission("b", "seal", "secret"))
	if err == nil || errors.Is(err, ledger.ErrOutcomeUnknown) || errors.Is(err, ledger.ErrStopped) {
		t.Fatalf("nothing was written, this is a failure: %v", err)
	}
	if n, _ := l.Height(t.Context()); n != 1 {
		t.Fatalf("height %d", n)
	}
	s.fail = nil
	if r := mustSubmit(t, l, "b", "seal", "secret"); r.Repeated || r.Position != 1 {
		t.Fatalf("%+v", r)
	}
	es, err := l.Entries(t.Context(), 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		for _, w := range e.Writes {
			if strings.Contains(string(w.Value), "secret") {
				t.Error("the value is in the write set")
			}
		}
	}
	cfg2 := testConfig(t.TempDir())
	l2 := mustOpen(t, cfg2)
	if _, err := l2.Submit(t.Context(), submission("b", "seal", "secret")); err == nil {
		t.Fatal("accepted an opening without a place for it")
	}
}

func TestTimeNeverFalls(t *testing.T) {
	cfg := testConfig(t.TempDir())
	var now atomic.Int64
	now.Store(int64(testTime))
	cfg.Now = func() time.Time { return time.UnixMilli(now.Load()) }
	l := mustOpen(t, cfg)
	a := mustSubmit(t, l, "a", "open", "a")
	now.Add(-5000)
	b := mustSubmit(t, l, "b", "open", "b")
	if a.Time != testTime || b.Time != testTime {
		t.Fatalf("times %d and %d", a.Time, b.Time)
	}
	// "never" holds although the clock is set back afterwards.
	id := ledgertest.CommandID(testTime, "late")
	now.Store(int64(testTime.Add(601)))
	if x, err := l.Lookup(t.Context(), id); err != nil || x.Status != ledger.Never {
		t.Fatalf("%+v, %v", x, err)
	}
	now.Store(int64(testTime))
	var no *ledger.Refused
	if _, err := l.Submit(t.Context(), submission("late", "open", "late")); !errors.As(err, &no) || no.Code != "command.expired" {
		t.Fatalf("accepted after never: %v", err)
	}
}

func TestScriptedClockStaysBehindTheWall(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), LedgerID: "bund.test/1", Key: operator, Log: quiet, Now: func() time.Time { return contractstest.Start.Add(100).Time() }}
	l := mustOpen(t, cfg)
	m := ledgertest.NewMarket(cfg.LedgerID, l, 1)
	if err := m.Begin(); err != nil {
		t.Fatal(err)
	}
	if err := m.Advance(100); err != nil {
		t.Fatal(err)
	}
	var no *ledger.Refused
	if err := m.Advance(1); !errors.As(err, &no) || no.Code != "clock.ahead" {
		t.Fatalf("ran ahead of the wall clock: %v", err)
	}
}

func TestOneHolder(t *testing.T) {
	cfg := testConfig(t.TempDir())
	l := mustOpen(t, cfg)
	if _, err := Open(cfg); !errors.Is(err, ErrHeld) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, cfg)
}

func TestForeignFolders(t *testing.T) {
	cfg := testConfig(t.TempDir())
	l := mustOpen(t, cfg)
	mustSubmit(t, l, "a", "open", "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other := cfg
	other.LedgerID = "ledger.example/2"
	if _, err := Open(other); !errors.Is(err, errForeignStore) {
		t.Fatalf("opened another ledger's store: %v", err)
	}
	if err := os.Remove(statePath(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), "another ledger") {
		t.Fatalf("opened another ledger's log: %v", err)
	}
}

func TestClosed(t *testing.T) {
	l := mustOpen(t, testConfig(t.TempDir()))
	waiting := make(chan error)
	go func() { waiting <- l.Wait(context.Background(), 10) }()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
	if _, err := l.Submit(t.Context(), submission("a", "open", "a")); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("submit: %v", err)
	}
}

// Whoever submits while the ledger closes gets an answer that is true.
func TestCloseUnderLoad(t *testing.T) {
	for round := range 8 {
		cfg := testConfig(t.TempDir())
		l := mustOpen(t, cfg)
		var wg sync.WaitGroup
		var mu sync.Mutex
		acked, not := map[string]bool{}, map[string]bool{}
		begun := make(chan struct{}, 64)
		for g := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					id := fmt.Sprint(g, "/", i)
					_, err := l.Submit(context.Background(), submission(id, "open", id))
					mu.Lock()
					if err == nil {
						acked[id] = true
					} else {
						not[id] = true
					}
					mu.Unlock()
					select {
					case begun <- struct{}{}:
					default:
					}
					if err != nil {
						if !errors.Is(err, ledger.ErrClosed) {
							t.Errorf("%v", err)
						}
						return
					}
				}
			})
		}
		for range 3 * round {
			<-begun
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		l = mustOpen(t, cfg)
		a := ledgertest.NewAudit(testLedger)
		if err := a.ReadAll(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if len(a.IDs) != len(acked) {
			t.Fatalf("%d entries, %d acknowledged", len(a.IDs), len(acked))
		}
		for id := range not {
			if _, there := a.IDs[ledgertest.CommandID(testTime, id)]; there {
				t.Fatalf("%s was told closed and is there", id)
			}
		}
		l.Abort()
	}
}

func TestFlushFailureStopsTheStoreOnly(t *testing.T) {
	cfg := testConfig(t.TempDir())
	l := mustOpen(t, cfg)
	mustSubmit(t, l, "a", "open", "a")
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	mustSubmit(t, l, "b", "open", "b")
	bad := errors.New("no space")
	l.store.fail = func() error { return bad }
	if err := l.Flush(); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	l.store.fail = nil
	mustSubmit(t, l, "c", "transfer", "a", "b", "7")
	if err := l.Flush(); !errors.Is(err, bad) {
		t.Fatalf("a later height followed lost changes: %v", err)
	}
	if h := l.Health(); !errors.Is(h.Broken, bad) || h.Stored != 1 || h.Height != 3 {
		t.Fatalf("health %+v", h)
	}
	if err := l.Close(); !errors.Is(err, bad) {
		t.Fatalf("close hid the broken store: %v", err)
	}
	l = mustOpen(t, cfg)
	a := ledgertest.NewAudit(testLedger)
	if err := a.ReadAll(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if n, h, err := l.StateHash(); err != nil || n != 3 || h != a.StateHash() {
		t.Fatalf("the next open did not catch up: %d, %v", n, err)
	}
}

// The tap sees every entry once, in order, and the tree it leads to is the ledger's.
func TestTapAndTree(t *testing.T) {
	cfg := testConfig(t.TempDir())
	tree := treeFactory.NewEmptyRange(0)
	var seen uint64
	cfg.Tap = func(es []*ledger.Stored) {
		for _, e := range es {
			if e.Position != seen {
				t.Errorf("tap got %d, want %d", e.Position, seen)
			}
			seen++
			if err := tree.Append(leafHash(e), nil); err != nil {
				t.Error(err)
			}
		}
	}
	l := mustOpen(t, cfg)
	fillTo(t, l, 50)
	for range 2 {
		n, hashes := l.Tree()
		if n != 50 || !slices.EqualFunc(hashes, tree.Hashes(), slices.Equal[[]byte]) {
			t.Fatalf("tree of %d entries is another", n)
		}
		l.Close()
		l = mustOpen(t, cfg)
	}
}

func TestSnapshot(t *testing.T) {
	cfg := testConfig(t.TempDir())
	l := mustOpen(t, cfg)
	fillTo(t, l, 60)
	dir := filepath.Join(t.TempDir(), "snapshots")
	s, err := l.Snapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	fillTo(t, l, 80)
	_, want, err := l.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(statePath(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	path := snapshotPath(dir, 60)
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := AdoptSnapshot(cfg, path); err != nil || got != s || got.Height != 60 {
		t.Fatalf("restored %+v, %v", got, err)
	}
	l = mustOpen(t, cfg)
	if n, got, err := l.StateHash(); err != nil || n != 80 || got != want {
		t.Fatalf("state at %d after a restore: %v", n, err)
	}
	if _, err := AdoptSnapshot(cfg, path); !errors.Is(err, ErrHeld) {
		t.Fatalf("restored under an open ledger: %v", err)
	}
	l.Close()

	i := strings.LastIndex(string(kept), "account/f7")
	kept[i+len("account/f7")+8] ^= 1 // a digit of the balance
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := AdoptSnapshot(cfg, path); err == nil {
		t.Fatal("restored an altered snapshot")
	}
	mustOpen(t, cfg) // the failed restore left the store as it was
}

func leafHash(e *ledger.Stored) []byte {
	h := sha256.New() // RFC 6962: a zero byte, then the leaf
	h.Write([]byte{0})
	h.Write(ledger.Leaf(e.Encoded, e.Entry))
	return h.Sum(nil)
}
