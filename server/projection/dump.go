package projection

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/server/pg"
)

// A dump is text, a line each: for every table of a schema in order of name {"table":…,"columns":[…]}, then its rows in
// order of primary key, each a JSON array in the columns' order. Two databases with equal rows give equal bytes.

type tableHead struct {
	Table   string   `json:"table"`
	Columns []string `json:"columns"`
}

// Dump writes a schema's rows as of one moment. A table without a primary key is an error: its rows have no order.
func Dump(ctx context.Context, db *sqlx.DB, schema string, w io.Writer) error {
	tx, err := db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("couldn't begin a transaction: %w", err)
	}
	defer tx.Rollback()
	tables, err := listTables(ctx, tx, schema)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<16)
	for _, t := range tables {
		if err := t.dump(ctx, tx, out); err != nil {
			return fmt.Errorf("couldn't dump %s.%s: %w", schema, t.name, err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("couldn't write the dump: %w", err)
	}
	return nil
}

type dumpTable struct {
	schema, name string
	columns      []string
	key          []string // of the primary key, ready for ORDER BY
	parents      []string // tables of the schema that a foreign key names
}

func listTables(ctx context.Context, tx *sqlx.Tx, schema string) ([]dumpTable, error) {
	const list = `
SELECT c.relname AS name,
       (SELECT array_to_json(array_agg(a.attname ORDER BY a.attnum))::text FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       (SELECT array_to_json(array_agg(format('%I', a.attname) || CASE WHEN a.attcollation = 0 THEN '' ELSE ' COLLATE "C"' END
                                       ORDER BY k.place))::text
          FROM pg_index i CROSS JOIN unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
         WHERE i.indrelid = c.oid AND i.indisprimary) AS key,
       (SELECT array_to_json(array_agg(p.relname))::text FROM pg_constraint f JOIN pg_class p ON p.oid = f.confrelid
         WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid) AS parents
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
 ORDER BY c.relname COLLATE "C"`
	var rows []struct {
		Name                  string
		Columns, Key, Parents sql.NullString
	}
	if err := tx.SelectContext(ctx, &rows, list, schema); err != nil {
		return nil, fmt.Errorf("couldn't list the tables of %s: %w", schema, err)
	}
	var out []dumpTable
	for _, r := range rows {
		t := dumpTable{schema: schema, name: r.Name}
		for _, x := range []struct {
			from sql.NullString
			to   *[]string
		}{{r.Columns, &t.columns}, {r.Key, &t.key}, {r.Parents, &t.parents}} {
			if x.from.Valid {
				if err := json.Unmarshal([]byte(x.from.String), x.to); err != nil {
					return nil, fmt.Errorf("couldn't read the catalogue of %s.%s: %w", schema, r.Name, err)
				}
			}
		}
		if len(t.key) == 0 {
			return nil, fmt.Errorf("%s.%s has no primary key", schema, r.Name)
		}
		out = append(out, t)
	}
	return out, nil
}

func quoted(names ...string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
	}
	return strings.Join(q, ", ")
}

func (t dumpTable) path() string { return quoted(t.schema) + "." + quoted(t.name) }

func (t dumpTable) dump(ctx context.Context, tx *sqlx.Tx, out *bufio.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tableHead{t.name, t.columns}); err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, fmt.Sprintf(`SELECT json_build_array(%s)::text FROM %s ORDER BY %s`,
		quoted(t.columns...), t.path(), strings.Join(t.key, ", ")))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var line sql.RawBytes
		if err := rows.Scan(&line); err != nil {
			return err
		}
		out.Write(line)
		if err := out.WriteByte('\n'); err != nil {
			return err
		}
	}
	return rows.Err()
}

// loadBytes is about how much Load sends in one statement.
const loadBytes = 1 << 20

// Load fills the tables of a schema from a dump of it, in one transaction. They must be there, with the columns of the
// dump, and empty. Rows of tables that foreign keys name are loaded first.
func Load(ctx context.Context, db *sqlx.DB, schema string, r io.Reader) error {
	return pg.WithTx(ctx, db, func(tx *sqlx.Tx) error {
		tables, err := listTables(ctx, tx, schema)
		if err != nil {
			return err
		}
		byName := map[string]dumpTable{}
		for _, t := range tables {
			byName[t.name] = t
			var full bool
			if err := tx.GetContext(ctx, &full, `SELECT EXISTS (SELECT FROM `+t.path()+`)`); err != nil {
				return fmt.Errorf("couldn't look into %s.%s: %w", schema, t.name, err)
			}
			if full {
				return fmt.Errorf("%s.%s already has rows", schema, t.name)
			}
		}
		parts, err := readDump(r)
		if err != nil {
			return err
		}
		done := map[string]bool{}
		var load func(name string) error
		load = func(name string) error {
			if done[name] {
				return nil
			}
			done[name] = true
			t, ok := byName[name]
			if !ok {
				return fmt.Errorf("the dump has a table %s that %s lacks", name, schema)
			}
			for _, p := range t.parents {
				if err := load(p); err != nil {
					return err
				}
			}
			part, ok := parts[name]
			if !ok {
				return fmt.Errorf("the dump lacks the table %s", name)
			}
			return t.load(ctx, tx, part)
		}
		for _, t := range tables {
			if err := load(t.name); err != nil {
				return err
			}
			delete(parts, t.name)
		}
		for name := range parts {
			return fmt.Errorf("the dump has a table %s that %s lacks", name, schema)
		}
		return resetSequences(ctx, tx, schema)
	})
}

type dumpPart struct {
	columns []string
	rows    []string
}

func readDump(r io.Reader) (map[string]*dumpPart, error) {
	parts := map[string]*dumpPart{}
	in := bufio.NewReaderSize(r, 1<<16)
	var part *dumpPart
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return parts, nil
		}
		if err != nil {
			return nil, fmt.Errorf("couldn't read the dump: %w", err)
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "{"):
			var h tableHead
			d := json.NewDecoder(strings.NewReader(line))
			d.DisallowUnknownFields()
			if err := d.Decode(&h); err != nil || parts[h.Table] != nil {
				return nil, errors.New("couldn't read the dump: a table's line is malformed or there twice")
			}
			part = &dumpPart{columns: h.Columns}
			parts[h.Table] = part
		case part != nil && strings.HasPrefix(line, "["):
			part.rows = append(part.rows, line)
		default:
			return nil, errors.New("couldn't read the dump: a line is neither a table nor a row")
		}
	}
}

func (t dumpTable) load(ctx context.Context, tx *sqlx.Tx, part *dumpPart) error {
	if strings.Join(part.columns, "\x00") != strings.Join(t.columns, "\x00") {
		return fmt.Errorf("the dump's columns of %s are not the table's", t.name)
	}
	var names []string
	for i, c := range t.columns {
		names = append(names, fmt.Sprintf(`%s, r->%d`, "'"+strings.ReplaceAll(c, "'", "''")+"'", i))
	}
	insert := fmt.Sprintf(`INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE
SELECT %s FROM json_array_elements($1::json) AS x (r), json_populate_record(NULL::%s, json_build_object(%s)) AS row`,
		t.path(), quoted(t.columns...), "row."+strings.ReplaceAll(quoted(t.columns...), ", ", ", row."), t.path(), strings.Join(names, ", "))
	for rows := part.rows; len(rows) > 0; {
		n, size := 0, 0
		for n < len(rows) && (n == 0 || size < loadBytes) {
			size += len(rows[n])
			n++
		}
		if _, err := tx.ExecContext(ctx, insert, "["+strings.Join(rows[:n], ",")+"]"); err != nil {
			return fmt.Errorf("couldn't load %s: %w", t.name, err)
		}
		rows = rows[n:]
	}
	return nil
}

// resetSequences makes serial columns go on behind the loaded rows.
func resetSequences(ctx context.Context, tx *sqlx.Tx, schema string) error {
	const list = `
SELECT format('SELECT setval(%L, coalesce((SELECT max(%I) FROM %I.%I), 0) + 1, false)',
              pg_get_serial_sequence(format('%I.%I', table_schema, table_name), column_name), column_name, table_schema, table_name)
  FROM information_schema.columns
 WHERE table_schema = $1 AND pg_get_serial_sequence(format('%I.%I', table_schema, table_name), column_name) IS NOT NULL`
	var sets []string
	if err := tx.SelectContext(ctx, &sets, list, schema); err != nil {
		return fmt.Errorf("couldn't list the sequences of %s: %w", schema, err)
	}
	for _, s := range sets {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("couldn't set a sequence of %s: %w", schema, err)
		}
	}
	return nil
}
