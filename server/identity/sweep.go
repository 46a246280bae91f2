package identity

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/bund-exchange/bund/server/pg"
)

// sweepEvery is how often what has expired is removed. Nothing depends on it: expired rows are never read.
const sweepEvery = 10 * time.Minute

// RunOnce removes expired sessions and tokens, and failed sign-ins that no longer count.
func (d *Directory) RunOnce(ctx context.Context) error {
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
}

// Run calls RunOnce every now and then until ctx ends; on several replicas one of them does. One that fails is logged and
// tried again at the next turn.
func (d *Directory) Run(ctx context.Context, log *slog.Logger) error {
	return pg.Hold(ctx, d.DB, "identity.sweep", log, func(ctx context.Context) error { return d.sweep(ctx, log) })
}

func (d *Directory) sweep(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := d.RunOnce(ctx); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "couldn't sweep sign-ins", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
