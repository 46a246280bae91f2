package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"
)

// Postgres is a source of one table or view of the database that the caller opened, in one snapshot of it. Its columns
// have the schema's field names, in any order; a view makes them so where the table's are others.
//
//	text, code   text, varchar, char
//	integer      smallint, integer, bigint
//	decimal      numeric, the integers; real and double precision by their shortest text
//	boolean      boolean
//	date         date
//	time         timestamptz
//
// Any field may also be text, written as in CSV. Lines of faults are rows from 1, in the order in which the database
// gave them.
func Postgres(db *sqlx.DB, schema, table string) Source { return pgSource{db, schema, table} }

type pgSource struct {
	db            *sqlx.DB
	schema, table string
}

func (pgSource) kind() string { return "postgres" }

func (p pgSource) open(ctx context.Context, schema *Schema) (_ rowReader, err error) {
	tx, err := p.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("couldn't read table: %w", err)
	}
	defer func() {
		if err != nil {
			tx.Rollback()
		}
	}()
	// What the columns are written as must not depend on the server's configuration.
	if _, err := tx.ExecContext(ctx, `SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1`); err != nil {
		return nil, fmt.Errorf("couldn't read table: %w", err)
	}
	var columns []struct {
		Name string `db:"name"`
		Type string `db:"type"`
	}
	err = tx.SelectContext(ctx, &columns, `
		SELECT a.attname AS name, t.typname AS type
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY a.attnum`, p.schema, p.table)
	if err != nil {
		return nil, fmt.Errorf("couldn't read table's columns: %w", err)
	}
	if len(columns) == 0 {
		return nil, &Fault{Code: FileEmpty, Detail: "there is no such table, or it can't be seen"}
	}
	names, exprs := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	order, err := columnOrder(schema, names)
	if err != nil {
		return nil, err
	}
	r := &pgRows{tx: tx, order: order, float: make([]int, len(columns)), values: make([]string, len(schema.Fields))}
	var faults Faults
	for i, c := range columns {
		f := &schema.Fields[order[i]]
		expr, ok := pgText(c.Type, f.Type)
		if !ok {
			faults = append(faults, &Fault{Code: ColumnType, Field: f.Name, Detail: fmt.Sprintf("a column of %s can't be read as %s", clip(c.Type), f.Type)})
		}
		exprs[i] = fmt.Sprintf(expr, quoteIdent(c.Name))
		r.float[i] = map[string]int{"float4": 32, "float8": 64}[c.Type]
	}
	if len(faults) > 0 {
		return nil, faults[:min(len(faults), maxFaults)]
	}
	r.rows, err = tx.QueryContext(ctx, "SELECT "+strings.Join(exprs, ", ")+" FROM "+quoteIdent(p.schema)+"."+quoteIdent(p.table))
	if err != nil {
		return nil, fmt.Errorf("couldn't read table: %w", err)
	}
	r.texts, r.into = make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range r.texts {
		r.into[i] = &r.texts[i]
	}
	return r, nil
}

// pgText gives the expression that writes a column as CSV would.
func pgText(column string, want Type) (expr string, ok bool) {
	switch column {
	case "text", "varchar", "bpchar", "name":
		return "%s::text", true
	case "int2", "int4", "int8":
		return "%s::text", want == Integer || want == Decimal
	case "numeric", "float4", "float8":
		return "%s::text", want == Decimal
	case "bool":
		return "%s::text", want == Boolean
	case "date":
		return "to_char(%s, 'YYYY-MM-DD')", want == Date
	case "timestamptz":
		return `to_char(%s, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`, want == Instant
	}
	return "%s::text", false
}

// quoteIdent quotes a name for SQL.
func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

type pgRows struct {
	tx     *sqlx.Tx
	rows   *sql.Rows
	order  []int // column → field
	float  []int // bits of a floating-point column, else 0
	texts  []sql.NullString
	into   []any
	values []string
	line   int64
}

func (r *pgRows) next() ([]string, int64, error) {
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return nil, 0, fmt.Errorf("couldn't read table: %w", err)
		}
		return nil, 0, io.EOF
	}
	if err := r.rows.Scan(r.into...); err != nil {
		return nil, 0, fmt.Errorf("couldn't read table: %w", err)
	}
	r.line++
	for i, t := range r.texts {
		text := t.String
		if !t.Valid {
			text = ""
		} else if r.float[i] != 0 {
			// PostgreSQL writes the shortest text, but with an exponent.
			if v, err := strconv.ParseFloat(text, r.float[i]); err == nil {
				text = strconv.FormatFloat(v, 'f', -1, r.float[i])
			}
		}
		r.values[r.order[i]] = text
	}
	return r.values, r.line, nil
}

func (r *pgRows) close() error { return errors.Join(r.rows.Close(), r.tx.Rollback()) }
