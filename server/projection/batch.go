package projection

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/ledger"
)

// ignored are the nouns of keys that only the rules read: outcomes (the entries index has the commands), what keeps
// codes, serials and references unique, and who may record an erasure.
var ignored = map[string]bool{"cmd": true, "member-code": true, "serial": true, "clr/serial": true, "clr/ref": true,
	"commitment": true, "clr/commitment": true}

// batch folds the entries of one transaction. Folds are flushed in the order of their schemas, so that one may read
// what those before it wrote.
type batch struct {
	entries entryRows
	folds   []Fold
	byNoun  map[string][]Fold
}

func newBatch(schemas []Schema) *batch {
	b := &batch{byNoun: map[string][]Fold{}}
	for _, s := range schemas {
		for _, n := range s.Nouns {
			f := n.Fold()
			b.folds = append(b.folds, f)
			b.byNoun[n.Of()] = append(b.byNoun[n.Of()], f)
		}
	}
	return b
}

func (b *batch) add(e *ledger.Stored) error {
	if err := b.entries.add(e); err != nil {
		return fmt.Errorf("entry %d: %w", e.Position, err)
	}
	for _, w := range e.Writes {
		noun, id := nounOf(w.Key)
		folds := b.byNoun[noun]
		if len(folds) == 0 && !ignored[noun] {
			// The rules have a noun that this program does not know. Leaving it out would be a silent hole.
			return fmt.Errorf("entry %d: no table takes %s", e.Position, w.Key)
		}
		for _, f := range folds {
			if err := f.Add(Write{Entry: e, ID: id, Value: w.Value}); err != nil {
				return fmt.Errorf("entry %d: %s: %w", e.Position, w.Key, err)
			}
		}
	}
	return nil
}

func (b *batch) flush(ctx context.Context, tx *sqlx.Tx) error {
	if err := b.entries.flush(ctx, tx); err != nil {
		return err
	}
	for _, f := range b.folds {
		if err := f.Flush(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}
