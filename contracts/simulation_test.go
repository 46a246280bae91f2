package contracts_test

import (
	"flag"
	"testing"

	"github.com/bund-exchange/bund/contracts/contractstest"
)

var (
	seed  = flag.Uint64("seed", 0, "seed of TestSimulation; 0: a few fixed ones")
	steps = flag.Int("steps", 1000, "steps of TestSimulation")
)

// TestSimulation lets random markets run under the auditor's eyes. `-run TestSimulation -seed N -steps M` repeats one or
// runs it longer.
func TestSimulation(t *testing.T) {
	seeds := []uint64{1, 2, 3}
	if *seed != 0 {
		seeds = []uint64{*seed}
	}
	reached := map[string]int{}
	for _, n := range seeds {
		t.Logf("-seed %d -steps %d", n, *steps)
		m, err := contractstest.NewSimulation("bund.test/simulation", n, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", n, err)
		}
		for i := range *steps {
			if err := m.Step(); err != nil {
				t.Fatalf("seed %d, step %d: %v", n, i, err)
			}
		}
		accepted, refused := 0, 0
		for _, k := range m.Coverage.Accepted {
			accepted += k
		}
		for _, k := range m.Coverage.Refused {
			refused += k
		}
		t.Logf("%d accepted of %d kinds, %d refused with %d codes", accepted, len(m.Coverage.Accepted), refused, len(m.Coverage.Refused))
		for kind, k := range m.Coverage.Accepted {
			reached[kind] += k
		}
	}
	for _, kind := range []string{"settlement.settle", "movement.payout", "agreement.amend", "product.list", "freeze.order"} {
		if *seed == 0 && reached[kind] < 2 {
			t.Errorf("the seeds came to %s only %d times: the workload has lost its way", kind, reached[kind])
		}
	}
}
