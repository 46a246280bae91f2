package projection

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
)

// ErrNotFound is the answer to a reader who may not know that something exists, and to one who asks for what doesn't.
var ErrNotFound = errors.New("not found")

// Record is a row of a Table: the newest record of an object, as the rules wrote it.
type Record[T any] struct {
	ID       string
	Position uint64 // of the entry that wrote it
	JSON     []byte // the record's canonical form
	Value    *T
}

// Select reads records. The query gives the columns id, position and record.
func Select[T any](ctx context.Context, q sqlx.QueryerContext, query string, args ...any) ([]Record[T], error) {
	var rows []struct {
		ID       string `db:"id"`
		Position int64  `db:"position"`
		Record   string `db:"record"`
	}
	if err := sqlx.SelectContext(ctx, q, &rows, query, args...); err != nil {
		return nil, fmt.Errorf("couldn't read records: %w", err)
	}
	out := make([]Record[T], len(rows))
	for i, r := range rows {
		v, err := contracts.Read[T]([]byte(r.Record))
		if err != nil {
			return nil, fmt.Errorf("couldn't decode record %s: %w", r.ID, err)
		}
		out[i] = Record[T]{r.ID, uint64(r.Position), []byte(r.Record), v}
	}
	return out, nil
}

// One is Select for one record: ErrNotFound when there is none.
func One[T any](ctx context.Context, q sqlx.QueryerContext, query string, args ...any) (*Record[T], error) {
	rs, err := Select[T](ctx, q, query, args...)
	if err != nil {
		return nil, err
	}
	if len(rs) == 0 {
		return nil, ErrNotFound
	}
	return &rs[0], nil
}

// Reader is on whose behalf something private is read.
type Reader struct {
	Member     contracts.ID
	Supervises bool // the venue or a regulator: in every audience
}

// May reports whether the reader is one of an object's parties or supervises the market.
func (r Reader) May(parties ...contracts.ID) bool {
	return r.Supervises || r.Member != "" && slices.Contains(parties, r.Member)
}
