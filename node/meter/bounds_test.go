package meter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// crowdOf runs f from 64 goroutines and waits for them.
func crowdOf(f func(i int)) {
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// Never acknowledging buys at most the window, whatever number of calls comes at once.
func TestWindowHoldsUnderCrowd(t *testing.T) {
	for name, o := range map[string]option{
		"calls":       windowOf(20),
		"fen":         func(w *world) { w.terms.PriceMicro, w.terms.WindowFen = 100_000, 200 }, // 20 prices of 10 fen
		"fen, uneven": func(w *world) { w.terms.PriceMicro, w.terms.WindowFen = 100_000, 209 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			gate := make(chan struct{})
			w.refuse = func(*Call) *Refusal { <-gate; return nil }
			var served, full atomic.Int64
			var once sync.Once
			var waiting atomic.Int64
			crowdOf(func(i int) {
				if waiting.Add(1) == 64 {
					once.Do(func() { close(gate) })
				}
				switch _, err := w.l.Serve(t.Context(), &Call{ID: w.requestID("1"), Epoch: 1, Body: []byte("1")}); {
				case err == nil:
					served.Add(1)
				case refused(err, WindowFull):
					full.Add(1)
				default:
					t.Error(err)
				}
			})
			if served.Load() != 20 || full.Load() != 44 || w.execs.Load() != 20 {
				t.Errorf("served %d, refused %d, executed %d", served.Load(), full.Load(), w.execs.Load())
			}
		})
	}
}

// The node stops exactly where escrow and grace, or the quota, end, and goes on after a top-up.
func TestHardStops(t *testing.T) {
	price := func(w *world) { w.terms.PriceMicro = 10_000 } // 1 fen
	for _, x := range []struct {
		name string
		set  func(*Terms, int64)
		code contracts.Code
	}{
		{"escrow", func(t *Terms, n int64) { t.EscrowFen = contracts.Fen(n) }, EscrowExhausted},
		{"escrow and grace", func(t *Terms, n int64) { t.EscrowFen, t.GraceFen = contracts.Fen(n-10), 10 }, EscrowExhausted},
		{"quota", func(t *Terms, n int64) { t.QuotaCalls = n }, QuotaExceeded},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, price, windowOf(30), func(w *world) { x.set(&w.terms, 50) })
			w.run()
			var served atomic.Int64
			spend := func() {
				crowdOf(func(i int) {
					for {
						_, err := w.c.Call(t.Context(), NewNonce(time.Now()), []byte("1"))
						if refused(err, x.code) {
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
						served.Add(1)
					}
				})
			}
			spend()
			if served.Load() != 50 {
				t.Errorf("served %d, want 50", served.Load())
			}
			more := w.terms
			x.set(&more, 60)
			if err := w.l.Amend(more); err != nil {
				t.Fatal(err)
			}
			spend()
			if served.Load() != 60 {
				t.Errorf("served %d after the top-up, want 60", served.Load())
			}
		})
	}
}

func TestAmendTakesFundsOnly(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*Terms){
		"price":  func(t *Terms) { t.PriceMicro++ },
		"key":    func(t *Terms) { t.Consumer = t.Provider },
		"billOn": func(t *Terms) { t.BillNotFound = false },
		"window": func(t *Terms) { t.WindowFen = 0 },
	} {
		x := w.terms
		change(&x)
		if w.l.Amend(x) == nil || w.c.Amend(x) == nil {
			t.Errorf("%s was amended", name)
		}
	}
	x := w.terms
	x.WindowCalls, x.EscrowFen = 7, 9
	if err := errors.Join(w.l.Amend(x), w.c.Amend(x)); err != nil {
		t.Error(err)
	}
}

func TestTermsAreChecked(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*Terms){
		"window below one price": func(t *Terms) { t.PriceMicro, t.WindowFen = 30_001, 3 },
		"no window":              func(t *Terms) { t.WindowCalls = 0 },
		"endless window":         func(t *Terms) { t.WindowCalls = 1 << 40 },
		"negative price":         func(t *Terms) { t.PriceMicro = -1 },
		"negative escrow":        func(t *Terms) { t.EscrowFen = -1 },
		"negative quota":         func(t *Terms) { t.QuotaCalls = -1 },
		"no life":                func(t *Terms) { t.TTLSec = 0 },
		"skew above life":        func(t *Terms) { t.SkewSec = t.TTLSec + 1 },
		"one key":                func(t *Terms) { t.Consumer = t.Provider },
		"no key":                 func(t *Terms) { t.Consumer = "" },
		"short key":              func(t *Terms) { t.Consumer = t.Consumer[:20] },
		"other suite":            func(t *Terms) { t.Consumer = "sm2-sm3:00" },
		"no agreement":           func(t *Terms) { t.Agreement = "x" },
	} {
		x := w.terms
		change(&x)
		if x.Check() == nil {
			t.Errorf("%s was taken", name)
		}
	}
	ok := w.terms
	ok.PriceMicro, ok.WindowFen = 30_000, 3
	if err := ok.Check(); err != nil {
		t.Error(err)
	}
}

// With windows of one price, and of one and a half, half a window never comes: the refusal makes the consumer
// acknowledge, without any timer.
func TestTinyWindowsStayAlive(t *testing.T) {
	for _, fen := range []contracts.Fen{1, 2, 3} {
		t.Run(fmt.Sprint(fen), func(t *testing.T) {
			w := newWorld(t, func(w *world) {
				w.terms.PriceMicro, w.terms.WindowFen = 10_000, fen
				if fen == 2 {
					w.terms.PriceMicro = 13_000
				}
				w.ccfg = func(c *ConsumerConfig) { c.Idle = time.Hour }
			})
			w.run()
			crowdOf(func(int) {
				if _, err := w.c.Call(t.Context(), NewNonce(time.Now()), []byte("1")); err != nil {
					t.Error(err)
				}
			})
			if size := w.l.State().Size; size != 64 {
				t.Errorf("%d leaves for 64 calls", size)
			}
		})
	}
}

// If the group can't be written, nothing is served, the writer is stopped for good, and after a restart the same id
// is answered and billed once, whether or not the bytes had reached the disk.
func TestFullDisk(t *testing.T) {
	for _, x := range []struct {
		name    string
		reached bool // the bytes were on disk although the sync failed
	}{{"nothing written", false}, {"written, sync failed", true}} {
		t.Run(x.name, func(t *testing.T) {
			full := errors.New("no space left on device")
			var broken atomic.Bool
			w := newWorld(t, func(w *world) {
				w.pcfg = func(c *ProviderConfig) {
					if x.reached {
						c.faults.sync = func(f *os.File) error {
							if broken.Load() {
								return full
							}
							return f.Sync()
						}
						return
					}
					c.faults.write = func(f *os.File, b []byte, off int64) error {
						if broken.Load() {
							f.WriteAt(b[:len(b)/2], off)
							return full
						}
						_, err := f.WriteAt(b, off)
						return err
					}
				}
			})
			w.must(2, "a")
			if err := w.settle(); err != nil {
				t.Fatal(err)
			}
			broken.Store(true)
			nonce := NewNonce(time.Now())
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				if _, err := w.c.Call(ctx, nonce, []byte("1")); !errors.Is(err, ErrOutcomeUnknown) {
					t.Fatalf("call said %v", err)
				}
				cancel()
			}
			if err := w.p.Err(); !errors.Is(err, ErrStopped) || !errors.Is(err, full) {
				t.Fatalf("writer: %v", err)
			}
			broken.Store(false)
			if _, err := w.l.ClosePeriod(t.Context(), 5); !errors.Is(err, ErrStopped) {
				t.Errorf("a stopped writer wrote: %v", err)
			}
			w.restartProvider()
			a, err := w.c.Call(t.Context(), nonce, []byte("1"))
			if err != nil || string(a.Body) != `{"answer":1}` {
				t.Fatal(a, err)
			}
			if err := w.settle(); err != nil {
				t.Fatal(err)
			}
			w.agreed(3, 3)
		})
	}
}

// Four takeovers under 64 callers, half of whom still go to the old node: one log, nothing twice.
func TestTakeoverUnderLoad(t *testing.T) {
	w := newWorld(t)
	var old atomic.Pointer[Log]
	var n atomic.Int64
	w.between = splitBetween(&old, &n)
	w.run()
	ctx, stop := context.WithCancel(t.Context())
	var done atomic.Int64
	progress := make(chan struct{}, 1<<20)
	go func() {
		defer close(progress)
		crowdOf(func(int) {
			for ctx.Err() == nil {
				if _, err := w.c.Call(t.Context(), NewNonce(time.Now()), []byte("1")); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
				progress <- struct{}{}
			}
		})
	}()
	for range 4 {
		for range 200 {
			<-progress
		}
		before := w.log()
		w.fence++
		w.restartProvider()
		old.Store(before)
	}
	stop()
	for range progress {
	}
	if b := w.c.Breach(); b != nil {
		t.Fatal(b)
	}
	old.Store(nil)
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.agreed(done.Load(), done.Load())
}

// A node with a lower token can't take the store, and one that was overtaken can't write.
func TestFence(t *testing.T) {
	w := newWorld(t)
	w.must(1, "a")
	if _, _, err := w.openProvider(filepath.Join(w.dir, "provider"), w.fence-1); !errors.Is(err, ErrFenced) {
		t.Fatalf("lower token: %v", err)
	}
	w.must(1, "b")
	first := w.l
	w.restartProvider() // the same registration again: only the last process writes
	if _, err := first.ClosePeriod(t.Context(), 9); !errors.Is(err, ErrFenced) {
		t.Fatalf("old process: %v", err)
	}
	if _, err := first.Serve(t.Context(), &Call{ID: w.requestID("1"), Epoch: 1, Body: []byte("1")}); !errors.Is(err, ErrStopped) || w.execs.Load() != 2 {
		t.Fatalf("old process: %v, executed %d", err, w.execs.Load())
	}
	w.must(1, "c")
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.agreed(3, 3)
}

// A standby with a copy that lags is found out at its first leaf, or at the consumer's next acknowledgement.
func TestLaggingStandby(t *testing.T) {
	for name, acked := range map[string]bool{"unacknowledged leaves lost": false, "acknowledged leaves lost": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(5, "a")
			w.settle()
			copyDir(t, filepath.Join(w.dir, "provider"), filepath.Join(w.dir, "copy"))
			w.must(3, "b")
			if acked {
				w.settle()
			}
			last := w.c.State().Acked
			w.p.Close()
			p, l, err := w.openProvider(filepath.Join(w.dir, "copy"), w.fence+1)
			if err != nil {
				t.Fatal(err)
			}
			w.p, w.l = p, l
			err = errors.Join(w.call(1, "c"), w.settle())
			if w.c.Breach() == nil || w.c.State().Acked != last {
				t.Errorf("not noticed: %v", err)
			}
		})
	}
}
