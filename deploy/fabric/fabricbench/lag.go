package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/trading"
)

const lagCallers = 32

// lag measures how long after the client knew an entry's block the entry could be read in PostgreSQL.
func (b *bench) lag(ctx context.Context) error {
	db, err := pg.Open(ctx, pg.Config{URL: os.Getenv("DATABASE_URL"), Dir: filepath.Join(b.dir, "pg"), Log: quiet})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := pg.Migrate(ctx, db.DB, quiet); err != nil {
		return err
	}
	p, err := projection.New(db.DB, b.market.ledger, catalog.Schema(), trading.Schema())
	if err != nil {
		return err
	}
	p.Log = quiet
	if err := errors.Join(p.Prepare(ctx), p.RunOnce(ctx)); err != nil { // what the runs before this one left behind
		return err
	}
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	running, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := p.Run(running); running.Err() == nil {
			failed(err)
		}
	}()

	n := int(b.long.Seconds()+warmUp.Seconds()) * lagCallers * 10
	var mu sync.Mutex
	var lags []time.Duration
	do := b.market.submitting(n, func(ctx context.Context, r *ledger.Receipt) error {
		known := time.Now()
		if err := p.WaitFor(ctx, r.Position); err != nil {
			return err
		}
		mu.Lock()
		lags = append(lags, time.Since(known))
		mu.Unlock()
		return nil
	})
	l, err := b.drive(ctx, lagCallers, n, b.long, do)
	end()
	<-ended
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return err
	}
	fmt.Printf("%d callers that wait for the projection: %s\n", lagCallers, l)
	fmt.Printf("figure fabric.projection_lag_p50_ms %.0f ms\nfigure fabric.projection_lag_p99_ms %.0f ms\n", ms(quantile(lags, 0.5)), ms(quantile(lags, 0.99)))
	return nil
}
