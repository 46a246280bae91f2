package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"
)

const (
	submitters   = 16
	perSubmitter = 50
)

// batched measures what submitters get committed that each submit fifty commands at once. The client makes transactions of
// them as it does of any.
func (b *bench) batched(ctx context.Context) error {
	total := int(b.long.Seconds()*3000) / perSubmitter
	subs := b.market.consents(total * perSubmitter)
	fmt.Fprintf(os.Stderr, "%d commands are signed\n", len(subs))
	fifty := func(ctx context.Context, i int) error {
		g, ctx := errgroup.WithContext(ctx)
		for _, s := range subs[i*perSubmitter : (i+1)*perSubmitter] {
			g.Go(func() error {
				_, err := b.market.ledger.Submit(ctx, s)
				return err
			})
		}
		return g.Wait()
	}
	warm := total / 20
	if _, err := b.drive(ctx, submitters, warm, warmUp, fifty); err != nil {
		return err
	}
	before, err := b.batches()
	if err != nil {
		return err
	}
	l, err := b.drive(ctx, submitters, total-warm, b.long, func(ctx context.Context, i int) error { return fifty(ctx, warm+i) })
	if err != nil {
		return err
	}
	mean, err := b.meanBatch(before)
	if err != nil {
		return err
	}
	l.done *= perSubmitter
	fmt.Printf("%d submitters of %d: %s\n", submitters, perSubmitter, l)
	fmt.Printf("figure fabric.batched_ops %.0f commands/s\nfigure fabric.batch_mean %.1f commands a transaction\n", l.rate(), mean)
	return nil
}
