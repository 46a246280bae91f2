// Package compliance is what regulators do at the market: they read the ledger, with a reason that is recorded before
// the answer, and take it away as evidence that needs no server to be checked.
package compliance

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
)

// Reads is the record of what supervisors read.
type Reads struct {
	DB  *sqlx.DB
	Now func() time.Time
}

// Read is one of them.
type Read struct {
	Seq    int64     `db:"seq"`
	At     time.Time `db:"at"`
	Member string    `db:"member"`
	Person string    `db:"person"`
	What   string    `db:"what"`
	Reason string    `db:"reason"`
	Prev   string    `db:"prev"`
	Hash   string    `db:"hash"`
}

// digest is the hash that a row must have.
func (r Read) digest() string {
	return string(contracts.HashOf("bund/read/v1", canon.Marshal(struct {
		At     string `json:"at"`
		Member string `json:"member"`
		Person string `json:"person"`
		Prev   string `json:"prev"`
		Reason string `json:"reason"`
		Seq    int64  `json:"seq"`
		What   string `json:"what"`
	}{r.At.UTC().Format(time.RFC3339Nano), r.Member, r.Person, r.Prev, r.Reason, r.Seq, r.What})))
}

// Record writes a read down. The answer may leave only after it has returned nil.
func (x *Reads) Record(ctx context.Context, member, person contracts.ID, what, reason string) error {
	err := pg.WithTx(ctx, x.DB, func(tx *sqlx.Tx) error {
		if err := pg.LockTx(ctx, tx, "compliance.reads"); err != nil {
			return err
		}
		// PostgreSQL keeps microseconds: what is hashed must be what is read back.
		r := Read{Seq: 1, At: x.Now().UTC().Truncate(time.Microsecond), Member: string(member), Person: string(person), What: what, Reason: reason}
		var last []Read
		if err := tx.SelectContext(ctx, &last, `SELECT seq, at, member, person, what, reason, prev, hash FROM app.reads ORDER BY seq DESC LIMIT 1`); err != nil {
			return err
		}
		if len(last) == 1 {
			r.Seq, r.Prev = last[0].Seq+1, last[0].Hash
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO app.reads (seq, at, member, person, what, reason, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			r.Seq, r.At, r.Member, r.Person, r.What, r.Reason, r.Prev, r.digest())
		return err
	})
	if err != nil {
		return fmt.Errorf("couldn't record the read, so there is no answer: %w", err)
	}
	return nil
}

// Entry is an entry of the ledger as a supervisor's list shows it.
type Entry struct {
	Position int64  `db:"position" json:"position,string"`
	Time     int64  `db:"time" json:"time,string"`
	Hash     string `db:"hash" json:"hash"`
	Kind     string `db:"kind" json:"kind"`
	Member   string `db:"member" json:"member"`
	Command  string `db:"command" json:"command"`
	Public   bool   `db:"public" json:"public"`
}

// Query narrows a list of entries; empty fields don't.
type Query struct {
	Kind   string
	Member contracts.ID
	After  string // cursor
	Limit  int
}

// Entries lists entries, the newest first.
func Entries(ctx context.Context, db *sqlx.DB, q Query) (items []Entry, next string, err error) {
	if q.Limit <= 0 || q.Limit > 200 {
		q.Limit = 50
	}
	before := int64(1<<62 - 1)
	if q.After != "" {
		if before, err = strconv.ParseInt(q.After, 10, 64); err != nil || before < 0 {
			return nil, "", projection.ErrBadCursor
		}
	}
	err = db.SelectContext(ctx, &items, `
		SELECT position, time, hash, kind, member, command, public FROM proj.entries
		WHERE ($1 = '' OR kind = $1) AND ($2 = '' OR member = $2) AND position < $3 ORDER BY position DESC LIMIT $4`, q.Kind, string(q.Member), before, q.Limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("couldn't list entries: %w", err)
	}
	if len(items) > q.Limit {
		items = items[:q.Limit]
		next = strconv.FormatInt(items[q.Limit-1].Position, 10)
	}
	return items, next, nil
}
