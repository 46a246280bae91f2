package vault

import (
	"context"
	"fmt"
)

// Each gives every row's canonical texts in the schema's order, an empty one for an empty field: by key, and of one key
// by asOf and knownAt, so the newest last. The values are valid until the next call. What is read is checked; an error
// of reading wraps ErrDamaged or is the disk's.
func (s *Snapshot) Each(ctx context.Context, f func(values [][]byte) error) error {
	values := make([][]byte, len(s.foot.Schema.Fields))
	return s.each(ctx, func(place int64, row []byte) error {
		if err := splitRow(values, row); err != nil {
			return fmt.Errorf("%w: group at %d: %v", ErrDamaged, place, err)
		}
		return f(values)
	})
}
