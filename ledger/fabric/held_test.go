package fabric

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hyperledger/fabric-protos-go/common"

	"github.com/bund-exchange/bund/contracts"
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
	return l.endorseBy(ctx, chaincode, call.Args(), call.Commands, msps)
}

// EndorseArgs is Endorse for arguments of any form.
func (l *Ledger) EndorseArgs(ctx context.Context, chaincode string, args [][]byte, msps ...string) (*Held, error) {
	return l.endorseBy(ctx, chaincode, args, nil, msps)
}

func (l *Ledger) endorseBy(ctx context.Context, chaincode string, args [][]byte, commands []contracts.Submission, msps []string) (*Held, error) {
	var set []endorser
	for _, m := range msps {
		i := slices.IndexFunc(l.gw.peers, func(p endorser) bool { return p.info.MSP == m })
		if i < 0 {
			return nil, fmt.Errorf("no peer of %s", m)
		}
		set = append(set, l.gw.peers[i])
	}
	var transient map[string][]byte
	if o := proposal.Openings(commands); o != nil {
		transient = map[string][]byte{proposal.TransientOpenings: o}
	}
	p, err := l.gw.propose(ctx, chaincode, args, transient, set...)
	return &Held{l, p}, err
}

// Send orders the transaction, as late and as often as one likes, and waits for nothing.
func (h *Held) Send(ctx context.Context) error { return h.l.gw.order(ctx, h.p) }

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
		return x.flag.String(), nil
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
		h := blocks.HeaderHash(b.Header)
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
