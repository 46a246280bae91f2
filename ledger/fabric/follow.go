package fabric

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hyperledger/fabric-protos-go/common"
	pb "github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// derived is a block's part in the ledger with what links it to its neighbours.
type derived struct {
	*blocks.Derived
	previous, hash [32]byte
	commit         []byte // the peer's commit hash
}

func (l *Ledger) derive(b *common.Block) (*derived, error) {
	if b.GetHeader() == nil {
		return nil, errors.New("a block has no header")
	}
	if h := blocks.DataHash(b.Data); !bytes.Equal(h[:], b.Header.DataHash) {
		return nil, fmt.Errorf("the transactions of block %d are not those of its header", b.Header.Number)
	}
	d, err := blocks.Derive(b, blocks.Names{Market: l.cfg.Network.Market, Clearing: l.cfg.Network.Clearing})
	if err != nil {
		return nil, err
	}
	x := &derived{Derived: d}
	copy(x.previous[:], b.Header.PreviousHash)
	x.hash = blocks.HeaderHash(b.Header)
	x.commit, err = blocks.CommitHash(b)
	return x, err
}

// follow reads the peer's blocks until Close. A stream that breaks is opened again, at another peer of the organisation
// when there is one; a block that can't be derived stops for good, since nothing after it would be true.
func (l *Ledger) follow() {
	defer l.followers.Done()
	turn := 0
	odd := map[string]bool{} // peers whose blocks were not those of the file when it was last held against one's
	for l.ctx.Err() == nil {
		p := l.own[turn%len(l.own)]
		turn++
		agreed, err := l.read(p)
		if l.ctx.Err() != nil {
			return
		}
		l.weigh(p, agreed, err, odd)
		if broken := l.broken(nil); broken != nil {
			l.cfg.Log.Error("the ledger can't be read on; nothing is derived from here", "err", broken)
			return
		}
		l.lost(p, err)
		l.cfg.Log.Debug("reading blocks again", "peer", p.info.Name, "err", err)
		pause(l.ctx, 50*time.Millisecond+rand.N(200*time.Millisecond))
	}
}

// weigh judges by how a stream ended whether anything is to be read on. One odd peer doesn't stop what another of the
// organisation goes on with; when all of them are, the file is what differs, and nothing that it says holds.
func (l *Ledger) weigh(p endorser, agreed bool, err error, odd map[string]bool) {
	if agreed {
		clear(odd)
	}
	if !errors.Is(err, errAnother) && !errors.Is(err, errJudged) {
		return
	}
	odd[p.info.Name] = true
	if len(odd) == len(l.own) {
		l.broken(err)
		return
	}
	if l.setAside(p) {
		l.cfg.Log.Error("a peer's blocks are not what was read before; another is read", "peer", p.info.Name, "err", err)
	}
}

// errAnother means that the peer's channel isn't the one that the file was derived from.
var errAnother = errors.New("the peer's channel is another than the one that the file was derived from")

// errJudged means that two peers have the same blocks, and found other transactions in them valid.
var errJudged = errors.New("the peer has found other transactions valid, or they changed something else, than the peer that was read before: compare the blocks of both with bundaudit blocks")

// same holds the last block that was derived against a peer's. A block's hash doesn't cover the flags by which entries are
// derived; the commit hash does, of all blocks so far.
func (m mark) same(b *common.Block) error {
	if b.Header == nil || blocks.HeaderHash(b.Header) != m.Head {
		return errAnother
	}
	commit, err := blocks.CommitHash(b)
	if err != nil || !bytes.Equal(commit, m.Commit) {
		return errors.Join(errJudged, err)
	}
	return nil
}

// read follows one stream. Blocks that arrived meanwhile are kept together. The last block that was derived is read again:
// a peer that has another in its place is not to be followed, and nothing that the file says holds on its channel.
//
// It gives whether the peer had it, too.
func (l *Ledger) read(p endorser) (bool, error) {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	m, err := l.store.mark()
	if err != nil {
		return false, l.broken(err)
	}
	ready := make(chan *derived, maxAhead)
	ended := make(chan error, 1)
	begin, from := m, max(m.Block, 1)-1
	had := false // the goroutine's until it has ended
	go func() {
		err := l.gw.blocks(ctx, p, from, func(b *common.Block) error {
			if number := b.GetHeader().GetNumber(); number < begin.Block {
				if err := begin.same(b); err != nil {
					return fmt.Errorf("block %d of %s: %w", number, p.info.Name, err)
				}
				had = true
				l.confirm(p)
				return nil
			}
			d, err := l.derive(b)
			if err != nil {
				return l.broken(err)
			}
			select {
			case ready <- d:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		close(ready)
		ended <- err
	}()
	defer l.leaveStream()
	for d := range ready {
		ds := []*derived{d}
		for more := true; more && len(ds) < maxAhead; {
			select {
			case d, ok := <-ready:
				if more = ok; ok {
					ds = append(ds, d)
				}
			default:
				more = false
			}
		}
		if m, err = l.keep(p, m, ds); err != nil {
			return false, l.broken(err)
		}
	}
	err = <-ended
	return had, err
}

// confirm notes that the peer's channel is that of the file.
func (l *Ledger) confirm(p endorser) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found(p)
	close(l.grew)
	l.grew = make(chan struct{})
}

const maxAhead = 64 // blocks that are derived and not yet kept

// leaveStream notes that no peer is being read.
func (l *Ledger) leaveStream() {
	l.mu.Lock()
	l.reading = ""
	l.mu.Unlock()
}

// keep makes a peer's blocks durable, then tells those who wait.
func (l *Ledger) keep(p endorser, m mark, ds []*derived) (mark, error) {
	m, es, err := l.store.take(m, ds)
	if err != nil {
		return m, err
	}
	l.mu.Lock()
	l.at = m
	l.found(p)
	close(l.grew)
	l.grew = make(chan struct{})
	l.mu.Unlock()
	for _, d := range ds {
		cmds := d.Commands
		for i, t := range d.Transactions {
			n := 0
			for n < len(cmds) && cmds[n].Tx == i {
				n++
			}
			if decided[t.Flag] {
				l.settle(t.ID, verdict{t.Flag, es[:n]})
			}
			cmds, es = cmds[n:], es[n:]
		}
	}
	return m, nil
}

// decided are the flags of a transaction that is who it says it is. Anybody can order an envelope that only names another's
// transaction; peers flag it otherwise, and the true one may follow.
var decided = map[pb.TxValidationCode]bool{pb.TxValidationCode_VALID: true, pb.TxValidationCode_MVCC_READ_CONFLICT: true,
	pb.TxValidationCode_PHANTOM_READ_CONFLICT: true, pb.TxValidationCode_ENDORSEMENT_POLICY_FAILURE: true}

// verdict is what a block says about a transaction.
type verdict struct {
	flag    pb.TxValidationCode
	entries []*ledger.Stored // of its accepted commands, in order
}

// await registers for the verdict on a transaction; settle hands it out.
func (l *Ledger) await(tx string) chan verdict {
	c := make(chan verdict, 1)
	l.mu.Lock()
	l.waiting[tx] = c
	l.mu.Unlock()
	return c
}

func (l *Ledger) forget(tx string) {
	l.mu.Lock()
	delete(l.waiting, tx)
	l.mu.Unlock()
}

func (l *Ledger) settle(tx string, v verdict) {
	l.mu.Lock()
	c := l.waiting[tx]
	delete(l.waiting, tx)
	l.mu.Unlock()
	if c != nil {
		c <- v
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
