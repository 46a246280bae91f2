package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const warmUp = 2 * time.Second

// ratio measures commands that were committed each second against values that the bare SDK got committed, with so many
// callers of either: in turn, so that a busy machine meets both alike.
func (b *bench) ratio(ctx context.Context, program string, callers int) error {
	sdk, err := b.openBare(ctx, program)
	if err != nil {
		return err
	}
	defer sdk.close()
	perSec := 10 * callers // more than there can be: a block takes 200 ms
	ours := func(d time.Duration) (*load, error) {
		n := int(d.Seconds() * float64(perSec))
		return b.drive(ctx, callers, n, d, b.market.submitting(n, nil))
	}
	bares := func(d time.Duration) (*load, error) { return b.drive(ctx, callers, 1<<30, d, sdk.put) }
	for _, run := range []func(time.Duration) (*load, error){ours, bares} {
		if _, err := run(warmUp); err != nil {
			return err
		}
	}
	var rates, bareRates []float64
	for i := range b.rounds {
		before, err := b.batches()
		if err != nil {
			return err
		}
		a, err := ours(b.round)
		if err != nil {
			return err
		}
		mean, err := b.meanBatch(before)
		if err != nil {
			return err
		}
		z, err := bares(b.round)
		if err != nil {
			return err
		}
		if a.done == 0 || z.done == 0 {
			return errors.New("nothing was committed in a whole round")
		}
		fmt.Printf("%d callers, round %d: commands %s, %.1f a transaction\n%d callers, round %d: bare SDK %s\n", callers, i+1, a, mean, callers, i+1, z)
		rates, bareRates = append(rates, a.rate()), append(bareRates, z.rate())
	}
	fmt.Printf("figure fabric.submit%d %.0f commands/s\nfigure fabric.bare%d %.0f values/s\nfigure fabric.submit_ratio%d %.2f of the bare SDK's\n",
		callers, median(rates), callers, median(bareRates), callers, median(rates)/median(bareRates))
	return nil
}

// openBare opens the bare SDK, with the chaincode that it calls.
func (b *bench) openBare(ctx context.Context, program string) (*bare, error) {
	if b.net.Process("chaincode.venue."+bareName) == nil {
		if err := b.net.AddDefinition(ctx, bareName, program); err != nil {
			return nil, err
		}
	}
	sdk, err := openBare(b.net.Profile(), "venue")
	if err != nil {
		return nil, err
	}
	if err := sdk.ready(ctx); err != nil {
		sdk.close()
		return nil, err
	}
	return sdk, nil
}
