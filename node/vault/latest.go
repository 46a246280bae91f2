package vault

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Latest gives of every key, in ascending order, the answer to a query without times: the row with the latest facts. An
// answer is good until the next. After an error there is no more.
func (s *Snapshot) Latest(ctx context.Context, fields []string) iter.Seq2[Keyed, error] {
	return func(yield func(Keyed, error) bool) {
		at := make([]int, len(fields))
		for i, name := range fields {
			var ok bool
			if at[i], ok = s.lookup.index[name]; !ok {
				yield(Keyed{}, fmt.Errorf("couldn't read rows: the dataset has no field %q", clip(name)))
				return
			}
		}
		values := make([][]byte, len(s.foot.Schema.Fields))
		var last []byte // of the key at place: its rows stand in the order of their times
		place, stopped := int64(-1), false
		emit := func() error {
			if place < 0 {
				return nil
			}
			if err := splitRow(values, last); err != nil {
				return fmt.Errorf("%w: group at %d: %v", ErrDamaged, place, err)
			}
			k := Keyed{Key: string(values[s.lookup.key]), Answer: Answer{Outcome: Found, Snapshot: s.foot.Digest, Values: make([]Value, len(at))}}
			k.AsOf, k.KnownAt = s.lookup.times(values)
			for i, f := range at {
				k.Values[i] = Value{Field: fields[i], Text: string(values[f]), Empty: len(values[f]) == 0}
			}
			stopped = !yield(k, nil)
			return nil
		}
		err := s.each(ctx, func(group int64, row []byte) error {
			if group != place {
				if err := emit(); err != nil {
					return err
				}
				if stopped {
					return errEnough
				}
				place = group
			}
			last = append(last[:0], row...)
			return nil
		})
		if err == nil {
			err = emit()
		}
		if err != nil && err != errEnough {
			yield(Keyed{}, err)
		}
	}
}

var errEnough = errors.New("the reader wants no more rows")

// Keyed is what is known of one key.
type Keyed struct {
	Key string
	Answer
}
