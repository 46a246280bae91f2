package fabric

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// Entries gives derived entries, see ledger.Ledger.
func (l *Ledger) Entries(_ context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	return l.store.entries(from, limit)
}

// Height is the number of derived entries.
func (l *Ledger) Height(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at.Height, nil
}

// Wait returns once the height is above from.
func (l *Ledger) Wait(ctx context.Context, from uint64) error {
	return l.until(ctx, func(m mark, _ bool) bool { return m.Height > from })
}

// View reads the state after the entries derived so far. Values belong to the view: they must be copied to be kept.
func (l *Ledger) View(read func(height uint64, st contracts.State) error) error {
	return l.store.view(func(m mark, v view) error { return read(m.Height, v) })
}

// StateHash gives the hash of the state, see ledger.StateHash.
func (l *Ledger) StateHash() (height uint64, hash [32]byte, err error) { return l.store.stateHash() }
