package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/bund-exchange/bund/server/pg"
)

// sweepEvery is how often what has expired is removed. Nothing depends on it: expired rows are never read.
const sweepEvery = 10 * time.Minute

// RunOnce removes expired sessions and tokens, and failed sign-ins that no longer count.
func (d *Directory) RunOnce(ctx context.Context) error {
	_, err := pg.WithLock(ctx, d.DB, "identity.sweep", func(ctx context.Context) error {
		now := d.now()
		for _, q := range []struct {
			what, sql string
			args      []any
		}{
			{"sessions", `DELETE FROM app.sessions WHERE expires_at <= $1 OR seen_at <= $2`, []any{now, now.Add(-sessionIdle)}},
			{"tokens", `DELETE FROM app.bearers WHERE expires_at <= $1`, []any{now}},
			{"failed sign-ins", `DELETE FROM app.sign_in_failures WHERE last_at <= $1 AND blocked_until <= $2`, []any{now.Add(-time.Hour), now}},
		} {
			if _, err := d.DB.ExecContext(ctx, q.sql, q.args...); err != nil {
				return fmt.Errorf("couldn't remove expired %s: %w", q.what, err)
			}
		}
		return nil
	})
	return err
}

// Run calls RunOnce until ctx ends. One that fails is reported and tried again at the next turn.
func (d *Directory) Run(ctx context.Context, report func(error)) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := d.RunOnce(ctx); err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
