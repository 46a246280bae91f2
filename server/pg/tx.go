package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// ErrCommitUnknown means that the connection was lost while a transaction was committing: it may have been committed.
var ErrCommitUnknown = errors.New("the connection was lost during commit, outcome unknown")

// WithTx runs fn in a transaction (read committed) and commits it when fn gives nil. An error of fn, or a panic, rolls
// back and is passed on as it is. fn must not keep the transaction.
func WithTx(ctx context.Context, db *sqlx.DB, fn func(tx *sqlx.Tx) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("couldn't begin a transaction: %w", err)
	}
	defer tx.Rollback() // nothing to do after a commit
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		if lost(err) {
			return fmt.Errorf("%w: %w", ErrCommitUnknown, err)
		}
		return fmt.Errorf("couldn't commit: %w", err)
	}
	return nil
}
