package pg_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

// holder is a job on one replica.
type holder struct {
	name    string
	runs    chan context.Context // a run begins, with its context
	end     chan error           // what it shall end with, unless its context ends before
	stopped chan error           // Hold has returned
	stop    context.CancelFunc
}

// start begins to hold a lock with a pool of its own, named in PostgreSQL.
func start(t *testing.T, u, name, lock string) *holder {
	t.Helper()
	db, err := pg.Connect(t.Context(), u+separator(u)+"application_name="+name, 2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	h := &holder{name: name, runs: make(chan context.Context), end: make(chan error), stopped: make(chan error, 1), stop: stop}
	go func() {
		h.stopped <- pg.Hold(ctx, db, lock, slog.New(slog.NewTextHandler(io.Discard, nil)), func(ctx context.Context) error {
			h.runs <- ctx
			select {
			case err := <-h.end:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(func() { stop(); db.Close() })
	return h
}

func separator(u string) string {
	if strings.Contains(u, "?") {
		return "&"
	}
	return "?"
}

// within waits for what must come, much longer than it takes.
func within[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatalf("%s: nothing came", what)
	}
	return v
}

// sessions waits until so many sessions of a replica hold a lock or wait for one.
func sessions(t *testing.T, db *sqlx.DB, name string, granted bool, want int) {
	t.Helper()
	const q = `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND a.datname = current_database() AND a.application_name LIKE $1 || ' job %' AND l.granted = $2`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := -1; n != want; {
		if err := db.GetContext(ctx, &n, q, name, granted); err != nil {
			t.Fatalf("%d sessions of %s (granted: %v), want %d: %v", n, name, granted, want, err)
		}
	}
}

func TestHoldExcludes(t *testing.T) {
	db, u := pgtest.NewURL(t)
	first := start(t, u, "first", "job")
	within(t, "first", first.runs)
	second := start(t, u, "second", "job")
	other := start(t, u, "other", "another job")
	within(t, "another lock", other.runs)
	sessions(t, db, "second", false, 1)
	select {
	case <-second.runs:
		t.Fatal("two hold the lock")
	default:
	}

	// What run gives is what Hold gives, and the lock is free then.
	failure := errors.New("failure")
	first.end <- failure
	if err := within(t, "first", first.stopped); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	within(t, "second", second.runs)
	second.end <- nil
	if err := within(t, "second", second.stopped); err != nil {
		t.Errorf("got %v", err)
	}

	// The end of the context ends a run, a wait, and leaves nothing behind.
	third := start(t, u, "third", "job")
	ctx := within(t, "third", third.runs)
	fourth := start(t, u, "fourth", "job")
	sessions(t, db, "fourth", false, 1)
	fourth.stop()
	if err := within(t, "fourth", fourth.stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	sessions(t, db, "fourth", false, 0)
	third.stop()
	if err := within(t, "third", third.stopped); !errors.Is(err, context.Canceled) || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
	var free bool
	if err := db.Get(&free, `SELECT NOT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND a.datname = current_database() AND a.application_name NOT LIKE 'other %')`); err != nil || !free {
		t.Errorf("the lock is still held (%v)", err)
	}
}

// The holder's connection ends under it: the next one runs, the holder's run ends, and it waits for its turn again.
func TestHoldIsTakenOver(t *testing.T) {
	db, u := pgtest.NewURL(t)
	first := start(t, u, "first", "job")
	lost := within(t, "first", first.runs)
	second := start(t, u, "second", "job")
	sessions(t, db, "second", false, 1)
	terminate := func(name string) {
		t.Helper()
		var ended bool
		if err := db.Get(&ended, `SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`,
			name+" job job"); err != nil || !ended {
			t.Fatalf("couldn't end the session of %s: %v", name, err)
		}
	}
	terminate("first")
	held := within(t, "second", second.runs)
	within(t, "the end of the first run", lost.Done())
	if cause := context.Cause(lost); cause == nil || !strings.Contains(cause.Error(), "the lock job was lost") {
		t.Errorf("the first run ended because of %v", cause)
	}
	sessions(t, db, "first", false, 1)
	if held.Err() != nil {
		t.Error("the second run ended, too")
	}
	// One that waits loses its connection: it waits again.
	terminate("first")
	sessions(t, db, "first", false, 1)
	terminate("second")
	within(t, "first, again", first.runs)
	within(t, "the end of the second run", held.Done())
}
