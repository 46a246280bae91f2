package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/ledger"
)

// load is what callers in a closed loop got done.
type load struct {
	done      int
	took      time.Duration
	latencies []time.Duration
	cpu       cpu
}

func (l *load) rate() float64 { return float64(l.done) / l.took.Seconds() }

func (l *load) String() string {
	return fmt.Sprintf("%.0f/s, p50 %.0f ms, p99 %.0f ms, CPU %s", l.rate(), ms(quantile(l.latencies, 0.5)), ms(quantile(l.latencies, 0.99)), l.cpu.per(l.done))
}

// drive has so many callers do one thing after another until the time is over or there is nothing left to do. What is under
// way then is let run to its end, and not counted.
func (b *bench) drive(ctx context.Context, callers, n int, d time.Duration, do func(ctx context.Context, i int) error) (*load, error) {
	l := &load{}
	var mu sync.Mutex
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	before, err := b.cpuNow()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var last time.Time
	for range callers {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				at := time.Now()
				if i >= n || at.Sub(began) >= d {
					return nil
				}
				if err := do(ctx, i); err != nil {
					return err
				}
				end := time.Now()
				if end.Sub(began) > d {
					return nil
				}
				mu.Lock()
				l.done++
				l.latencies = append(l.latencies, end.Sub(at))
				last = end
				mu.Unlock()
			}
		})
	}
	timer := time.AfterFunc(d, func() {
		mu.Lock()
		defer mu.Unlock()
		l.cpu = b.since(before)
	})
	defer timer.Stop()
	if err := g.Wait(); err != nil {
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	l.took = d
	if n := int(next.Load()) - 1; n >= 0 && l.cpu == nil { // there was less to do than time
		l.took, l.cpu = last.Sub(began), b.since(before)
	}
	return l, nil
}

// submitting gives what submits prepared commands through the product's client.
func (m *market) submitting(n int, then func(ctx context.Context, r *ledger.Receipt) error) func(ctx context.Context, i int) error {
	subs := m.consents(n)
	return func(ctx context.Context, i int) error {
		r, err := m.ledger.Submit(ctx, subs[i])
		if err == nil && then != nil {
			err = then(ctx, r)
		}
		return err
	}
}

func quantile(ds []time.Duration, q float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	ds = slices.Sorted(slices.Values(ds))
	return ds[min(int(q*float64(len(ds))), len(ds)-1)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
