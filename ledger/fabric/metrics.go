package fabric

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures for an operator. Whoever runs the ledger registers Collectors.
type metrics struct {
	batch, commit              prometheus.Histogram
	accepted, repeated, failed prometheus.Counter
	refused, retried           *prometheus.CounterVec
	disagreements              *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "bund_ledger_batch_commands", Help: "Commands in a committed transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 8)}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "bund_ledger_commit_seconds", Help: "From the order of a transaction to its block.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 10)}),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{Name: "bund_ledger_accepted_total", Help: "Commands accepted."}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{Name: "bund_ledger_repeated_total", Help: "Commands sent again after they were accepted."}),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "bund_ledger_failed_total", Help: "Commands given up without an answer."}),
		refused:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bund_ledger_refused_total", Help: "Commands refused."}, []string{"code"}),
		retried:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bund_ledger_retried_total", Help: "Batches sent again."}, []string{"reason"}),
		disagreements: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bund_ledger_disagreements_total",
			Help: "Decisions of a peer that differed from those of others over the same state."}, []string{"peer"}),
	}
}

// Health is what an operator asks of the ledger.
type Health struct {
	Height  uint64 // entries derived
	Block   uint64 // blocks read
	Queued  int    // submissions waiting
	Stopped error  // nothing more can be derived: a block is damaged, or the disk
	Broken  error  // the peer's blocks can't be read at the moment

	// Odd lists the peers that decided otherwise than others in the last ten minutes, though none was behind: one of them
	// has a state, a chaincode or a clock that it should not have.
	Odd []string
}

// Health reports the state now.
func (l *Ledger) Health() Health {
	l.mu.Lock()
	h := Health{Height: l.at.Height, Block: l.at.Block, Stopped: l.brokeErr, Broken: l.lostErr}
	for name, last := range l.odd {
		if time.Since(last) < unwell {
			h.Odd = append(h.Odd, name)
		}
	}
	l.mu.Unlock()
	slices.Sort(h.Odd)
	for _, x := range l.lanes {
		h.Queued += len(x.queue)
	}
	return h
}

// Collectors gives the ledger's metrics.
func (l *Ledger) Collectors() []prometheus.Collector {
	gauge := func(name, help string, f func(Health) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return f(l.Health()) })
	}
	m := l.metrics
	return []prometheus.Collector{
		m.batch, m.commit, m.accepted, m.repeated, m.failed, m.refused, m.retried, m.disagreements,
		gauge("bund_ledger_height", "Entries derived.", func(h Health) float64 { return float64(h.Height) }),
		gauge("bund_ledger_blocks", "Blocks read.", func(h Health) float64 { return float64(h.Block) }),
		gauge("bund_ledger_queued", "Submissions waiting.", func(h Health) float64 { return float64(h.Queued) }),
		gauge("bund_ledger_up", "1 while the peer's blocks are read.", func(h Health) float64 {
			if h.Stopped != nil || h.Broken != nil {
				return 0
			}
			return 1
		}),
	}
}

// Check says why the ledger takes no commands, nil when it does.
func (l *Ledger) Check(context.Context) error {
	h := l.Health()
	return errors.Join(h.Stopped, h.Broken)
}
