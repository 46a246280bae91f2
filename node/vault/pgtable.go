package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
)

// table is a copy of a snapshot in the node's PostgreSQL, for lookups there (Config.Tables). Its name comes from the
// digest, it is made in one transaction and never changed, so it is whole or absent. Whoever may write to the database
// can change it, which the snapshot file would show; the file stays what the digest is about.
type table struct {
	db     *sqlx.DB
	lookup lookup
	digest contracts.Hash
	find   *sql.Stmt
}

const tableSchema = "bund_vault"

// A PostgreSQL name has 63 bytes at most: 56 hex digits are 28 bytes of the digest.
func tableName(digest contracts.Hash) string {
	return quoteIdent(tableSchema) + "." + quoteIdent("ds_"+string(digest)[:56])
}

// copyTable makes the table if it isn't there.
func copyTable(ctx context.Context, db *sqlx.DB, s *Snapshot) (*table, error) {
	t := &table{db: db, lookup: newLookup(s.Schema()), digest: s.Digest()}
	if err := t.fill(ctx, s); err != nil {
		return nil, fmt.Errorf("couldn't copy snapshot into PostgreSQL: %w", err)
	}
	columns := make([]string, len(s.Schema().Fields))
	for i, name := range s.Schema().Names() {
		columns[i] = quoteIdent(name)
	}
	var err error
	t.find, err = db.PrepareContext(ctx, `SELECT `+strings.Join(columns, ", ")+` FROM `+tableName(t.digest)+`
		WHERE _key = $1 AND ($2::bigint = 0 OR _as_of <= $2) AND ($3::bigint = 0 OR _known_at <= $3)
		ORDER BY _as_of DESC, _known_at DESC LIMIT 1`)
	if err != nil {
		return nil, fmt.Errorf("couldn't prepare lookup: %w", err)
	}
	return t, nil
}

func (t *table) fill(ctx context.Context, s *Snapshot) error {
	tx, err := t.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// One at a time: CREATE … IF NOT EXISTS fails where two do it at once.
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext('bund_vault'))`); err != nil {
		return err
	}
	var there bool
	if err := tx.GetContext(ctx, &there, `SELECT to_regclass($1) IS NOT NULL`, tableName(t.digest)); err != nil || there {
		return err
	}
	columns := []string{"_key", "_as_of", "_known_at"}
	definition := `_key text COLLATE "C" NOT NULL, _as_of bigint NOT NULL, _known_at bigint NOT NULL`
	for _, name := range s.Schema().Names() {
		columns = append(columns, quoteIdent(name))
		definition += ", " + quoteIdent(name) + " text"
	}
	if _, err := tx.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS `+quoteIdent(tableSchema)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `CREATE TABLE `+tableName(t.digest)+` (`+definition+`, PRIMARY KEY (_key, _as_of, _known_at))`); err != nil {
		return err
	}
	in := &inserts{tx: tx, head: `INSERT INTO ` + tableName(t.digest) + ` (` + strings.Join(columns, ", ") + `) VALUES `, width: len(columns)}
	values := make([][]byte, len(s.Schema().Fields))
	err = s.each(ctx, func(_ int64, row []byte) error {
		if err := splitRow(values, row); err != nil {
			return err
		}
		asOf, knownAt := t.lookup.times(values)
		return in.add(ctx, string(values[t.lookup.key]), asOf, knownAt, values)
	})
	if err != nil {
		return err
	}
	if err := in.flush(ctx); err != nil {
		return err
	}
	return tx.Commit()
}

// inserts gathers rows into statements of many.
type inserts struct {
	tx    *sqlx.Tx
	head  string
	width int
	args  []any
	bytes int
}

const (
	maxInsertArgs  = 20_000 // the protocol allows 65,535
	maxInsertBytes = 1 << 20
)

func (in *inserts) add(ctx context.Context, key string, asOf, knownAt contracts.Millis, values [][]byte) error {
	in.args = append(in.args, key, int64(asOf), int64(knownAt))
	for _, v := range values {
		if len(v) == 0 {
			in.args = append(in.args, nil)
		} else {
			in.args = append(in.args, string(v))
		}
		in.bytes += len(v)
	}
	if len(in.args)+in.width > maxInsertArgs || in.bytes > maxInsertBytes {
		return in.flush(ctx)
	}
	return nil
}

func (in *inserts) flush(ctx context.Context) error {
	if len(in.args) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString(in.head)
	for i := range in.args {
		switch {
		case i == 0:
			b.WriteString("($1")
		case i%in.width == 0:
			fmt.Fprintf(&b, "), ($%d", i+1)
		default:
			fmt.Fprintf(&b, ", $%d", i+1)
		}
	}
	b.WriteString(")")
	_, err := in.tx.ExecContext(ctx, b.String(), in.args...)
	in.args, in.bytes = in.args[:0], 0
	return err
}

// Lookup is Snapshot.Lookup, answered by the database.
func (t *table) Lookup(ctx context.Context, q Query) Answer {
	a := Answer{Snapshot: t.digest}
	fields, problem := t.lookup.check(&q)
	if problem != "" {
		a.Outcome, a.Detail = BadRequest, problem
		return a
	}
	texts := make([]sql.NullString, len(t.lookup.schema.Fields))
	into := make([]any, len(texts))
	for i := range texts {
		into[i] = &texts[i]
	}
	switch err := t.find.QueryRowContext(ctx, q.Key, int64(q.AsOf), int64(q.KnownAt)).Scan(into...); {
	case err == nil:
	case errors.Is(err, sql.ErrNoRows):
		a.Outcome = NotFound
		return a
	case ctx.Err() != nil:
		a.Outcome, a.Err = SourceTimeout, err
		return a
	default:
		a.Outcome, a.Err = SourceError, err
		return a
	}
	a.Outcome, a.Values = Found, make([]Value, len(fields))
	if i := t.lookup.asOf; i >= 0 {
		a.AsOf = millisOf(t.lookup.schema.Fields[i].Type, texts[i].String)
	}
	if i := t.lookup.knownAt; i >= 0 {
		a.KnownAt = millisOf(t.lookup.schema.Fields[i].Type, texts[i].String)
	}
	for i, f := range fields {
		a.Values[i] = Value{Field: q.Fields[i], Text: texts[f].String, Empty: !texts[f].Valid}
	}
	return a
}

// dropTable removes the copy of a snapshot that is to be forgotten.
func dropTable(ctx context.Context, db *sqlx.DB, digest contracts.Hash) error {
	if _, err := db.ExecContext(ctx, `DROP TABLE IF EXISTS `+tableName(digest)); err != nil {
		return fmt.Errorf("couldn't drop snapshot's table: %w", err)
	}
	return nil
}
