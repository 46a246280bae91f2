package projection

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/ledger"
)

// Schema is what one capability adds to proj.
type Schema struct {
	Name string
	// DDL makes the capability's tables and indexes in proj. A change of it, or of Version, rebuilds proj at the next
	// start.
	DDL     string
	Version int // of the code that fills the tables
	Nouns   []Noun
}

// Noun takes the writes of one kind of key.
type Noun interface {
	// Of names the keys: "member" for member/<id>, "clr/escrow" for clr/escrow/<id>.
	Of() string
	// Fold begins a batch.
	Fold() Fold
}

// Fold collects the writes of a batch in the ledger's order and puts them down at its end. Rows must not depend on
// where a batch ends.
type Fold interface {
	Add(w Write) error
	Flush(ctx context.Context, tx *sqlx.Tx) error
}

// Write is one write of an entry.
type Write struct {
	Entry *ledger.Stored
	ID    string // the key after its noun, or the whole key when it is nothing but a noun
	Value []byte // nil when the key was deleted
}

// nounOf splits a key into noun and id. The nouns of the clearing definition begin with clr/.
func nounOf(key string) (noun, id string) {
	rest, prefix := key, ""
	if after, ok := strings.CutPrefix(key, "clr/"); ok {
		rest, prefix = after, "clr/"
	}
	noun, id, ok := strings.Cut(rest, "/")
	if !ok {
		return key, key
	}
	return prefix + noun, id
}

func fingerprint(schemas []Schema) (string, error) {
	h := sha256.New()
	seen := map[string]bool{}
	for _, s := range schemas {
		if seen[s.Name] {
			return "", fmt.Errorf("the schema %s is there twice", s.Name)
		}
		seen[s.Name] = true
		fmt.Fprintf(h, "%d:%s:%d:%d:%s", len(s.Name), s.Name, s.Version, len(s.DDL), s.DDL)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// position is the one row of proj.position.
type position struct {
	Next   int64  `db:"next"` // entries projected
	Hash   string `db:"hash"` // of the last one; 64 zeros before the first
	Schema string `db:"schema"`
}

func readPosition(ctx context.Context, q sqlx.QueryerContext) (p position, err error) {
	err = sqlx.GetContext(ctx, q, &p, `SELECT next, hash, schema FROM proj.position WHERE id = 1`)
	if err != nil {
		err = fmt.Errorf("couldn't read the projection's position: %w", err)
	}
	return p, err
}

// Prepare makes proj when it isn't there, or anew when another version of the program made it.
func (p *Projector) Prepare(ctx context.Context) error {
	var next int64
	err := p.locked(ctx, func(tx *sqlx.Tx) error {
		var there sql.NullString
		if err := tx.GetContext(ctx, &there, `SELECT to_regclass('proj.position')::text`); err != nil {
			return fmt.Errorf("couldn't look for proj: %w", err)
		}
		if there.Valid {
			at, err := readPosition(ctx, tx)
			switch {
			case errors.Is(err, sql.ErrNoRows):
			case err != nil:
				return err
			case at.Schema == p.mark:
				next = at.Next
				return nil
			default:
				p.Log.Info("the projection's schema has changed; it is rebuilt", "entries", at.Next)
			}
		}
		return p.create(ctx, tx)
	})
	if err == nil {
		p.reached(uint64(next))
	}
	return err
}

const zeroHash = "0000000000000000000000000000000000000000000000000000000000000000"

func (p *Projector) create(ctx context.Context, tx *sqlx.Tx) error {
	if _, err := tx.ExecContext(ctx, `DROP SCHEMA IF EXISTS proj CASCADE; CREATE SCHEMA proj`); err != nil {
		return fmt.Errorf("couldn't make proj: %w", err)
	}
	for _, s := range p.schemas {
		if _, err := tx.ExecContext(ctx, s.DDL); err != nil {
			return fmt.Errorf("couldn't make the tables of %s: %w", s.Name, err)
		}
	}
	const first = `INSERT INTO proj.position (id, next, hash, schema) VALUES (1, 0, $1, $2)`
	if _, err := tx.ExecContext(ctx, first, zeroHash, p.mark); err != nil {
		return fmt.Errorf("couldn't write the first position: %w", err)
	}
	return nil
}

// Rebuild drops proj and projects the whole ledger anew. Readers see an incomplete proj meanwhile; those who name a
// position wait for it.
func (p *Projector) Rebuild(ctx context.Context) error {
	if err := p.locked(ctx, func(tx *sqlx.Tx) error { return p.create(ctx, tx) }); err != nil {
		return err
	}
	p.reached(0)
	if err := p.RunOnce(ctx); err != nil {
		return err
	}
	return p.Analyze(ctx)
}

// Analyze refreshes the planner's statistics of proj, which a rebuild leaves behind.
func (p *Projector) Analyze(ctx context.Context) error {
	var tables []string
	const list = `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'proj' ORDER BY tablename`
	if err := p.DB.SelectContext(ctx, &tables, list); err != nil {
		return fmt.Errorf("couldn't list the tables of proj: %w", err)
	}
	for _, t := range tables {
		if _, err := p.DB.ExecContext(ctx, `ANALYZE `+t); err != nil {
			return fmt.Errorf("couldn't analyze %s: %w", t, err)
		}
	}
	return nil
}
