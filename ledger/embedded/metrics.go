package embedded

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bund-exchange/bund/ledger"
)

// metrics are the ledger's figures for an operator. Whoever runs the ledger registers Collectors.
type metrics struct {
	batch    prometheus.Histogram
	append   prometheus.Histogram
	accepted prometheus.Counter
	repeated prometheus.Counter
	refused  *prometheus.CounterVec
	failed   prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "bund_ledger_batch_commands",
			Help: "Commands decided together.", Buckets: []float64{1, 4, 16, 64, 256, 1024}}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "bund_ledger_append_seconds",
			Help: "Time to make one batch durable.", Buckets: prometheus.ExponentialBuckets(0.0001, 3, 10)}),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{Name: "bund_ledger_accepted_total", Help: "Commands accepted."}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{Name: "bund_ledger_repeated_total", Help: "Accepted commands sent again."}),
		refused:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bund_ledger_refused_total", Help: "Commands refused."}, []string{"code"}),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "bund_ledger_failed_total", Help: "Commands that failed or whose outcome is unknown."}),
	}
}

// count takes note of a batch's answers before anybody has them.
func (m *metrics) count(b *batch) {
	m.batch.Observe(float64(len(b.calls)))
	for _, c := range b.calls {
		var no *ledger.Refused
		switch {
		case c.ask != "":
		case errors.As(c.err, &no):
			m.refused.WithLabelValues(string(no.Code)).Inc()
		case c.err != nil:
			m.failed.Inc()
		case c.receipt.Repeated:
			m.repeated.Inc()
		default:
			m.accepted.Inc()
		}
	}
}

// Collectors gives the ledger's metrics.
func (l *Ledger) Collectors() []prometheus.Collector {
	gauge := func(name, help string, f func(Health) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return f(l.Health()) })
	}
	m := l.metrics
	return []prometheus.Collector{
		m.batch, m.append, m.accepted, m.repeated, m.refused, m.failed,
		gauge("bund_ledger_height", "Durable entries.", func(h Health) float64 { return float64(h.Height) }),
		gauge("bund_ledger_store_lag_entries", "Entries that the state store lacks.", func(h Health) float64 { return float64(h.Height - h.Stored) }),
		gauge("bund_ledger_queued", "Submissions waiting.", func(h Health) float64 { return float64(h.Queued) }),
		gauge("bund_ledger_up", "1 while the writer takes commands and the state store follows.", func(h Health) float64 {
			if h.Stopped != nil || h.Broken != nil {
				return 0
			}
			return 1
		}),
	}
}
