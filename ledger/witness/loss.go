package witness

import (
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/ledger/publish"
)

// Loss is what somebody has verified of a log that goes on after a loss: that its rules accept every acceptance in it,
// as a follower (ledger/follow) checks them.
type Loss struct {
	Head publish.Head // of the log in its new epoch
	Kept uint64       // entries of this witness's epoch that it goes on from
	// Root gives the root of the log's first size entries.
	Root func(size uint64) ([32]byte, error)
}

// Accept takes up the new epoch of a log: from now on this witness cosigns that, and never again what was lost. It is
// the word of the witness's operator. Beyond the acceptance itself it wants that the log begins with the largest
// checkpoint that this witness cosigned of what was kept; lost and new head are kept as evidence. It gives the
// size of that checkpoint.
//
// A crash in it leaves the old state with a shorter list of what was cosigned, and the same call is made again.
func (w *Witness) Accept(l Loss) (proven uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.broken != nil:
		return 0, w.broken
	case l.Head.Epoch <= w.last.Epoch:
		return 0, fmt.Errorf("couldn't accept the loss: this witness is in epoch %d already, the log in %d", w.last.Epoch, l.Head.Epoch)
	case l.Head.Size <= l.Kept || l.Head.Signed == nil:
		return 0, errors.New("couldn't accept the loss: the log has nothing behind what it kept")
	}
	c, ok, err := w.cosigned.upTo(l.Kept)
	if err != nil {
		return 0, fmt.Errorf("couldn't accept the loss: %w", err)
	}
	if ok {
		root, err := l.Root(c.Size)
		if err != nil {
			return 0, fmt.Errorf("couldn't accept the loss: %w", err)
		}
		if root != c.Root {
			err := fmt.Errorf("couldn't accept the loss: the log's first %d entries are not those that this witness cosigned, although it says that it kept %d", c.Size, l.Kept)
			w.conflict(0, "unproven", l.Head, err)
			return 0, err
		}
	}
	if w.last.Signed != nil {
		if err := w.keep("loss", l.Head); err != nil {
			return 0, fmt.Errorf("couldn't accept the loss: %w", err)
		}
	}
	// The state before its record: a record of the new epoch under the old state would be of another history.
	if err = w.cosigned.cut(l.Kept); err == nil {
		if err = w.save(l.Head.Signed); err == nil {
			err = w.cosigned.add(l.Head.Checkpoint)
		}
	}
	if err != nil {
		w.broken = err
		return 0, fmt.Errorf("couldn't accept the loss: %w", err)
	}
	w.last = l.Head
	return c.Size, nil
}
