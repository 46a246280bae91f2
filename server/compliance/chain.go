package compliance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// Chain is the record of reads from end to end, held against what the ledger says of it.
type Chain struct {
	Count  int64          // rows
	Head   contracts.Hash // of the last one; "" when there is none
	Anchor *Anchor        // nil: nothing is anchored yet
	Broken string         // "" when every row follows from the one before and the anchored one is as anchored
}

// Anchor is the last anchor on the ledger, as projected.
type Anchor struct {
	contracts.AnchoredReads
	Position uint64
}

// Chain walks the whole record. What it finds broken is an answer, not an error.
func (x *Reads) Chain(ctx context.Context) (*Chain, error) {
	// The anchor first: rows only come to what it counts.
	a, err := x.anchor(ctx)
	if err != nil {
		return nil, err
	}
	c := &Chain{Anchor: a}
	anchored := a == nil
	err = x.walk(ctx, 1, "", func(r Read) error {
		c.Count, c.Head = r.Seq, contracts.Hash(r.Hash)
		if a != nil && r.Seq == a.Count {
			anchored = c.Head == a.Head
		}
		return nil
	})
	var broken *brokenAt
	switch {
	case errors.As(err, &broken):
		c.Broken = broken.Error()
	case err != nil:
		return nil, err
	case !anchored:
		c.Broken = notAsAnchored(a.Count)
	}
	return c, nil
}

// brokenAt names the first row that doesn't follow from the one before.
type brokenAt struct{ seq int64 }

func (b *brokenAt) Error() string { return fmt.Sprintf("the record of reads is broken at %d", b.seq) }

func notAsAnchored(seq int64) string {
	return fmt.Sprintf("the record of reads is not the one whose %d rows are anchored on the ledger", seq)
}

// walk checks the rows from one on, which must follow from the hash of the row before, and hands them over in order.
func (x *Reads) walk(ctx context.Context, from int64, prev string, fn func(Read) error) error {
	rows, err := x.DB.QueryxContext(ctx, `SELECT seq, at, member, person, what, reason, prev, hash FROM app.reads WHERE seq >= $1 ORDER BY seq`, from)
	if err != nil {
		return fmt.Errorf("couldn't read the record of reads: %w", err)
	}
	defer rows.Close()
	for n := from; rows.Next(); n++ {
		var r Read
		if err := rows.StructScan(&r); err != nil {
			return fmt.Errorf("couldn't read the record of reads: %w", err)
		}
		if r.Seq != n || r.Prev != prev || r.Hash != r.digest() {
			return &brokenAt{n}
		}
		if err := fn(r); err != nil {
			return err
		}
		prev = r.Hash
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("couldn't read the record of reads: %w", err)
	}
	return nil
}

// anchor reads the last anchor, nil when there is none.
func (x *Reads) anchor(ctx context.Context) (*Anchor, error) {
	var there sql.NullString
	if err := x.DB.GetContext(ctx, &there, `SELECT to_regclass('proj.market')::text`); err != nil {
		return nil, fmt.Errorf("couldn't look for the projection: %w", err)
	}
	if !there.Valid {
		return nil, nil // nothing was ever projected here
	}
	r, err := projection.One[contracts.AnchoredReads](ctx, x.DB, `SELECT id, position, record FROM proj.market WHERE id = $1`, contracts.KeyReads)
	if errors.Is(err, projection.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the anchor of reads: %w", err)
	}
	return &Anchor{*r.Value, r.Position}, nil
}
