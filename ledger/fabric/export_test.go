package fabric

import (
	"context"
	"fmt"
	"slices"
)

// Endorse does what no client of ours does: it asks whomever it likes to endorse a call, and gives what sends that to the
// orderer, as late and as often as one likes.
func (l *Ledger) Endorse(ctx context.Context, chaincode string, args [][]byte, msps ...string) (order func() error, err error) {
	var ps []endorser
	for _, p := range l.gw.peers {
		if slices.Contains(msps, p.info.MSP) {
			ps = append(ps, p)
		}
	}
	if len(ps) != len(msps) {
		return nil, fmt.Errorf("%d peers of %d organisations", len(ps), len(msps))
	}
	p, err := l.gw.propose(ctx, chaincode, args, nil, ps...)
	if err != nil {
		return nil, err
	}
	return func() error { return l.gw.order(ctx, p) }, nil
}

// BlockHeight is the number of blocks of the own peer.
func (l *Ledger) BlockHeight(ctx context.Context) (uint64, error) { return l.gw.height(ctx, l.own[0]) }

// NewestEpoch is the one begun last, 0 when there is none.
func (l *Ledger) NewestEpoch() (uint64, error) {
	n, _, _, err := l.store.epochs(0)
	return n, err
}
