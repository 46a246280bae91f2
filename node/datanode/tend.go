package main

import (
	"context"
	"errors"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/follow"
)

// tending is what the tending goroutine remembers.
type tending struct {
	tries  map[contracts.ID]*try // deals that couldn't be brought up
	erased int                   // erasures that were carried out
}

// try is a deal that couldn't be brought up: it waits longer after each failure, and not at all when it has changed.
type try struct {
	backoff
	print print
}

// backoff says when to try again what failed.
type backoff struct {
	fails int
	at    time.Time
}

const (
	firstPause = 2 * time.Second
	maxPause   = time.Minute
)

func (b *backoff) failed(now time.Time) {
	b.at = now.Add(min(firstPause<<min(b.fails, 10), maxPause))
	b.fails++
}

func (b *backoff) ready(now time.Time) bool { return !now.Before(b.at) }

// tend brings logs and consumers to what the followed state says, whenever it moves and now and then. It talks to the
// market only for openings that it hasn't got.
func (n *Node) tend(ctx context.Context) error {
	t := time.NewTicker(firstPause)
	defer t.Stop()
	defer n.stopConsumers()
	for {
		n.tendOnce(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
		case <-t.C:
		}
	}
}

func (n *Node) tendOnce(ctx context.Context) {
	n.early.Followed(n.follower.Status().Size)
	n.trouble("identity", n.identity())
	if err := n.carryOutErasures(); err != nil {
		n.log.ErrorContext(ctx, "couldn't carry out an erasure", "err", err)
		n.trouble("erasure", err.Error())
	}
	deals, err := n.deals()
	if err != nil {
		n.log.ErrorContext(ctx, "couldn't read the followed state", "err", err)
		n.trouble("state", err.Error())
	}
	for _, d := range deals {
		if ctx.Err() != nil {
			return
		}
		n.tendDeal(ctx, d)
	}
	if err == nil {
		n.tended.Store(true)
	}
}

func (n *Node) tendDeal(ctx context.Context, d *deal) {
	var errs []error
	p := d.seenFrom(d.server())
	t := n.tending.tries[d.id]
	if t != nil && t.print == p && !t.ready(n.now()) {
		return
	}
	if own, ok := d.served(n.cfg.Node); ok && n.provider != nil {
		errs = append(errs, n.tendServed(ctx, d, own))
	}
	if d.agreement.Buyer == n.cfg.Member && d.consumer.node == n.cfg.Node {
		errs = append(errs, n.tendConsumer(ctx, d))
	}
	what := "agreement " + string(d.id)
	err := errors.Join(errs...)
	if err == nil || ctx.Err() != nil {
		delete(n.tending.tries, d.id)
		n.trouble(what, "")
		return
	}
	if t == nil {
		t = &try{}
		n.tending.tries[d.id] = t
	}
	if t.print != p {
		t.fails = 0
	}
	t.print = p
	t.failed(n.now())
	n.log.WarnContext(ctx, "couldn't bring an agreement up, trying again", "agreement", d.id, "at", t.at, "err", err)
	n.trouble(what, err.Error())
}

// served gives the provider's node if it serves the deal.
func (d *deal) served(node contracts.ID) (party, bool) {
	for _, p := range d.shares {
		if p.node == node {
			return p, true
		}
	}
	return party{}, false
}

// identity says why this node isn't the one that the ledger has registered, or "".
func (n *Node) identity() string {
	var r *contracts.Node
	var size uint64
	n.follower.View(func(v follow.View) { r, size = read[contracts.Node](v, contracts.KeyNode(n.cfg.Node)), v.Size() })
	switch {
	case size == 0:
		return "nothing is followed yet"
	case r == nil:
		return "the ledger has no node with the configured id, as far as it is followed"
	case r.Member != n.cfg.Member:
		return "the ledger has this node for another member"
	case r.Retired != 0:
		return "the node is retired"
	case r.TLSKey != ed25519ID(n.keys.TLS) || r.ReceiptKey != ed25519ID(n.keys.Receipt):
		return "the keys in the node's folder are not those that the ledger has for it"
	}
	return ""
}

// carryOutErasures destroys what the ledger says is erased.
func (n *Node) carryOutErasures() error {
	ws := n.follower.Scan("erased/", 1_000_000)
	if len(ws) == n.tending.erased {
		return nil
	}
	for _, w := range ws {
		if err := n.openings.forget(contracts.Hash(w.Key[len("erased/"):])); err != nil {
			return err
		}
	}
	n.tending.erased = len(ws)
	return nil
}

func (n *Node) erased(c contracts.Hash) bool {
	_, ok := n.follower.Get(contracts.KeyErasure(c))
	return ok
}
