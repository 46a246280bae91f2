package embedded

import (
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

var cutCommands = flag.Int("cut.commands", 70, "commands in the workload that is cut at every file operation")

const (
	testLedger = "ledger.example/1"
	testTime   = contracts.Millis(1_790_000_000_000)
)

// faulty makes a FaultFS an FS.
type faulty struct{ *ledgertest.FaultFS }

func (f faulty) Create(name string) (File, error) { return file(f.FaultFS.Create(name)) }
func (f faulty) Open(name string) (File, error)   { return file(f.FaultFS.Open(name)) }

func file(x *ledgertest.FaultFile, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return x, nil
}

var operator = ed25519.NewKeyFromSeed(make([]byte, 32))

// testConfig has a clock that stands still and a state store that is flushed by hand only.
func testConfig(dir string) Config {
	return Config{
		Dir: dir, LedgerID: testLedger, Key: operator, Rules: Rules{ledgertest.Decode, ledgertest.Apply}, storeNoSync: true,
		SegmentBytes: 2 << 10, FlushKeys: 1 << 30, FlushEvery: time.Hour,
		Now: func() time.Time { return testTime.Time() }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func cuts(tempDir func() string, commands int, m mutation) *ledgertest.Cuts {
	return &ledgertest.Cuts{
		LedgerID: testLedger, TempDir: tempDir, Batches: ledgertest.Workload(commands, 1, testTime),
		Open: func(fs *ledgertest.FaultFS, dir string) (*ledgertest.Subject, error) {
			cfg := testConfig(dir)
			cfg.Files, cfg.mutation = faulty{fs}, m
			if err := emptyStore(dir); err != nil {
				return nil, err
			}
			l, err := Open(cfg)
			if err != nil {
				return nil, err
			}
			return subject(l), nil
		},
	}
}

// emptyStore puts a new state store in place: bbolt syncs the one that it makes, which thousands of trials would wait for.
func emptyStore(dir string) error {
	if _, err := os.Stat(statePath(dir)); err == nil {
		return nil
	}
	b, err := templateStore()
	if err != nil {
		return err
	}
	return os.WriteFile(statePath(dir), b, 0o600)
}

var templateStore = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "bund-store")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := openStore(statePath(dir), testLedger, true)
	if err != nil {
		return nil, err
	}
	if err := s.db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(statePath(dir))
})

func subject(l *Ledger) *ledgertest.Subject {
	return &ledgertest.Subject{
		Ledger: l, Flush: l.Flush, StateHash: l.StateHash, Kill: func() { l.Abort() },
		Batch: func(subs []contracts.Submission) []ledgertest.Answer {
			out := make([]ledgertest.Answer, len(subs))
			rs, err := l.SubmitAll(context.Background(), subs)
			for i := range out {
				if err != nil {
					out[i].Err = err
				} else {
					out[i] = ledgertest.Answer{Receipt: rs[i].Receipt, Err: rs[i].Err}
				}
			}
			return out
		},
	}
}

// plans gives, for every file operation: a cut in every mode, once and with a second one soon after the restart; and a
// failure of every kind, followed by a cut soon after the restart, because a failed sync shows only then.
func plans(ops int) (all []ledgertest.Plan) {
	for k := 1; k <= ops; k++ {
		for m := range ledgertest.Modes {
			p := ledgertest.Plan{At: k, Mode: m, Mode2: (m + ledgertest.Mode(k)) % ledgertest.Modes, Seed: uint64(31 * k)}
			all = append(all, p)
			p.Second, p.Seed = 1+k%9, p.Seed+7
			all = append(all, p)
		}
		for f := range ledgertest.Faults {
			p := ledgertest.Plan{
				At: k, Fails: true, Fault: f, Mode: ledgertest.Killed, Second: 1 + (k+int(f))%9, Mode2: ledgertest.Mode(k) % ledgertest.Modes, Seed: uint64(31*k + 3),
			}
			all = append(all, p)
			p.Refail, p.Second = true, 1+k%5
			all = append(all, p)
		}
	}
	return all
}

// tryAll runs the plans on two cores and gives what broke.
func tryAll(c *ledgertest.Cuts, todo []ledgertest.Plan, want ledgertest.End) (broken []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan ledgertest.Plan)
	for range 2 {
		wg.Go(func() {
			for p := range next {
				got, err := c.Try(p)
				if err == nil && got != want {
					err = fmt.Errorf("ended at %d, undisturbed at %d, or with another state", got.Height, want.Height)
				}
				if err != nil {
					mu.Lock()
					broken = append(broken, fmt.Errorf("%v: %w", p, err))
					mu.Unlock()
				}
			}
		})
	}
	for _, p := range todo {
		next <- p
	}
	close(next)
	wg.Wait()
	return broken
}

func TestEveryCut(t *testing.T) {
	c := cuts(t.TempDir, *cutCommands, mutation{})
	want, ops, err := c.Undisturbed()
	if err != nil {
		t.Fatal(err)
	}
	todo := plans(ops)
	for _, err := range tryAll(c, todo, want) {
		t.Error(err)
	}
	t.Logf("%d entries, %d file operations, %d trials", want.Height, ops, len(todo))
}

// Each safety step, taken away, must be missed by some trial.
func TestCutsHaveTeeth(t *testing.T) {
	for _, x := range []struct {
		name string
		m    mutation
		lie  bool
	}{
		{"answer before sync", mutation{noSync: true}, false},
		{"no folder sync for a new segment", mutation{noDirSync: true}, false},
		{"no header sync", mutation{noHeaderSync: true}, false},
		{"no sync on open", mutation{noSyncOnOpen: true}, false},
		{"state store before log", mutation{flushBeforeSync: true}, false},
		{"tail not written again", mutation{noRewrite: true}, false},
		{"no new segment after a cut", mutation{noNewSegment: true}, false},
		{"syncs lie", mutation{}, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := cuts(t.TempDir, *cutCommands, x.m)
			want, ops, err := c.Undisturbed()
			if err != nil {
				t.Logf("seen without a cut: %v", err)
				return
			}
			for i, p := range plans(ops) {
				p.Lie = x.lie
				got, err := c.Try(p)
				if err == nil && got != want {
					err = errors.New("another end")
				}
				if err != nil {
					t.Logf("seen by trial %d: %v: %v", i, p, err)
					return
				}
			}
			t.Errorf("no trial of %d missed it", len(plans(ops)))
		})
	}
}

func submission(id string, words ...string) contracts.Submission {
	return ledgertest.Line(ledgertest.CommandID(testTime, id), words...)
}

func mustSubmit(t *testing.T, l *Ledger, id string, words ...string) *ledger.Receipt {
	t.Helper()
	r, err := l.Submit(t.Context(), submission(id, words...))
	if err != nil {
		t.Fatalf("couldn't submit %s: %v", id, err)
	}
	return r
}

func mustOpen(t *testing.T, cfg Config) *Ledger {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Abort() })
	return l
}

func fillTo(t *testing.T, l *Ledger, n int) {
	t.Helper()
	for h, _ := l.Height(t.Context()); h < uint64(n); h++ {
		mustSubmit(t, l, fmt.Sprint("fill", h), "open", fmt.Sprint("f", h))
	}
}
