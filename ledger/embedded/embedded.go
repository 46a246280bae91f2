// Package embedded is the default ledger: one process, one writer, a write-ahead log as the only truth, and a state
// store that follows it.
//
//	Submit → queue → decode and verify a batch in parallel → contracts.Apply over the batch's changes
//	       → openings durable → one append and fdatasync → merge into the state → promise and answer
//
// Nothing is answered, a refusal included, before all that the answer depends on is durable. The first write or sync
// that fails stops the writer for good; those who wait get ErrOutcomeUnknown, and after the next Open a Lookup knows.
package embedded

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/records"
	"github.com/bund-exchange/bund/contracts/verifying"
	"github.com/bund-exchange/bund/ledger"
)

// Config says what ledger to open, and how. Zero values of optional fields are good.
type Config struct {
	Dir      string             // folder of the ledger: log/, state.db, lock; made if it isn't there
	LedgerID string             // what commands name as their ledger
	Key      ed25519.PrivateKey // signs promises
	AtLeast  uint64             // entries known to be durable from elsewhere, the published log or a witness; fewer is refused
	Openings ledger.Openings    // optional; without it a command with openings is a failure

	// Tap gets every batch once it is durable, before it is answered, in order. It must not block. Entries before the
	// height at Open come from Entries.
	Tap func([]*ledger.Stored)

	Now          func() time.Time // optional, time.Now
	Log          *slog.Logger     // optional
	SegmentBytes int64            // a segment is full from here on; 64 MiB
	FlushKeys    int              // changed keys after which the state store is flushed; 100,000
	FlushEvery   time.Duration    // at the latest; 2 s

	Rules Rules // optional, the rule book; tests of the ledger itself use smaller ones
	Files FS    // optional, the folder log/; tests inject faults

	storeNoSync bool
	mutation    mutation
}

// Rules decides about commands: pure functions, see contracts.Decode and contracts.Apply.
type Rules struct {
	Decode func(contracts.Submission) (*contracts.Command, error)
	Apply  func(contracts.State, contracts.Env, *contracts.Command) (*contracts.Result, error)
}

// Limits. A caller beyond them waits or gets a failure.
const (
	maxBatch  = 1024      // commands in one append
	maxQueue  = 4096      // submissions waiting
	maxBehind = 4_000_000 // changed keys that the state store may lack
	busyKeys  = 64        // signers' keys with tables, in each of two generations; 20 MB

	cacheKeys    = 50_000 // values of the state store kept by the sequencer, in each of two generations
	cacheRecords = 10_000 // decoded records kept by it, in each of two generations
)

// Ledger is an open embedded ledger. There is one at a time for a folder, kept by a file lock.
type Ledger struct {
	cfg   Config
	lock  *os.File
	wal   *wal
	store *store
	queue chan *unit
	ready chan []*unit // decoded, on its way to the sequencer

	closing  chan struct{} // closed by Close
	done     chan struct{} // the sequencer has ended and everybody is answered
	closeOne sync.Once
	closeErr error
	flushing sync.WaitGroup
	kick     chan struct{} // asks for a flush
	answers  sync.WaitGroup

	mu      sync.Mutex
	grew    chan struct{} // closed when entries were added
	stopped error         // why the writer takes no more

	metrics *metrics

	// The sequencer's own.
	cache   *cache
	records *records.Cache
	floor   contracts.Millis // no later entry is earlier than this
}

var _ ledger.Ledger = (*Ledger)(nil)

// Open opens or creates the ledger in cfg.Dir. It refuses a log that is damaged, saying in which file and where, a log
// that is behind the state store or cfg.AtLeast, and a folder that another process holds.
func Open(cfg Config) (*Ledger, error) {
	cfg = cfg.withDefaults()
	if cfg.LedgerID == "" || len(cfg.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("couldn't open the ledger: it needs an id and a key")
	}
	l := &Ledger{
		cfg: cfg, queue: make(chan *unit, maxQueue), ready: make(chan []*unit), closing: make(chan struct{}), done: make(chan struct{}),
		kick: make(chan struct{}, 1), grew: make(chan struct{}), cache: newCache(cacheKeys), records: records.New(cacheRecords), metrics: newMetrics(),
	}
	if err := l.open(); err != nil {
		l.release()
		return nil, fmt.Errorf("couldn't open the ledger in %s: %w", cfg.Dir, err)
	}
	go l.gather()
	go l.sequence()
	l.flushing.Add(1)
	go l.follow()
	return l, nil
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.FlushKeys == 0 {
		c.FlushKeys = 100_000
	}
	if c.FlushEvery == 0 {
		c.FlushEvery = 2 * time.Second
	}
	if c.Rules.Decode == nil {
		v := verifying.New(busyKeys)
		c.Rules = Rules{Apply: contracts.Apply, Decode: func(s contracts.Submission) (*contracts.Command, error) { return contracts.DecodeWith(s, v.Verify) }}
	}
	return c
}

func logDir(dir string) string    { return filepath.Join(dir, "log") }
func statePath(dir string) string { return filepath.Join(dir, "state.db") }

func (l *Ledger) open() (err error) {
	if l.cfg.Files == nil {
		if err := makeDir(logDir(l.cfg.Dir)); err != nil {
			return err
		}
		l.cfg.Files = Dir(logDir(l.cfg.Dir))
	}
	if l.lock, err = lockFolder(l.cfg.Dir); err != nil {
		return err
	}
	if l.store, err = openStore(statePath(l.cfg.Dir), l.cfg.LedgerID, l.cfg.storeNoSync); err != nil {
		return err
	}
	s := l.store
	tree, err := treeFactory.NewRange(0, s.head.height, s.head.tree)
	if err != nil {
		return fmt.Errorf("couldn't read the state store: %w", err)
	}
	have := mark{height: s.head.height, hash: s.head.hash, atLeast: l.cfg.AtLeast}
	l.wal, err = openWAL(l.cfg.Files, l.cfg.LedgerID, l.cfg.SegmentBytes, l.cfg.mutation, have, func(e *ledger.Stored) error {
		for _, w := range e.Writes {
			s.live[w.Key] = cell{w.Value, e.Position}
		}
		if err := tree.Append(rfc6962.DefaultHasher.HashLeaf(ledger.Leaf(e.Encoded, e.Entry)), nil); err != nil {
			return err
		}
		s.head = head{height: e.Position + 1, hash: e.Hash, time: e.Time}
		return nil
	})
	if err != nil {
		return err
	}
	s.head.tree = tree.Hashes()
	l.floor = s.head.time
	if n := l.wal.cut; n > 0 {
		l.cfg.Log.Warn("cut a torn tail off the log; nothing acknowledged was in it", "bytes", n, "height", s.head.height)
	}
	return nil
}

// Close answers what was submitted, flushes the state store and releases the folder.
func (l *Ledger) Close() error { return l.close(true) }

// Abort is Close without the flush: the next Open takes from the log what the state store lacks. Crash tests end a
// process with it.
func (l *Ledger) Abort() error { return l.close(false) }

func (l *Ledger) close(flush bool) error {
	l.closeOne.Do(func() {
		close(l.closing)
		<-l.done
		l.flushing.Wait()
		if flush {
			l.closeErr = l.store.flush()
		}
		l.closeErr = errors.Join(l.closeErr, l.release())
	})
	return l.closeErr
}

func (l *Ledger) release() error {
	var errs []error
	if l.wal != nil {
		errs = append(errs, l.wal.close())
	}
	if l.store != nil {
		errs = append(errs, l.store.db.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// follow keeps the state store close behind the log.
func (l *Ledger) follow() {
	defer l.flushing.Done()
	t := time.NewTicker(l.cfg.FlushEvery)
	defer t.Stop()
	for {
		select {
		case <-l.closing:
			return
		case <-t.C:
		case <-l.kick:
		}
		if err := l.store.flush(); err != nil {
			l.cfg.Log.Error("the state store no longer follows the log", "error", err)
			return
		}
	}
}

// Flush brings the state store up to the log.
func (l *Ledger) Flush() error { return l.store.flush() }

// Height is the number of durable entries.
func (l *Ledger) Height(context.Context) (uint64, error) {
	l.wal.mu.Lock()
	defer l.wal.mu.Unlock()
	return l.wal.height, nil
}

// Entries gives up to limit durable entries from position from on. It returns less than limit at the end of a segment
// or after some megabytes.
func (l *Ledger) Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.wal.read(from, limit)
}

// Wait returns once there is a durable entry at position from.
func (l *Ledger) Wait(ctx context.Context, from uint64) error {
	for {
		l.mu.Lock()
		grew := l.grew
		l.mu.Unlock()
		if h, _ := l.Height(ctx); h > from {
			return nil
		}
		select {
		case <-grew:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.done:
			return ledger.ErrClosed
		}
	}
}

// View runs f on the state at a height. The writer waits for f: it must be short, and must not call the ledger.
func (l *Ledger) View(f func(height uint64, st contracts.State) error) error {
	return l.store.view(func(h head, v *view) error { return f(h.height, v) })
}

// Tree gives the RFC 6962 compact range over the leaves of all durable entries: what the published log must agree with.
func (l *Ledger) Tree() (size uint64, hashes [][]byte) {
	l.store.mu.RLock()
	defer l.store.mu.RUnlock()
	return l.store.head.height, l.store.head.tree
}

// StateHash flushes and gives the hash of the state, with the height it belongs to.
func (l *Ledger) StateHash() (height uint64, hash [32]byte, err error) {
	if err := l.store.flush(); err != nil {
		return 0, hash, err
	}
	tx, err := l.store.db.Begin(false)
	if err != nil {
		return 0, hash, fmt.Errorf("couldn't read the state store: %w", err)
	}
	defer tx.Rollback()
	hash, to, err := hashStored(tx)
	return to.height, hash, err
}

// Health is what an operator must know.
type Health struct {
	Height  uint64           // entries in the log
	Stored  uint64           // entries in the state store
	Behind  int              // changed keys that the state store lacks
	Queued  int              // submissions waiting
	Flushed time.Duration    // the last flush took this long
	Stopped error            // the writer takes no more commands
	Broken  error            // the state store no longer follows; the log is complete and the next Open catches up
	Time    contracts.Millis // of the last entry
}

// Check says why the ledger takes no commands, or why its state no longer follows them; nil when all is well.
func (l *Ledger) Check(context.Context) error {
	h := l.Health()
	return errors.Join(h.Stopped, h.Broken)
}

// Health reports the ledger's condition.
func (l *Ledger) Health() Health {
	h := Health{Queued: len(l.queue), Stopped: l.stop(nil)}
	s := l.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	h.Height, h.Time, h.Stored, h.Broken, h.Flushed = s.head.height, s.head.time, s.stored.height, s.broken, s.took
	h.Behind = len(s.live) + len(s.away)
	return h
}

// stop records why the writer has stopped, the first time, and gives that reason.
func (l *Ledger) stop(why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped == nil {
		l.stopped = why
	}
	return l.stopped
}
