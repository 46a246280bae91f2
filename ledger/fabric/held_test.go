package fabric

import (
	"context"
	"errors"

	"github.com/hyperledger/fabric-protos-go/common"

	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// Held is an endorsed transaction that has not been ordered: what a gateway has in its hands that doesn't play by the rules.
type Held struct {
	l *Ledger
	p *proposed
}

// Endorse gets a call endorsed by a peer of each MSP, and sends it nowhere.
func (l *Ledger) Endorse(ctx context.Context, chaincode string, call proposal.Call, msps ...string) (*Held, error) {
	var set []endorser
	for _, m := range msps {
		for _, p := range l.gw.peers {
			if p.info.MSP == m {
				set = append(set, p)
				break
			}
		}
	}
	var transient map[string][]byte
	if o := proposal.Openings(call.Commands); o != nil {
		transient = map[string][]byte{proposal.TransientOpenings: o}
	}
	p, err := l.gw.propose(ctx, chaincode, call.Args(), transient, set...)
	return &Held{l, p}, err
}

// Reply is what the endorsers answered.
func (h *Held) Reply(commands int) (proposal.Reply, error) {
	return proposal.ParseReply(h.p.payload(), commands)
}

// Order sends the transaction and gives the verdict of the own peer's block, when that is derived.
func (h *Held) Order(ctx context.Context) (verdict string, err error) {
	v := h.l.await(h.p.tx)
	defer h.l.forget(h.p.tx)
	if err := h.l.gw.order(ctx, h.p); err != nil {
		return "", err
	}
	select {
	case x := <-v:
		return x.String(), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Epoch is the epoch that a call names now.
func (l *Ledger) Epoch() (uint64, error) { return l.epoch() }

// Newest is the newest epoch.
func (l *Ledger) Newest() (uint64, error) {
	n, _, _, err := l.store.epochs(0)
	return n, err
}

// Sums gives the header hash and the validation flags of each of the first n blocks of the own peer.
func (l *Ledger) Sums(ctx context.Context, n uint64) (sums []string, err error) {
	enough := errors.New("enough")
	err = l.gw.blocks(ctx, l.own[0], 0, func(b *common.Block) error {
		h, err := headerHash(b.Header)
		if err != nil {
			return err
		}
		flags, err := blocks.Flags(b)
		if err != nil && b.Header.Number > 0 { // nobody validated the first
			return err
		}
		s := string(h[:])
		for _, f := range flags {
			s += string(rune(f))
		}
		sums = append(sums, s)
		if uint64(len(sums)) == n {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return sums, err
}
