package projection_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/server/pg/pgtest"
	"github.com/bund-exchange/bund/server/projection"
)

const boxes = `
CREATE SCHEMA box;
CREATE TABLE box.b_parents (name text PRIMARY KEY, made timestamptz NOT NULL, tags text[] NOT NULL, payload bytea);
CREATE TABLE box.a_children (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent text NOT NULL REFERENCES box.b_parents (name),
    twice  bigint GENERATED ALWAYS AS (id * 2) STORED,
    note   jsonb
);`

const rows = `
INSERT INTO box.b_parents VALUES ('乙', '2026-03-02T01:02:03.456789Z', '{"a b","c\"d\\e",NULL}', '\x00ff10'), ('a"', '2026-01-01Z', '{}', NULL);
INSERT INTO box.a_children (parent, note) VALUES ('乙', '{"n": 9007199254740993}'), ('a"', NULL), ('乙', 'null')`

func TestDumpAndLoad(t *testing.T) {
	ctx := context.Background()
	from, to := pgtest.New(t), pgtest.New(t)
	from.MustExec(boxes + rows)
	to.MustExec(boxes)
	var first, again bytes.Buffer
	dumpOf := func(db *sqlx.DB, b *bytes.Buffer) {
		t.Helper()
		if err := projection.Dump(ctx, db, "box", b); err != nil {
			t.Fatal(err)
		}
	}
	dumpOf(from, &first)
	if err := projection.Load(ctx, to, "box", bytes.NewReader(first.Bytes())); err != nil {
		t.Fatal(err)
	}
	dumpOf(to, &again)
	if first.String() != again.String() {
		t.Errorf("loaded:\n%s\ninstead of\n%s", again.String(), first.String())
	}
	if n := strings.Count(first.String(), "\n"); n != 2+5 {
		t.Errorf("%d lines:\n%s", n, first.String())
	}
	if _, err := to.Exec(`INSERT INTO box.a_children (parent) VALUES ('乙')`); err != nil {
		t.Errorf("the sequence doesn't go on: %v", err)
	}
	if err := projection.Load(ctx, to, "box", bytes.NewReader(first.Bytes())); err == nil || !strings.Contains(err.Error(), "already has rows") {
		t.Errorf("loading into a full schema: %v", err)
	}
	empty := pgtest.New(t)
	empty.MustExec(boxes)
	for name, bad := range map[string]string{
		"a row before any table": "[1]\n",
		"a foreign table":        first.String() + `{"table":"c","columns":["x"]}` + "\n",
		"a missing table":        first.String()[:strings.Index(first.String(), `{"table":"b_parents"`)],
		"other columns":          strings.Replace(first.String(), `"payload"`, `"load"`, 1),
		"a table twice":          first.String() + first.String(),
		"a cut line":             first.String()[:len(first.String())-5],
		"an unknown member":      strings.Replace(first.String(), `"table":`, `"x":1,"table":`, 1),
	} {
		if err := projection.Load(ctx, empty, "box", strings.NewReader(bad)); err == nil {
			t.Errorf("%s was loaded", name)
		}
	}
}

func TestDumpRefusesUnorderedTable(t *testing.T) {
	db := pgtest.New(t)
	db.MustExec(`CREATE SCHEMA box; CREATE TABLE box.heap (x int)`)
	err := projection.Dump(context.Background(), db, "box", &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "box.heap has no primary key") {
		t.Errorf("a table without a primary key: %v", err)
	}
}

// Whatever text a record holds, PostgreSQL gets it as it is.
func TestArrayIsRead(t *testing.T) {
	db := pgtest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("\"\\{},'\n \t%")))).Filter(func(s string) bool { return !strings.ContainsRune(s, 0) })
		want := rapid.SliceOfN(text, 0, 5).Draw(t, "texts")
		var got []string
		if err := db.Select(&got, `SELECT x FROM unnest($1::text[]) WITH ORDINALITY AS u (x, i) ORDER BY i`, projection.Array(want)); err != nil {
			t.Fatal(err)
		}
		if strings.Join(got, "\x00") != strings.Join(want, "\x00") || len(got) != len(want) {
			t.Fatalf("%q became %q", want, got)
		}
	})
}
