package publish

import (
	"context"

	"github.com/bund-exchange/bund/ledger"
)

// Source is the part of a ledger.Ledger that is published. An entry that was given once is given for ever.
type Source interface {
	Height(ctx context.Context) (uint64, error)
	Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error)
	Wait(ctx context.Context, from uint64) error
}

var _ Source = ledger.Ledger(nil)

// treeSource is a ledger that keeps the compact range of its leaves by itself, as the embedded one does. Then Open
// compares every leaf at the price of one root.
type treeSource interface {
	Tree() (size uint64, hashes [][]byte)
}
