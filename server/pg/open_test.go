package pg_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/server/pg"
)

func errorHas(err error, s string) bool { return strings.Contains(err.Error(), s) }

func TestOpenManagedKeepsItsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a folder with 'quotes' and spaces")
	open := func() *pg.Database {
		t.Helper()
		db, err := pg.Open(t.Context(), pg.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	if _, err := db.Exec(`CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)`); err != nil {
		t.Fatal(err)
	}
	if _, err := pg.Open(t.Context(), pg.Config{Dir: dir}); err == nil {
		t.Error("the folder was opened twice")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	<-db.Lost()
	db = open()
	defer db.Close()
	var n int
	var zone string
	if err := db.QueryRow(`SELECT n, current_setting('timezone') FROM kept`).Scan(&n, &zone); err != nil || n != 7 || zone != "UTC" {
		t.Errorf("got %d, %s, %v", n, zone, err)
	}
}
