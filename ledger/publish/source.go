package publish

import (
	"context"
	"sync"

	"github.com/bund-exchange/bund/ledger"
)

// Source is the ledger that is published. Positions are from 0 without gaps, and an entry that was given once is given
// for ever. Safe for concurrent use; errors are failures and are retried.
type Source interface {
	// Height is the number of durable entries: nothing that a power cut could take back.
	Height(ctx context.Context) (uint64, error)
	// Entries gives entries from position from on, in order: at least one and at most limit when from < Height.
	Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Entry, error)
}

// bell wakes everybody who waits for the ledger to grow.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed by the next ring.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
