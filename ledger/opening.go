package ledger

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
)

// Openings keeps private values, deletable, for their audience only. Put returns once all are durable; putting the
// same again is harmless. It runs before the entry is written, so after a crash there may be openings of commands that
// were never accepted: whoever keeps them may drop those once a Lookup says never.
type Openings interface {
	Put(ctx context.Context, openings []Opening) error
}

// Opening is a private value of a command that is about to be accepted.
type Opening struct {
	contracts.KeptOpening
	Command contracts.ID
}
