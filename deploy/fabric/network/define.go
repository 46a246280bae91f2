package network

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// define installs definitions on a channel's endorsing peers, and approves and commits those that the channel holds an
// older sequence of or none.
func (n *Network) define(ctx context.Context, ch channel, ds []definition) error {
	open := map[string]bool{}
	for _, d := range ds {
		s, err := n.sequence(ctx, ch, ch.peers[0], d.Name)
		if err != nil {
			return err
		}
		open[d.Name] = s < d.Sequence
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, p := range n.endorsers(ch) {
		for _, d := range ds {
			g.Go(func() error {
				if err := n.install(gctx, p, d); err != nil {
					return err
				}
				// One approval holds for all peers of an organisation.
				if !open[d.Name] || p.Number > 1 {
					return nil
				}
				id, _, err := ccPackage(ccLabel(d))
				if err != nil {
					return err
				}
				return n.approve(gctx, ch, p, d, id)
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	g, gctx = errgroup.WithContext(ctx)
	for _, d := range ds {
		if open[d.Name] {
			g.Go(func() error { return n.commit(gctx, ch, n.endorsers(ch), d) })
		}
	}
	return g.Wait()
}
