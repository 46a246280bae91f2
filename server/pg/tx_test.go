package pg_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

func table(t *testing.T) *sqlx.DB {
	db := pgtest.New(t)
	if _, err := db.Exec(`CREATE TABLE pair (k text CONSTRAINT pair_k PRIMARY KEY, n int CHECK (n > 0)); CREATE TABLE child (k text REFERENCES pair)`); err != nil {
		t.Fatal(err)
	}
	return db
}

func rows(t *testing.T, db *sqlx.DB) (n int) {
	t.Helper()
	if err := db.Get(&n, `SELECT count(*) FROM pair`); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWithTxCommitsOrRollsBack(t *testing.T) {
	db := table(t)
	insert := func(tx *sqlx.Tx, k string) {
		t.Helper()
		if _, err := tx.Exec(`INSERT INTO pair VALUES ($1, 1)`, k); err != nil {
			t.Fatal(err)
		}
	}
	if err := pg.WithTx(t.Context(), db, func(tx *sqlx.Tx) error { insert(tx, "a"); return nil }); err != nil {
		t.Fatal(err)
	}
	mine := errors.New("mine")
	if err := pg.WithTx(t.Context(), db, func(tx *sqlx.Tx) error { insert(tx, "b"); return mine }); err != mine {
		t.Errorf("got %v, want fn's own error", err)
	}
	func() {
		defer func() { recover() }()
		pg.WithTx(t.Context(), db, func(tx *sqlx.Tx) error { insert(tx, "c"); panic("lost") })
	}()
	if n := rows(t, db); n != 1 {
		t.Errorf("%d rows, want the committed one only", n)
	}
	if s := db.Stats(); s.InUse != 0 {
		t.Errorf("%d connections still in use", s.InUse)
	}
}

func TestErrorsAreTold(t *testing.T) {
	db := table(t)
	exec := func(q string) error { _, err := db.Exec(q); return err }
	if err := exec(`INSERT INTO pair VALUES ('a', 1)`); err != nil {
		t.Fatal(err)
	}
	unique := exec(`INSERT INTO pair VALUES ('a', 1)`)
	if !pg.IsUnique(unique) || !pg.IsUnique(unique, "pair_k") || pg.IsUnique(unique, "other") || pg.IsConflict(unique) || pg.IsUnavailable(unique) {
		t.Errorf("%v isn't told as unique", unique)
	}
	if err := exec(`INSERT INTO pair VALUES ('b', 0)`); !pg.IsCheck(err) || pg.IsUnique(err) {
		t.Errorf("%v isn't told as check", err)
	}
	if err := exec(`INSERT INTO child VALUES ('none')`); !pg.IsForeignKey(err) {
		t.Errorf("%v isn't told as foreign key", err)
	}
	for _, err := range []error{nil, sql.ErrNoRows, context.Canceled, errors.New("x")} {
		if pg.IsUnique(err) || pg.IsConflict(err) || pg.IsUnavailable(err) || pg.IsCheck(err) {
			t.Errorf("%v is told as something", err)
		}
	}
}

func TestSerializationFailureIsAConflict(t *testing.T) {
	db := table(t)
	if _, err := db.Exec(`INSERT INTO pair VALUES ('a', 1)`); err != nil {
		t.Fatal(err)
	}
	begin := func() *sqlx.Tx {
		tx, err := db.BeginTxx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := tx.Get(&n, `SELECT n FROM pair`); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	one, two := begin(), begin()
	defer two.Rollback()
	if _, err := one.Exec(`UPDATE pair SET n = 2`); err != nil {
		t.Fatal(err)
	}
	if err := one.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Exec(`UPDATE pair SET n = 3`); !pg.IsConflict(err) {
		t.Errorf("%v isn't told as a conflict", err)
	}
}

func TestLostConnectionsAreUnavailable(t *testing.T) {
	db := table(t)
	tx := db.MustBegin()
	defer tx.Rollback()
	var pid int
	if err := tx.Get(&pid, `SELECT pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`SELECT pg_terminate_backend($1)`, pid); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`SELECT 1`); !pg.IsUnavailable(err) {
		t.Errorf("%v isn't told as unavailable", err)
	}
	if _, err := pg.Connect(t.Context(), "postgres://x:secret@127.0.0.1:1/none?sslmode=disable", 1); !pg.IsUnavailable(err) {
		t.Errorf("%v isn't told as unavailable", err)
	}
}

func TestLostDuringCommitIsUnknown(t *testing.T) {
	db := table(t)
	// A deferred trigger ends its own connection while the transaction commits.
	if _, err := db.Exec(`
		CREATE FUNCTION kill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER kill AFTER INSERT ON pair DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION kill()`); err != nil {
		t.Fatal(err)
	}
	err := pg.WithTx(t.Context(), db, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`INSERT INTO pair VALUES ('a', 1)`)
		return err
	})
	if !errors.Is(err, pg.ErrCommitUnknown) || pg.IsUnavailable(err) {
		t.Errorf("got %v, want an unknown outcome, which is never to be tried again", err)
	}
}

func TestBadURLIsNotQuoted(t *testing.T) {
	_, err := pg.Connect(t.Context(), "postgres://bund:hunter2@h:badport/x", 1)
	if err == nil || errorHas(err, "hunter2") {
		t.Errorf("got %v", err)
	}
}
