package projection

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
)

// Table is a noun with one row per key: its newest record in canonical JSON, the position of the entry that wrote it,
// and columns to search by. The DDL of proj.<Name> has, in any order, "id text COLLATE "C" PRIMARY KEY", "position
// bigint NOT NULL", "record text NOT NULL", and the columns; none is null: an unset text is ”, an unset time 0.
type Table[T any] struct {
	Noun    string
	Name    string
	Columns []Column[T]
}

// Column gives one column's text, which PostgreSQL casts to the type.
type Column[T any] struct {
	name, cast string
	value      func(id string, rec *T) string
}

// Text is a text column.
func Text[T any, S ~string](name string, value func(*T) S) Column[T] {
	return Column[T]{name, "text", func(_ string, r *T) string { return string(value(r)) }}
}

// Int is a bigint column: a number, an amount, or a time in milliseconds.
func Int[T any, I ~int64](name string, value func(*T) I) Column[T] {
	return Column[T]{name, "bigint", func(_ string, r *T) string { return strconv.FormatInt(int64(value(r)), 10) }}
}

// Bool is a boolean column.
func Bool[T any](name string, value func(*T) bool) Column[T] {
	return Column[T]{name, "boolean", func(_ string, r *T) string { return strconv.FormatBool(value(r)) }}
}

// List is a text[] column.
func List[T any, S ~string](name string, value func(*T) []S) Column[T] {
	return Column[T]{name, "text[]", func(_ string, r *T) string { return Array(value(r)) }}
}

// Part is a text column that holds the i-th part of an id such as <agreement>/<period>.
func Part[T any](name string, i int) Column[T] {
	return Column[T]{name, "text", func(id string, _ *T) string {
		parts := strings.Split(id, "/")
		if i >= len(parts) {
			return ""
		}
		return parts[i]
	}}
}

// Of implements Noun.
func (t Table[T]) Of() string { return t.Noun }

// Fold implements Noun.
func (t Table[T]) Fold() Fold {
	return &rows[T]{table: t, at: map[string]int{}, cols: make([][]string, len(t.Columns))}
}

// rows are the newest rows of a batch, column by column.
type rows[T any] struct {
	table     Table[T]
	at        map[string]int // id → index
	ids       []string
	positions []string
	records   []string
	cols      [][]string
	deleted   []bool
}

func (r *rows[T]) Add(w Write) error {
	i, ok := r.at[w.ID]
	if !ok {
		i = len(r.ids)
		r.at[w.ID] = i
		r.ids, r.positions, r.records, r.deleted = append(r.ids, w.ID), append(r.positions, ""), append(r.records, ""), append(r.deleted, false)
		for c := range r.cols {
			r.cols[c] = append(r.cols[c], "")
		}
	}
	if r.deleted[i] = w.Value == nil; r.deleted[i] {
		return nil
	}
	rec, err := contracts.Read[T](w.Value)
	if err != nil {
		return fmt.Errorf("couldn't decode the record: %w", err)
	}
	r.positions[i], r.records[i] = strconv.FormatUint(w.Entry.Position, 10), string(w.Value)
	for c, col := range r.table.Columns {
		r.cols[c][i] = col.value(w.ID, rec)
	}
	return nil
}

func (r *rows[T]) Flush(ctx context.Context, tx *sqlx.Tx) error {
	if len(r.ids) == 0 {
		return nil
	}
	if gone := r.drop(); len(gone) > 0 {
		if _, err := tx.ExecContext(ctx, `DELETE FROM proj.`+r.table.Name+` WHERE id = ANY($1::text[])`, Array(gone)); err != nil {
			return fmt.Errorf("couldn't delete %s: %w", r.table.Name, err)
		}
	}
	u := Upsert{Table: "proj." + r.table.Name, Key: "id"}
	u.Add("id", "text", r.ids)
	u.Add("position", "bigint", r.positions)
	u.Add("record", "text", r.records)
	for c, col := range r.table.Columns {
		u.Add(col.name, col.cast, r.cols[c])
	}
	return u.Exec(ctx, tx)
}

// drop takes the deleted rows out of the batch and gives their ids.
func (r *rows[T]) drop() (gone []string) {
	kept := 0
	for i, id := range r.ids {
		if r.deleted[i] {
			gone = append(gone, id)
			continue
		}
		r.ids[kept], r.positions[kept], r.records[kept] = id, r.positions[i], r.records[i]
		for c := range r.cols {
			r.cols[c][kept] = r.cols[c][i]
		}
		kept++
	}
	r.ids, r.positions, r.records = r.ids[:kept], r.positions[:kept], r.records[:kept]
	for c := range r.cols {
		r.cols[c] = r.cols[c][:kept]
	}
	return gone
}
