package polish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/deploy/sample/polish"
	"github.com/bund-exchange/bund/node/vault"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

// The vault's PostgreSQL side is tested here and not in its own package: a node imports no server code, and the test
// database is the server's. Here both may meet.

var noon = time.Date(2024, 6, 1, 12, 0, 0, 0, contracts.Shanghai)

func openVault(t *testing.T, dir string, tables *sqlx.DB) *vault.Vault {
	t.Helper()
	v, err := vault.Open(vault.Config{Dir: dir, Now: func() time.Time { return noon }, Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func entry(name string, typ vault.Type) vault.Field {
	f := vault.Field{Name: name, Title: name, TitleEn: name, Type: typ, Nullable: true, Empty: "无", EmptyEn: "none"}
	if typ == vault.Decimal {
		f.Scale = 18
	}
	return f
}

func everyType() *vault.Schema {
	key, day := entry("k", vault.Text), entry("d", vault.Date)
	known := entry("t", vault.Instant)
	for _, f := range []*vault.Field{&key, &day, &known} {
		f.Nullable, f.Empty, f.EmptyEn = false, "", ""
	}
	return &vault.Schema{Key: "k", AsOf: "d", KnownAt: "t", Fields: []vault.Field{key, day, known, entry("n", vault.Integer), entry("num", vault.Decimal),
		entry("f4", vault.Decimal), entry("f8", vault.Decimal), entry("ok", vault.Boolean), entry("note", vault.Text)}}
}

const everyTypeCSV = `k,d,t,n,num,f4,f8,ok,note
a,2024-01-31,2024-02-01T00:00:00.250Z,-7,123.45,0.1,0.0000001,true,"line one
line two"
a,2024-01-31,2024-03-01T00:00:00Z,8,-0.001,,100000000000000000000,false,
啊,2024-02-29,2024-03-01T08:00:00+08:00,,,,,,"with "", comma"
`

func makeTable(t *testing.T, db *sqlx.DB) {
	t.Helper()
	db.MustExec(`CREATE SCHEMA "Data";
		CREATE TABLE "Data".facts (note text, gone int, k varchar(20), d date, t timestamptz, n bigint, num numeric(20,4), f4 real, f8 double precision, ok boolean);
		ALTER TABLE "Data".facts DROP COLUMN gone;
		INSERT INTO "Data".facts (k, d, t, n, num, f4, f8, ok, note) VALUES
		('啊', '2024-02-29', '2024-03-01 08:00:00+08', NULL, NULL, NULL, NULL, NULL, 'with ", comma'),
		('a', '2024-01-31', '2024-03-01 00:00:00+00', 8, -0.0010, NULL, 1e20, false, ''),
		('a', '2024-01-31', '2024-02-01 00:00:00.25+00', -7, 123.45, 0.1, 1e-7, true, E'line one\nline two')`)
}

func TestTableGivesTheDigestOfCSV(t *testing.T) {
	db, ctx := pgtest.New(t), context.Background()
	makeTable(t, db)
	// A session set up otherwise must make no difference. There is one, so that the import gets this one.
	db.SetMaxOpenConns(1)
	db.MustExec(`SET datestyle = 'German'; SET timezone = 'America/New_York'; SET extra_float_digits = 0`)
	v := openVault(t, t.TempDir(), nil)
	defer v.Close()
	want, err := v.Import(ctx, "csv", everyType(), vault.CSV(strings.NewReader(everyTypeCSV)), 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Import(ctx, "pg", everyType(), vault.Postgres(db, "Data", "facts"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Verify(ctx); err != nil || got.Digest() != want.Digest() || got.Source != "postgres" || !slices.Equal(got.Quality(), want.Quality()) {
		t.Errorf("%d rows with digest %s from %s, want %s: %v", got.Rows(), got.Digest(), got.Source, want.Digest(), err)
	}
	db.MustExec(`CREATE VIEW renamed AS SELECT k, d, t, n, num, f4, f8, ok, note FROM "Data".facts`)
	if view, err := v.Import(ctx, "pg", everyType(), vault.Postgres(db, "public", "renamed"), 0); err != nil || view.Digest() != want.Digest() {
		t.Errorf("the view: %v", err)
	}
	if n := db.Stats().InUse; n != 0 {
		t.Errorf("%d connections are still in use", n)
	}
}

func TestTableFaults(t *testing.T) {
	db, ctx := pgtest.New(t), context.Background()
	makeTable(t, db)
	v := openVault(t, t.TempDir(), nil)
	defer v.Close()
	for name, c := range map[string]struct {
		change string
		code   vault.FaultCode
		field  string
	}{
		"no table":          {`DROP TABLE "Data".facts`, vault.FileEmpty, ""},
		"column too many":   {`ALTER TABLE "Data".facts ADD extra int`, vault.HeaderUnknown, "extra"},
		"column missing":    {`ALTER TABLE "Data".facts DROP ok`, vault.HeaderMissing, "ok"},
		"folded name":       {`ALTER TABLE "Data".facts RENAME ok TO "OK"`, vault.HeaderUnknown, "OK"},
		"time without zone": {`ALTER TABLE "Data".facts ALTER t TYPE timestamp`, vault.ColumnType, "t"},
		"float as integer":  {`ALTER TABLE "Data".facts ALTER n TYPE real`, vault.ColumnType, "n"},
		"JSON":              {`ALTER TABLE "Data".facts DROP note; ALTER TABLE "Data".facts ADD note jsonb`, vault.ColumnType, "note"},
		"too fine a time":   {`UPDATE "Data".facts SET t = t + interval '1 microsecond' WHERE k = 'a'`, vault.ValueType, "t"},
		"infinite date":     {`UPDATE "Data".facts SET d = 'infinity'`, vault.ValueMissing, "d"},
		"NaN":               {`UPDATE "Data".facts SET num = 'NaN'`, vault.ValueType, "num"},
		"infinite float":    {`UPDATE "Data".facts SET f8 = '-infinity'`, vault.ValueType, "f8"},
		"no key":            {`UPDATE "Data".facts SET k = NULL WHERE k = '啊'`, vault.ValueMissing, "k"},
		"same key":          {`INSERT INTO "Data".facts SELECT * FROM "Data".facts`, vault.KeyDuplicate, "k"},
	} {
		t.Run(name, func(t *testing.T) {
			db.MustExec(`DROP SCHEMA "Data" CASCADE`)
			makeTable(t, db)
			db.MustExec(c.change)
			_, err := v.Import(ctx, "pg", everyType(), vault.Postgres(db, "Data", "facts"), 0)
			var faults vault.Faults
			if !errors.As(err, &faults) || faults[0].Code != c.code || faults[0].Field != c.field {
				t.Errorf("got %v, want %s of %s", err, c.code, c.field)
			}
			if n := db.Stats().InUse; n != 0 {
				t.Errorf("%d connections are still in use", n)
			}
		})
	}
	db.Close()
	_, err := v.Import(ctx, "pg", everyType(), vault.Postgres(db, "Data", "facts"), 0)
	var faults vault.Faults
	if err == nil || errors.As(err, &faults) {
		t.Errorf("a closed database gives %v", err)
	}
}

// TestLookupsInTables: by option, the same questions are answered by PostgreSQL with the same answers.
func TestLookupsInTables(t *testing.T) {
	db, ctx := pgtest.New(t), context.Background()
	dir := t.TempDir()
	v := openVault(t, dir, db)
	d, err := v.Import(ctx, "facts", everyType(), vault.CSV(strings.NewReader(everyTypeCSV)), 0)
	if err != nil {
		t.Fatal(err)
	}
	same := func(d *vault.Dataset) {
		t.Helper()
		times := []contracts.Millis{0, ms(2024, 1, 30), ms(2024, 1, 31), ms(2024, 2, 15), ms(2024, 5, 1), -1}
		for _, key := range []string{"a", "啊", "b", "", "A"} {
			for _, fields := range [][]string{everyType().Names(), {"note", "n"}, {"none"}, nil} {
				for _, asOf := range times {
					for _, knownAt := range times {
						q := vault.Query{Key: key, Fields: fields, AsOf: asOf, KnownAt: knownAt}
						got, want := d.Lookup(ctx, q), d.Snapshot.Lookup(ctx, q)
						if fmt.Sprint(got) != fmt.Sprint(want) {
							t.Fatalf("%+v: got %+v, want %+v", q, got, want)
						}
					}
				}
			}
		}
	}
	same(d)
	var tables []string
	list := func() []string {
		tables = nil
		if err := db.Select(&tables, `SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'bund_vault' AND relkind = 'r'`); err != nil {
			t.Fatal(err)
		}
		return tables
	}
	if got := list(); len(got) != 1 || !strings.Contains(got[0], string(d.Digest())[:40]) {
		t.Errorf("tables are %v", got)
	}

	gone, cancel := context.WithCancel(ctx)
	cancel()
	if a := d.Lookup(gone, vault.Query{Key: "a", Fields: []string{"n"}}); a.Outcome != vault.SourceTimeout || a.Err == nil {
		t.Errorf("got %+v", a)
	}

	// A later import: lookups move to its table, and the earlier one can be forgotten.
	earlier := d.Digest()
	d, err = v.Import(ctx, "facts", everyType(), vault.CSV(strings.NewReader(everyTypeCSV+"b,2024-01-31,2024-02-01T00:00:00Z,1,1,1,1,true,x\n")), 0)
	if err != nil {
		t.Fatal(err)
	}
	same(d)
	if err := v.Forget("facts", earlier); err != nil {
		t.Error(err)
	}
	if got := list(); len(got) != 1 {
		t.Errorf("tables are %v", got)
	}
	// A table that is gone is made again at open.
	v.Close()
	db.MustExec(`DROP SCHEMA bund_vault CASCADE`)
	v = openVault(t, dir, db)
	defer v.Close()
	d, _ = v.Dataset("facts")
	same(d)
	// A database that fails is an error of the source.
	db.MustExec(`DROP SCHEMA bund_vault CASCADE`)
	if a := d.Lookup(ctx, vault.Query{Key: "a", Fields: []string{"n"}}); a.Outcome != vault.SourceError || a.Err == nil {
		t.Errorf("got %+v", a)
	}
	// An import that can't copy keeps the former snapshot.
	former := d.Digest()
	db.Close()
	if _, err := v.Import(ctx, "facts", everyType(), vault.CSV(strings.NewReader(everyTypeCSV)), 0); err == nil {
		t.Error("imported without the database")
	}
	if d, _ := v.Dataset("facts"); d.Digest() != former {
		t.Error("a failed import changed the current snapshot")
	}
}

func ms(year int, month time.Month, day int) contracts.Millis {
	return contracts.Millis(time.Date(year, month, day, 0, 0, 0, 0, contracts.Shanghai).UnixMilli())
}

func BenchmarkLookupTwentyFields(b *testing.B) {
	schema, err := vault.ReadSchema(polish.ProviderDictionary())
	if err != nil {
		b.Fatal(err)
	}
	companies := companies(b)
	var text bytes.Buffer
	if err := polish.WriteProvider(&text, companies); err != nil {
		b.Fatal(err)
	}
	fields := polish.Names(polish.ProviderColumns[:20])
	for name, db := range map[string]*sqlx.DB{"file": nil, "postgres": pgtest.New(b)} {
		v, err := vault.Open(vault.Config{Dir: b.TempDir(), Now: time.Now, Tables: db})
		if err != nil {
			b.Fatal(err)
		}
		defer v.Close()
		d, err := v.Import(context.Background(), "polish", schema, vault.CSV(bytes.NewReader(text.Bytes())), polish.AsOf)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				if a := d.Lookup(context.Background(), vault.Query{Key: string(companies[i*7919%len(companies)].Code), Fields: fields}); a.Outcome != vault.Found {
					b.Fatal(a)
				}
			}
		})
	}
}
