package main

import (
	"context"
	"errors"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/node/gate"
)

// follow follows the ledger until ctx ends. When the log shows two histories nothing starts any more, but what was
// served is still acknowledged: the node stays up and says why it refuses.
func (n *Node) follow(ctx context.Context) error {
	err := n.follower.Run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	n.log.Error("the node no longer follows the ledger and refuses every call; keep its folder and ask venue and regulator", "err", err)
	<-ctx.Done()
	return nil
}

func (n *Node) onEntry(e *ledger.Entry) {
	n.early.Followed(e.Position + 1)
	for _, c := range []chan struct{}{n.wake, n.toReport} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// readBoth gives the followed state at one position, and that with what was announced since.
func (n *Node) readBoth(fn func(st contracts.State) error) (err error) {
	n.follower.View(func(v follow.View) { err = n.early.Both(v.Rules(), fn) })
	return err
}

// followed is the follower as the gate asks it.
type followed struct{ n *Node }

func (f followed) Read(fn func(st contracts.State) error) (position uint64, err error) {
	f.n.follower.View(func(v follow.View) { position, err = v.Size(), fn(v.Rules()) })
	return position, err
}

func (f followed) Position() (position uint64) {
	f.n.follower.View(func(v follow.View) { position = v.Size() })
	return position
}

func (f followed) Fresh(ctx context.Context, maxStale time.Duration) error {
	var err error
	if maxStale == 0 {
		err = f.n.follower.StartNow(ctx)
	} else {
		err = f.n.follower.MayStart(f.n.now(), maxStale)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, follow.ErrStale):
		return &contracts.Refusal{Code: gate.Stale, Detail: "this node has no checkpoint that enough witnesses have seen recently enough"}
	case errors.Is(err, follow.ErrFork):
		return &contracts.Refusal{Code: gate.Stopped, Detail: "this node has seen two histories of the ledger"}
	case errors.Is(err, follow.ErrWithheld):
		return &contracts.Refusal{Code: gate.Stopped, Detail: "an entry that concerns this node is withheld from it"}
	}
	return err
}

// read decodes a record, nil when there is none or it can't be read.
func read[T any](v follow.View, key string) *T {
	b, ok := v.Get(key)
	if !ok {
		return nil
	}
	t, err := contracts.Read[T](b)
	if err != nil {
		return nil
	}
	return t
}
