package ledger

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/bund-exchange/bund/contracts"
)

// HasLoss reports whether the entry accepts a loss, by its event: the body of the command need not be read.
func HasLoss(e *Entry) bool {
	return slices.ContainsFunc(e.Events, func(v contracts.Event) bool { return v.Name == contracts.EventLoss })
}

// CheckLoss holds an accepted loss against the chain: what the venue's people signed is the history that stands under it.
// The rules, which know no chain, have said yes to everything else.
func CheckLoss(e *Entry) (*contracts.LossAccept, error) {
	env, err := contracts.Read[contracts.Envelope](e.Raw)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the acceptance of a loss: %w", err)
	}
	if env.Kind != "loss.accept" {
		return nil, fmt.Errorf("the event of an accepted loss stands under a command %.40q", env.Kind)
	}
	b, err := contracts.Read[contracts.LossAccept](env.Body)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the acceptance of a loss: %w", err)
	}
	if b.RestoredSize != int64(e.Position) || string(b.Kept) != hex.EncodeToString(e.Prev[:]) {
		return b, errors.New("the acceptance of a loss was signed for another history than it stands on")
	}
	return b, nil
}
