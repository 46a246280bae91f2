package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// ErrNetwork is what a Flaky ledger reports when a request did not arrive.
var ErrNetwork = errors.New("ledgertest: the request got lost")

// Flaky is a ledger behind a bad network: by a seeded coin a submission does not arrive (a failure), or arrives and its
// answer is lost (outcome unknown). Everything else passes.
type Flaky struct {
	ledger.Ledger
	mu  sync.Mutex
	rnd *rand.Rand
}

// NewFlaky puts l behind a bad network.
func NewFlaky(l ledger.Ledger, seed uint64) *Flaky {
	return &Flaky{Ledger: l, rnd: rand.New(rand.NewPCG(seed, 3))}
}

// Submit passes one submission in two, loses one in four, and loses the answer to one in four.
func (f *Flaky) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	f.mu.Lock()
	coin := f.rnd.IntN(4)
	f.mu.Unlock()
	if coin == 0 {
		return nil, ErrNetwork
	}
	r, err := f.Ledger.Submit(ctx, sub)
	if coin == 1 {
		return nil, fmt.Errorf("%w: the answer got lost", ledger.ErrOutcomeUnknown)
	}
	return r, err
}
