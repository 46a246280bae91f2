package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	submitters    = 16
	perSubmitter  = 50
	batchedRounds = 3
)

// batched measures what submitters get committed that each submit fifty commands at once, in turn with as many callers of
// the bare SDK that each put fifty values in a transaction. The client makes transactions of commands as it does of any.
func (b *bench) batched(ctx context.Context, program string) error {
	sdk, err := b.openBare(ctx, program)
	if err != nil {
		return err
	}
	defer sdk.close()
	round := b.long / batchedRounds
	bares := func(d time.Duration) (*load, error) { return b.fifties(ctx, 1<<30, d, sdk.putFifty) }
	ours := func(d time.Duration) (*load, error) {
		n := int(d.Seconds()*3000) / perSubmitter
		subs := b.market.consents(n * perSubmitter)
		return b.fifties(ctx, n, d, func(ctx context.Context, i int) error {
			g, ctx := errgroup.WithContext(ctx)
			for _, s := range subs[i*perSubmitter : (i+1)*perSubmitter] {
				g.Go(func() error {
					_, err := b.market.ledger.Submit(ctx, s)
					return err
				})
			}
			return g.Wait()
		})
	}
	for _, run := range []func(time.Duration) (*load, error){ours, bares} {
		if _, err := run(warmUp); err != nil {
			return err
		}
	}
	var rates, bareRates, means []float64
	for i := range batchedRounds {
		before, err := b.batches()
		if err != nil {
			return err
		}
		a, err := ours(round)
		if err != nil {
			return err
		}
		mean, err := b.meanBatch(before)
		if err != nil {
			return err
		}
		z, err := bares(round)
		if err != nil {
			return err
		}
		if a.done == 0 || z.done == 0 {
			return errors.New("nothing was committed in a whole round")
		}
		fmt.Printf("%d submitters of %d, round %d: commands %s\n%d submitters of %d, round %d: bare SDK %s\n", submitters, perSubmitter, i+1, a, submitters, perSubmitter, i+1, z)
		rates, bareRates, means = append(rates, a.rate()), append(bareRates, z.rate()), append(means, mean)
	}
	fmt.Printf("figure fabric.batched_ops %.0f commands/s\nfigure fabric.batch_mean %.1f commands a transaction\n", median(rates), median(means))
	fmt.Printf("figure fabric.bare_batched %.0f values/s\nfigure fabric.batched_ratio %.2f of the bare SDK's\n", median(bareRates), median(rates)/median(bareRates))
	return nil
}

// fifties drives the submitters and counts single commands.
func (b *bench) fifties(ctx context.Context, n int, d time.Duration, do func(ctx context.Context, i int) error) (*load, error) {
	l, err := b.drive(ctx, submitters, n, d, do)
	if err == nil {
		l.done *= perSubmitter
	}
	return l, err
}
