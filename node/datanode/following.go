package main

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/follow"
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

// onCut is told that the ledger has lost entries which this node had followed. Everything that the node decides by is
// read from the followed state, which is that of the ledger as it is now; receipts stay as they are, and a call under an
// agreement or a registration that was lost is refused as unknown.
func (n *Node) onCut(kept uint64) {
	n.early.Forget()
	n.log.Error("the ledger goes on without entries that this node had followed", "kept", kept)
	for _, c := range []chan struct{}{n.wake, n.toReport} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// readBoth gives the followed state at one position, and that with what was announced since.
func (n *Node) readBoth(fn func(st contracts.State) error) (err error) {
	n.follower.View(func(v follow.View) {
		err = n.early.Both(v.Rules(), func(st contracts.State) error { return fn(n.records.Over(st)) })
	})
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
