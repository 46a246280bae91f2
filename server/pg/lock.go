package pg

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// lockKey gives a name its place among PostgreSQL's advisory locks.
func lockKey(name string) int64 {
	sum := sha256.Sum256([]byte("bund/lock/v1\x00" + name))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// LockTx waits for the lock of a name and holds it until the transaction ends.
func LockTx(ctx context.Context, tx *sqlx.Tx, name string) error {
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, lockKey(name)); err != nil {
		return fmt.Errorf("couldn't take the lock %s: %w", name, err)
	}
	return nil
}

// watchLockEvery is how often the connection that holds a lock is tried.
const watchLockEvery = 5 * time.Second

// WithLock runs fn if no other process holds the lock of this name, and reports whether it did. The lock belongs to a
// connection of its own: fn's context ends when that connection is lost, since another may then hold the lock. A job
// that must never run twice at once checks that in its own transactions too.
func WithLock(ctx context.Context, db *sqlx.DB, name string, fn func(ctx context.Context) error) (ran bool, err error) {
	conn, err := db.Connx(ctx)
	if err != nil {
		return false, fmt.Errorf("couldn't get a connection for the lock %s: %w", name, err)
	}
	defer conn.Close()
	var got bool
	if err := conn.GetContext(ctx, &got, `SELECT pg_try_advisory_lock($1)`, lockKey(name)); err != nil {
		return false, fmt.Errorf("couldn't take the lock %s: %w", name, err)
	}
	if !got {
		return false, nil
	}
	held, lose := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(watchLockEvery)
		defer tick.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-tick.C:
				if err := conn.PingContext(held); err != nil && held.Err() == nil {
					lose(fmt.Errorf("the lock %s was lost: %w", name, err))
				}
			}
		}
	}()
	err = fn(held)
	if cause := context.Cause(held); cause != nil && ctx.Err() == nil {
		err = errors.Join(err, cause)
	}
	lose(nil)
	<-watched
	// Unlocking must work after ctx ended, or the pool would keep a connection that holds the lock.
	unlock, cancel := context.WithTimeout(context.WithoutCancel(ctx), watchLockEvery)
	defer cancel()
	if _, uerr := conn.ExecContext(unlock, `SELECT pg_advisory_unlock($1)`, lockKey(name)); uerr != nil {
		conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool drops it
	}
	return true, err
}
