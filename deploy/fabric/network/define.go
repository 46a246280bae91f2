package network

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// defineAll installs, approves and commits the definitions that are not committed on a channel yet.
func (n *Network) defineAll(ctx context.Context, ch channel) error {
	open, err := n.uncommitted(ctx, ch)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, p := range n.endorsers(ch) {
		for _, d := range open {
			g.Go(func() error {
				id, err := n.install(gctx, p, d)
				if err != nil || p.Number > 1 {
					return err
				}
				return n.approve(gctx, ch, p, d, id)
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return n.commitAll(ctx, ch, open)
}

// uncommitted lists the definitions of which a channel holds an older sequence or none.
func (n *Network) uncommitted(ctx context.Context, ch channel) (open []definition, err error) {
	for _, d := range n.layout.Definitions {
		s, err := n.sequence(ctx, ch, ch.peers[0], d.Name)
		if err != nil {
			return nil, err
		}
		if s < d.Sequence {
			open = append(open, d)
		}
	}
	return open, nil
}

func (n *Network) commitAll(ctx context.Context, ch channel, ds []definition) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range ds {
		g.Go(func() error { return n.commit(ctx, ch, n.endorsers(ch), d) })
	}
	return g.Wait()
}
