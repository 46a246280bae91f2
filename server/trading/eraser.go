package trading

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
)

// Eraser carries out what erasures on the ledger say of the market's own store. An erasure by the venue destroys payload
// and salt here. One by a party says that it destroyed its own copy: it reads this one no more, while the others, whose
// settlement may rest on it, do.
type Eraser struct {
	DB    *sqlx.DB
	Log   *slog.Logger
	Every time.Duration // 0: a minute
}

// RunOnce carries out what is on the ledger and projected. Doing it again is harmless, and needed when a later command
// brought an erased value once more.
func (e *Eraser) RunOnce(ctx context.Context) error {
	m, err := projection.ReadMarket(ctx, e.DB)
	if err != nil {
		return err
	}
	return pg.WithTx(ctx, e.DB, func(tx *sqlx.Tx) error {
		const destroy = `DELETE FROM app.openings o USING proj.erasures e WHERE e.id = o.commitment AND e.by = $1`
		gone, err := tx.ExecContext(ctx, destroy, string(m.Venue))
		if err != nil {
			return fmt.Errorf("couldn't destroy erased openings: %w", err)
		}
		const leave = `UPDATE app.openings o SET audience = array_remove(o.audience, e.by) FROM proj.erasures e WHERE e.id = o.commitment AND e.by = ANY (o.audience)`
		if _, err := tx.ExecContext(ctx, leave); err != nil {
			return fmt.Errorf("couldn't take readers off erased openings: %w", err)
		}
		if n, err := gone.RowsAffected(); err == nil && n > 0 {
			e.Log.InfoContext(ctx, "openings were destroyed", "count", n)
		}
		return nil
	})
}

// Run looks every now and then until ctx ends; on several replicas one of them does. A failure is logged and tried again.
func (e *Eraser) Run(ctx context.Context) error {
	return pg.Hold(ctx, e.DB, "erasures", e.Log, e.look)
}

func (e *Eraser) look(ctx context.Context) error {
	every := e.Every
	if every == 0 {
		every = time.Minute
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := e.RunOnce(ctx); err != nil && ctx.Err() == nil {
			e.Log.WarnContext(ctx, "couldn't carry out erasures, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
