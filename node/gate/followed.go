package gate

import (
	"context"
	"errors"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/follow"
)

// Followed is a verified follower as the gate asks it.
type Followed struct {
	Ledger *follow.Follower
	Now    func() time.Time
}

// Read implements Follower.
func (f Followed) Read(fn func(st contracts.State) error) (position uint64, err error) {
	f.Ledger.View(func(v follow.View) { position, err = v.Size(), fn(v.Rules()) })
	return position, err
}

// Position implements Follower.
func (f Followed) Position() (position uint64) {
	f.Ledger.View(func(v follow.View) { position = v.Size() })
	return position
}

// Fresh implements Follower.
func (f Followed) Fresh(ctx context.Context, maxStale time.Duration) error {
	var err error
	if maxStale == 0 {
		err = f.Ledger.StartNow(ctx)
	} else {
		err = f.Ledger.MayStart(f.Now(), maxStale)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, follow.ErrStale):
		return &contracts.Refusal{Code: Stale, Detail: "this node has no checkpoint that enough witnesses have seen recently enough"}
	case errors.Is(err, follow.ErrFork):
		return &contracts.Refusal{Code: Stopped, Detail: "this node has seen two histories of the ledger"}
	case errors.Is(err, follow.ErrWithheld):
		return &contracts.Refusal{Code: Stopped, Detail: "an entry that concerns this node is withheld from it"}
	}
	return err
}
