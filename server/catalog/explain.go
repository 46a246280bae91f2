package catalog

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Explain gives PostgreSQL's plan of a search as JSON, for those who watch that a search reads indexes only.
func Explain(ctx context.Context, db sqlx.QueryerContext, q Query) (plan string, err error) {
	f, err := q.filter()
	if err != nil {
		return "", err
	}
	query, args, err := f.sql()
	if err != nil {
		return "", err
	}
	if err := sqlx.GetContext(ctx, db, &plan, "EXPLAIN (FORMAT JSON) "+query, args...); err != nil {
		return "", fmt.Errorf("couldn't explain a search: %w", err)
	}
	return plan, nil
}
