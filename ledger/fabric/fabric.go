// Package fabric is the ledger on a Hyperledger Fabric network: the same rules, decided by chaincode on the peers of
// several organisations.
//
//	Submit → batches by definition → endorsement by the venue's peer and another → orderer → block
//	blocks of the own peer → entries and state (one file) → answers
//
// An answer is given from what this process has derived from its peer's blocks, so whoever got it can read it. A refusal is
// what all asked endorsers agree on and never goes to the orderer. What a phase error leaves open is resolved by the
// command's id: the same bytes are sent again, and a ledger takes them once.
package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/verifying"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// Config says what network to use, and as whom.
type Config struct {
	Network      *profile.Network
	Organisation string          // of the network's users: whose client identity signs, whose peer is read
	Dir          string          // for what this process derives; not shared with another
	Openings     ledger.Openings // optional; without it a command with openings is a failure

	// Peers says which members have a peer on the channel: the MSP of each, by its credit code. A command whose openings they
	// may see is endorsed by theirs; with none of its parties here, by the custodian's.
	Peers map[contracts.CreditCode]string

	EpochEvery time.Duration // how often the venue begins an epoch; 30 s. What is held back dies after two
	GiveUp     time.Duration // after which an outcome is unknown; 60 s

	Now func() time.Time // optional, time.Now
	Log *slog.Logger     // optional
}

// Ledger is an open client of the network, with its own derivation of the entries. It implements ledger.Ledger; receipts
// bear no promise: the block is one, signed by the orderers and endorsers.
type Ledger struct {
	cfg   Config
	gw    *gateway
	store *store
	keys  *verifying.Verifier
	own   []endorser // whose blocks are read
	venue []endorser
	other []endorser // that endorse, and are not the venue's

	ctx       context.Context // until Close
	stop      context.CancelFunc
	ended     chan struct{} // closed when every batch has come to its end after that
	end       sync.Once
	followers sync.WaitGroup
	lanes     map[string]*lane // by name of the definition
	busy      sync.WaitGroup   // batches under way

	mu        sync.Mutex
	at        mark
	reading   string        // address of the peer whose blocks are read, and which has those that at comes from; "" between two
	confirmed bool          // a peer had the blocks that at comes from
	grew      chan struct{} // closed when blocks were added
	waiting   map[string]chan verdict
	flying    map[contracts.ID]chan struct{} // closed at the end of the command under way, by id
	brokeErr  error                          // nothing can be derived any more
	lostErr   error                          // the stream is down at the moment
	down      map[string]time.Time           // peers that did not answer, until when they are asked last
	odd       map[string]time.Time           // peers by name that decided otherwise than the others, when last
	metrics   *metrics
}

var _ ledger.Ledger = (*Ledger)(nil)

// busyKeys is for how many signers tables are kept, in each of two generations; 20 MB.
const busyKeys = 64

// Open connects to the network and waits until the own peer's blocks of this moment are derived. ctx bounds that wait only.
func Open(ctx context.Context, cfg Config) (_ *Ledger, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.EpochEvery == 0 {
		cfg.EpochEvery = 30 * time.Second
	}
	if cfg.GiveUp == 0 {
		cfg.GiveUp = 60 * time.Second
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't open the ledger: %w", err)
	}
	l := &Ledger{cfg: cfg, grew: make(chan struct{}), ended: make(chan struct{}), waiting: map[string]chan verdict{}, flying: map[contracts.ID]chan struct{}{},
		down: map[string]time.Time{}, odd: map[string]time.Time{}, metrics: newMetrics(), keys: verifying.New(busyKeys)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	n := cfg.Network
	if l.store, err = openStore(filepath.Join(cfg.Dir, "entries.db"), n.Channel+" "+n.Ledger); err != nil {
		return nil, err
	}
	if l.at, err = l.store.mark(); err != nil {
		return nil, err
	}
	if l.gw, err = openGateway(n, cfg.Organisation); err != nil {
		return nil, err
	}
	user, err := n.User(cfg.Organisation, "client")
	if err != nil {
		return nil, err
	}
	for _, p := range l.gw.peers {
		if p.info.MSP == user.MSP {
			l.own = append(l.own, p)
		}
		switch {
		case p.info.MSP == n.VenueMSP:
			l.venue = append(l.venue, p)
		case p.info.Endorses:
			l.other = append(l.other, p)
		}
	}
	if len(l.own) == 0 || len(l.venue) == 0 {
		return nil, fmt.Errorf("couldn't open the ledger: the network has no peer of %s or none of the venue", cfg.Organisation)
	}
	l.lanes = map[string]*lane{n.Market: newLane(n.Market, false), n.Clearing: newLane(n.Clearing, true)}
	l.followers.Add(1)
	go l.follow()
	if err := l.catchUp(ctx); err != nil {
		return nil, fmt.Errorf("couldn't open the ledger: %w", err)
	}
	for _, x := range l.lanes {
		l.followers.Add(1)
		go l.dispatch(x)
	}
	if user.MSP == n.VenueMSP {
		l.followers.Add(1)
		go l.keepEpochs()
	}
	if err := l.ready(ctx); err != nil {
		return nil, fmt.Errorf("couldn't open the ledger: %w", err)
	}
	return l, nil
}

// catchUp waits until what the own peer has now is derived.
func (l *Ledger) catchUp(ctx context.Context) error {
	for turn := 0; ; turn++ {
		h, err := l.gw.height(ctx, l.own[turn%len(l.own)])
		if err == nil {
			return l.reach(ctx, h)
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if err := l.broken(nil); err != nil {
			return err
		}
		pause(ctx, 200*time.Millisecond)
	}
}

// reach waits until so many blocks are derived, and the peer has shown that they are its own.
func (l *Ledger) reach(ctx context.Context, n uint64) error {
	var at uint64
	err := l.until(ctx, func(m mark, confirmed bool) bool {
		at = m.Block
		return m.Block >= n && confirmed
	})
	if err != nil && at > n {
		err = fmt.Errorf("the file comes from %d blocks, and the peer has %d: %w", at, n, err)
	}
	return err
}

// until waits for a mark of which ok is true.
func (l *Ledger) until(ctx context.Context, ok func(m mark, confirmed bool) bool) error {
	for {
		l.mu.Lock()
		m, confirmed, grew, broken := l.at, l.confirmed, l.grew, l.brokeErr
		l.mu.Unlock()
		switch {
		case ok(m, confirmed):
			return nil
		case broken != nil:
			return broken
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

// broken notes that nothing can be derived any more, once, and gives the reason.
func (l *Ledger) broken(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.brokeErr == nil && l.ctx.Err() == nil {
		l.brokeErr = fmt.Errorf("%w: %w", ledger.ErrStopped, err)
		close(l.grew)
		l.grew = make(chan struct{})
	}
	return l.brokeErr
}

// lost notes that a peer's stream ended. One line says so, however often opening another fails.
func (l *Ledger) lost(p endorser, err error) {
	l.mu.Lock()
	first := l.lostErr == nil && err != nil
	l.lostErr = err
	l.mu.Unlock()
	if first {
		l.cfg.Log.Warn("a peer's blocks can't be read; trying again", "peer", p.info.Name, "err", err)
	}
}

// found notes that a peer is being read. mu is held.
func (l *Ledger) found(p endorser) {
	if l.lostErr != nil {
		l.cfg.Log.Info("blocks are read again", "peer", p.info.Name)
	}
	l.reading, l.confirmed, l.lostErr = p.info.Address, true, nil
}

// Close ends what is under way and closes the file. Callers who wait get an unknown outcome.
func (l *Ledger) Close() error {
	l.stop()
	l.followers.Wait()
	l.busy.Wait()
	l.end.Do(func() { close(l.ended) })
	if l.gw != nil {
		l.gw.close()
	}
	if l.store != nil {
		return l.store.close()
	}
	return nil
}
