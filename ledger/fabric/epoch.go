package fabric

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	pb "github.com/hyperledger/fabric-protos-go/peer"
	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger"
)

// An endorsed transaction that somebody holds back is valid for ever, unless something it read has changed. Each names the
// epoch in which it was endorsed and reads that the one after the next has not begun. So absence becomes final: once two
// epochs have begun after a command's last moment, it is on the ledger or never will be.

// settleMillis is how old an epoch must be before transactions name it: endorsers that have not seen it yet would disagree.
const settleMillis = 1000

// epoch gives the epoch that a transaction names now, 0 before the first.
func (l *Ledger) epoch() (uint64, error) {
	n, began, _, err := l.store.epochs(0)
	if err == nil && n > 1 && contracts.Millis(l.cfg.Now().UnixMilli()) < began+settleMillis {
		n--
	}
	return n, err
}

// overAt reports whether no transaction that was endorsed up to a deadline can become valid any more: it names an epoch before
// the first that began later, so it reads that the one after that has not begun.
func overAt(tx *bolt.Tx, deadline contracts.Millis) bool {
	newest, _, after := epochsAt(tx, deadline+skewsMillis)
	return after > 0 && newest > after
}

// keepEpochs begins an epoch whenever the newest is old enough. Every process of the venue does; of two at once one is
// refused by the chaincode or loses at commit.
func (l *Ledger) keepEpochs() {
	defer l.followers.Done()
	for l.ctx.Err() == nil {
		n, began, _, err := l.store.epochs(0)
		if err != nil {
			l.broken(err)
			return
		}
		due := time.UnixMilli(int64(began)).Add(l.cfg.EpochEvery)
		if wait := due.Sub(l.cfg.Now()); n > 0 && wait > 0 {
			pause(l.ctx, wait+rand.N(l.cfg.EpochEvery/20+1))
			continue
		}
		if err := l.begin(n + 1); err != nil && l.ctx.Err() == nil {
			l.cfg.Log.Debug("couldn't begin an epoch", "epoch", n+1, "err", err)
			pause(l.ctx, 200*time.Millisecond+rand.N(300*time.Millisecond))
		}
	}
}

func (l *Ledger) begin(n uint64) error {
	ctx, cancel := context.WithTimeout(l.ctx, commitWait)
	defer cancel()
	set, err := l.endorsers(nil, false)
	if err != nil {
		return err
	}
	p, err := l.gw.propose(ctx, l.cfg.Network.Market, [][]byte{[]byte(proposal.Epoch), strconv.AppendUint(nil, n, 10)}, nil, set...)
	l.noteErrors(set, err)
	if err != nil {
		return err
	}
	verdict := l.await(p.tx)
	defer l.forget(p.tx)
	if err := l.gw.order(ctx, p); err != nil {
		return err
	}
	select {
	case v := <-verdict:
		if v.flag != pb.TxValidationCode_VALID {
			return errors.New(v.flag.String())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ready waits until an epoch has begun, so that commands can name one: the network takes transactions.
func (l *Ledger) ready(ctx context.Context) error {
	for {
		l.mu.Lock()
		grew := l.grew
		l.mu.Unlock()
		n, err := l.epoch()
		if err != nil || n > 0 {
			return err
		}
		select {
		case <-grew:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ctx.Done():
			return ledger.ErrClosed
		}
	}
}
