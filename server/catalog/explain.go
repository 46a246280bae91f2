package catalog

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Explain gives PostgreSQL's plan of a search as JSON, for those who watch that a search reads indexes only.
func (c *Catalog) Explain(ctx context.Context, q Query) (plan string, err error) {
	f, err := q.filter()
	if err != nil {
		return "", err
	}
	if f.manuals, err = c.unheard(ctx, f); err != nil {
		return "", err
	}
	query, args, err := f.sql()
	if err != nil {
		return "", err
	}
	err = c.steered(ctx, f.manuals, func(tx *sqlx.Tx) error { return tx.GetContext(ctx, &plan, "EXPLAIN (FORMAT JSON) "+query, args...) })
	if err != nil {
		return "", fmt.Errorf("couldn't explain a search: %w", err)
	}
	return plan, nil
}
