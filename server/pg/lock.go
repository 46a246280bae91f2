package pg

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
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

// A holder's connection is tried every watchEvery, and lost when it doesn't answer within watchWithin. The server finds a
// client whose machine is gone later than that, by keepalives, see prepareHold: first the holder stops, then the lock is free.
const (
	watchEvery  = 2 * time.Second
	watchWithin = 5 * time.Second
	// retryHoldEvery is how long Hold waits before it tries again what PostgreSQL couldn't do.
	retryHoldEvery = time.Second
)

// prepareHold makes a session fit for a lock that is held for long: without it, a client whose machine is gone would keep
// the lock for two hours, and a role's timeouts would end the waiting or the session.
const prepareHold = `SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0`

// Hold runs a job while this process holds the lock of a name. It waits until the lock is free, and gives what run gives,
// or ctx's error when that comes first. The lock belongs to a connection of its own. When that is lost, run's context ends,
// and once run has returned Hold begins again; so it does when the database is away.
//
// Nothing makes an overlap impossible: the server may know of the loss before the holder does, and another then runs
// already. A job must be safe under that: it checks what it does in its own transactions, or does what is harmless twice.
// A proxy between here and PostgreSQL must leave a session its connection.
func Hold(ctx context.Context, db *sqlx.DB, name string, log *slog.Logger, run func(ctx context.Context) error) error {
	for {
		done, err := hold(ctx, db, name, log, run)
		if done {
			return err
		}
		log.WarnContext(ctx, "a job's lock is out of reach, trying again", "lock", name, "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryHoldEvery):
		}
	}
}

// hold waits for the lock once. It is done unless waiting again may help.
func hold(ctx context.Context, db *sqlx.DB, name string, log *slog.Logger, run func(ctx context.Context) error) (done bool, err error) {
	conn, err := db.Connx(ctx)
	if err != nil && ctx.Err() != nil {
		return true, ctx.Err()
	}
	if err != nil {
		return !IsUnavailable(err), fmt.Errorf("couldn't get a connection for the lock %s: %w", name, err)
	}
	// Its settings are no other's, and a lock that can't be given back ends with it: the pool drops it.
	defer conn.Close()
	defer conn.Raw(func(any) error { return driver.ErrBadConn })
	_, err = conn.ExecContext(ctx, prepareHold)
	if err == nil {
		// Who asks the server which process holds what, sees it.
		_, err = conn.ExecContext(ctx, `SELECT set_config('application_name', concat_ws(' ', nullif(current_setting('application_name'), ''), $1::text), false)`, "job "+name)
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, lockKey(name))
	}
	if err != nil && ctx.Err() != nil {
		return true, ctx.Err()
	}
	if err != nil {
		return !IsUnavailable(err), fmt.Errorf("couldn't take the lock %s: %w", name, err)
	}
	held, lose := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := watchHold(held, conn); err != nil {
			lose(fmt.Errorf("the lock %s was lost: %w", name, err))
		}
	})
	log.DebugContext(ctx, "holds a job's lock", "lock", name)
	err = run(held)
	lost := context.Cause(held)
	lose(nil)
	watching.Wait()
	if lost != nil && ctx.Err() == nil {
		return false, lost // what run gave is because of that, or comes again
	}
	// Also when ctx has ended: whoever waits for the lock needn't wait for the server to see the connection end.
	unlock, cancel := context.WithTimeout(context.WithoutCancel(ctx), watchWithin)
	defer cancel()
	if _, uerr := conn.ExecContext(unlock, `SELECT pg_advisory_unlock($1)`, lockKey(name)); uerr != nil {
		log.WarnContext(ctx, "couldn't give a job's lock back, its connection ends", "lock", name, "err", uerr)
	}
	return true, err
}

// watchHold says why a connection is lost; nil when ctx ends.
func watchHold(ctx context.Context, conn *sqlx.Conn) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// A context of its own: the end of a query's context ends the connection, and with it the lock.
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), watchWithin)
		err := conn.PingContext(try)
		cancel()
		if err != nil {
			return err
		}
	}
}
