package lookup

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// spread calls f for [0,n) in pieces of step, on so many workers, 0 for one per processor.
func spread(ctx context.Context, n, step, workers int, f func(lo, hi int) error) error {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for lo := 0; lo < n && inner.Err() == nil; lo += step {
		hi := min(n, lo+step)
		g.Go(func() error {
			if err := inner.Err(); err != nil {
				return err
			}
			return f(lo, hi)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}
