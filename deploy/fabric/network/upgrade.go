package network

import (
	"context"
	"errors"
	"fmt"
)

// Upgrade puts both definitions on a program, at their next sequence, on the running network. The new program's processes
// run beside the old ones until every peer serves the new one. A transaction that was endorsed before and is ordered after is
// invalid (MVCC_READ_CONFLICT: it read the definition), and endorsements of peers that are a block apart may differ; both
// may be sent again. The definitions change in one block or in two that follow each other, so a new program's market must
// get on with an old clearing for a moment, and the other way round. Channels of AddLedger are left without chaincode.
//
// An interrupted upgrade is finished before another begins, by this or by Start. A program that is in place already changes
// nothing.
func (n *Network) Upgrade(ctx context.Context, program string) error {
	return n.change(func() error {
		digest, err := keepProgram(n.dir, program)
		if err != nil {
			return err
		}
		if n.layout.Next != nil {
			if err := n.up(ctx); err != nil {
				return err
			}
		}
		var next []definition
		changes := false
		for _, d := range n.layout.Definitions {
			changes = changes || d.Program != digest
			d.Sequence, d.Program = d.Sequence+1, digest
			next = append(next, d)
		}
		if !changes {
			n.say("%s is in place", version(next[0]))
			return nil
		}
		if err := n.try(ctx, next[0]); err != nil {
			return err
		}
		n.layout.Next = next
		if err := n.writeLayout(); err != nil {
			return err
		}
		return n.up(ctx)
	})
}

// try starts a process of a new definition. Once the upgrade is begun a program that doesn't serve would fail it, every start
// of the network and the way back.
func (n *Network) try(ctx context.Context, d definition) error {
	p, err := n.chaincodeProcess(n.layout.Peers[0], d)
	// What an earlier attempt left when it was killed would be taken for this program.
	if err := errors.Join(err, n.plan(), n.endLeftovers()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := p.Start(ctx); err != nil {
		return errors.Join(fmt.Errorf("couldn't upgrade to %s, and nothing is changed: %w", version(d), err), p.Kill())
	}
	return nil
}

func (n *Network) finishUpgrade(ctx context.Context) error {
	ch := n.main()
	if err := n.define(ctx, ch, n.layout.Next); err != nil {
		return err
	}
	if err := n.caughtUp(ctx, ch.peers[0], n.endorsers(ch)...); err != nil {
		return err
	}
	n.say("every peer serves %s at sequence %d", version(n.layout.Next[0]), n.layout.Next[0].Sequence)
	if err := n.answered(ctx, n.endorsers(ch)); err != nil {
		return err
	}
	n.layout.Definitions, n.layout.Next = n.layout.Next, nil
	if err := n.writeLayout(); err != nil {
		return err
	}
	return n.plan()
}

// answered waits until peers have answered as many proposals as they have received by now: those that came before the new
// definition are then done with, but for few, and the old chaincode processes can go.
func (n *Network) answered(ctx context.Context, ps []peer) error {
	const received, completed = "grpc_server_unary_requests_received", "grpc_server_unary_requests_completed"
	for _, p := range ps {
		at := n.peerOperations(p)
		want, err := metric(ctx, at, received, `method="ProcessProposal"`)
		if err != nil {
			return fmt.Errorf("couldn't ask peer.%s how many proposals it has: %w", p.name(), err)
		}
		err = n.until(ctx, func() (bool, error) {
			got, err := metric(ctx, at, completed, `method="ProcessProposal"`)
			return got >= want, err
		})
		if err != nil {
			return fmt.Errorf("peer.%s hasn't answered its proposals: %w", p.name(), err)
		}
	}
	return nil
}
