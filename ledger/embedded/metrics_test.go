package embedded

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bund-exchange/bund/ledger/ledgertest"
)

func TestMetrics(t *testing.T) {
	cfg := testConfig(t.TempDir())
	fs := ledgertest.NewFaultFS(1)
	cfg.Files = faulty{fs}
	l := mustOpen(t, cfg)
	reg := prometheus.NewPedanticRegistry()
	for _, c := range l.Collectors() {
		if err := reg.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	mustSubmit(t, l, "a", "open", "a")
	mustSubmit(t, l, "a", "open", "a")
	if _, err := l.Submit(t.Context(), submission("b", "open", "a")); err == nil {
		t.Fatal("accepted twice")
	}
	fs.FailAt = fs.Ops() + 1
	if _, err := l.Submit(t.Context(), submission("c", "open", "c")); err == nil {
		t.Fatal("accepted without a write")
	}
	fams, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range fams {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, p := range m.Label {
				name += "/" + p.GetValue()
			}
			switch {
			case m.Counter != nil:
				got[name] = m.Counter.GetValue()
			case m.Gauge != nil:
				got[name] = m.Gauge.GetValue()
			case m.Histogram != nil:
				got[name] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	for name, want := range map[string]float64{
		"bund_ledger_accepted_total": 1, "bund_ledger_repeated_total": 1, "bund_ledger_refused_total/account.exists": 1, "bund_ledger_failed_total": 1,
		"bund_ledger_height": 1, "bund_ledger_store_lag_entries": 1, "bund_ledger_up": 0, "bund_ledger_append_seconds": 1, "bund_ledger_batch_commands": 4,
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}
