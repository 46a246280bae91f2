package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/bund-exchange/bund/server/pg/pgtest"
)

// A dataset that was imported from a table and is looked up in PostgreSQL has the digest and gives the answers of the
// file; and the lookup is made there.
func TestPostgres(t *testing.T) {
	t.Parallel()
	db, url := pgtest.NewURL(t)
	w := newTestWorld(t)
	d := w.m.agree(nil)
	w.provider.start()
	w.bank.start()
	w.registerConsents(companies[:3], 1000)
	w.ready(d)
	fromFile := make([]*callAnswer, 3)
	for i := range fromFile {
		var err error
		fromFile[i], err = w.call(d, i, nil)
		ok(t, err)
	}
	digest := func() string {
		t.Helper()
		ds, there := w.provider.n.vault.Dataset("tax")
		if !there {
			t.Fatal("no dataset")
		}
		return string(ds.Digest())
	}
	want := digest()
	w.provider.end()

	ok(t, os.WriteFile(filepath.Join(filepath.Dir(w.provider.config), "dsn"), []byte(url+"\n"), 0o600))
	config, err := os.ReadFile(w.provider.config)
	ok(t, err)
	ok(t, os.WriteFile(w.provider.config, append(config, "postgres: {dsnFile: dsn}\n"...), 0o600))
	db.MustExec(`CREATE SCHEMA tax; CREATE TABLE tax.facts (tax_score int, usc varchar(18), asof date, invoiced_12m numeric(20,2), red_ratio numeric(6,4))`)
	for i, c := range companies[:20] {
		db.MustExec(`INSERT INTO tax.facts (usc, asof, invoiced_12m, red_ratio, tax_score) VALUES
			($1, '2026-02-28', $2 + 0.75, 0.02, $3), ($1, '2026-01-31', $4 + 0.25, 0.01, $5)`, string(c), 2000+i, 70+i, 1000+i, 60+i)
	}
	schema := filepath.Join(t.TempDir(), "schema.yaml")
	ok(t, os.WriteFile(schema, []byte(testSchema), 0o600))
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"import", "--config", w.provider.config, "--dataset", "tax", "--schema", schema, "--table", "tax.facts"}, nil, &out, &errs); code != 0 {
		t.Fatalf("import: exit %d: %s", code, errs.String())
	}
	var imported struct{ Digest string }
	ok(t, json.Unmarshal(out.Bytes(), &imported))
	if imported.Digest != want {
		t.Errorf("the table's digest is %s, the file's %s", imported.Digest, want)
	}
	db.MustExec(`DROP SCHEMA tax CASCADE`) // the source isn't what answers

	w.provider.start()
	w.ready(d)
	if got := digest(); got != want {
		t.Errorf("served from %s, want %s", got, want)
	}
	for i, f := range fromFile {
		a, err := w.call(d, i, nil)
		ok(t, err)
		if a.Outcome != "FOUND" || !reflect.DeepEqual(a.Values, f.Values) || a.AsOf != f.AsOf {
			t.Errorf("%+v, from the file %+v", a, f)
		}
	}
	res := db.MustExec(`UPDATE bund_vault.` + `"ds_` + want[:56] + `" SET tax_score = '1' WHERE _key = '` + string(companies[1]) + `'`)
	if n, err := res.RowsAffected(); err != nil || n != 2 {
		t.Fatalf("%d rows changed: %v", n, err)
	}
	a, err := w.call(d, 1, nil)
	ok(t, err)
	if a.Values["tax_score"] != "1" {
		t.Errorf("%v: not looked up in PostgreSQL", a.Values)
	}
}
