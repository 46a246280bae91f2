package pg_test

import (
	"context"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

func TestMigrateIsSafeForSeveralProcesses(t *testing.T) {
	db := pgtest.Empty(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = pg.Migrate(t.Context(), db, nil) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	var n int
	if err := db.Get(&n, `SELECT count(*) FROM app.accounts`); err != nil {
		t.Errorf("after Migrate: %v", err)
	}
}

func TestMigrateRefusesNewerDatabase(t *testing.T) {
	db := pgtest.New(t)
	if _, err := db.Exec(`INSERT INTO public.bund_migration (version_id, is_applied) VALUES (9999, true)`); err != nil {
		t.Fatal(err)
	}
	err := pg.Migrate(t.Context(), db, nil)
	if err == nil || !strings.Contains(err.Error(), "newer release") {
		t.Errorf("got %v, want an error about a newer release", err)
	}
}

func TestMigrationsAreNumbered(t *testing.T) {
	files, err := fs.Glob(pg.Migrations(), "*")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^(\d{4})_[a-z_]+\.sql$`)
	last := 0
	for _, f := range files {
		m := name.FindStringSubmatch(f)
		if m == nil {
			t.Fatalf("%s: want 0001_name.sql", f)
		}
		n, _ := strconv.Atoi(m[1])
		if n <= last {
			t.Errorf("%s: the number %d is there twice", f, n)
		}
		last = n
		b, _ := fs.ReadFile(pg.Migrations(), f)
		if strings.Contains(string(b), "NO TRANSACTION") {
			t.Errorf("%s: a migration is one transaction", f)
		}
		// A rebuilt projection must be the same, byte for byte.
		for _, table := range regexp.MustCompile(`(?is)CREATE TABLE proj\..*?;`).FindAllString(string(b), -1) {
			if regexp.MustCompile(`(?i)now\(|random|serial|identity|current_`).MatchString(table) {
				t.Errorf("%s: a table of proj depends on something other than the ledger: %s", f, table)
			}
		}
	}
}

func TestDownMigrationsUndoUp(t *testing.T) {
	db := pgtest.New(t)
	files, err := fs.Glob(pg.Migrations(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for i := len(files) - 1; i >= 0; i-- {
		b, err := fs.ReadFile(pg.Migrations(), files[i])
		if err != nil {
			t.Fatal(err)
		}
		_, down, ok := strings.Cut(string(b), "-- +goose Down")
		if !ok {
			t.Fatalf("%s has no way down", files[i])
		}
		if _, err := db.ExecContext(context.Background(), down); err != nil {
			t.Fatalf("%s down: %v", files[i], err)
		}
	}
	var left []string
	if err := db.Select(&left, `SELECT nspname FROM pg_namespace WHERE nspname IN ('app', 'proj')`); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
