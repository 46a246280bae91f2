package main

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// batches is what the client's metrics say about its committed transactions.
type batches struct {
	commands     float64
	transactions uint64
}

func (b *bench) batches() (batches, error) {
	r := prometheus.NewRegistry()
	for _, c := range b.market.ledger.Collectors() {
		if err := r.Register(c); err != nil {
			return batches{}, err
		}
	}
	fs, err := r.Gather()
	if err != nil {
		return batches{}, err
	}
	for _, f := range fs {
		if f.GetName() == "bund_ledger_batch_commands" {
			h := f.Metric[0].GetHistogram()
			return batches{h.GetSampleSum(), h.GetSampleCount()}, nil
		}
	}
	return batches{}, errors.New("the client has no metric of batches")
}

// meanBatch is how many commands a transaction has had since then, on average.
func (b *bench) meanBatch(before batches) (float64, error) {
	now, err := b.batches()
	if err != nil || now.transactions == before.transactions {
		return 0, err
	}
	return (now.commands - before.commands) / float64(now.transactions-before.transactions), nil
}
