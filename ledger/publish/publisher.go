// Package publish is the public face of a ledger: a transparency log after C2SP tlog-tiles whose leaves are
// ledger.Leaf, checkpoints signed by the log and cosigned by witnesses, and proofs.
//
//	ledger ──Source──▶ tree ──▶ tiles, bundles ──sync──▶ sign ──▶ witnesses ──▶ checkpoint file
//
// The tlog may lag the ledger; it never leads and never differs. A crash at any point costs only the work since the
// last checkpoint, which is done again byte for byte. Losing the whole folder costs a republication.
//
// The same package has the strict readers of what it publishes (checkpoints, bundles, proofs, pages of entries), so
// that both sides of each format stand together.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/ledger"
)

// Config of a Publisher. Dir, Ledger, Signer and LogKey are required.
type Config struct {
	Dir    string      // folder of the tlog; created when absent
	Ledger string      // id of the ledger: origin of checkpoints and name of the log key
	Signer note.Signer // ed25519
	LogKey string      // public key of Signer, textual form

	Witnesses []Witness
	Quorum    int // witnesses that followers want; decides only what is logged and shown

	CheckpointEvery time.Duration // at least this long between checkpoints that grow; 1 s when zero
	RecosignEvery   time.Duration // a log at rest is cosigned again this often; 20 s when zero. At most a third of the smallest maxStaleSec
	WitnessTimeout  time.Duration // longest wait for the witnesses in one round; 3 s when zero

	AcceptLoss       bool // open although a witness has cosigned more, or another history: what only a dishonest operator does
	AllowUnwitnessed bool // open although no witness answers. The operator's explicit word
	CompareAll       bool // on opening read and hash every entry, for a ledger that keeps no tree of its own

	HTTP *http.Client // to the witnesses; a client of its own when nil
	Now  func() time.Time
	Log  *slog.Logger
}

// Witness is where a witness is asked for cosignatures.
type Witness struct {
	URL string // submission prefix, without a slash at the end
	Key string // cosignature/v1 or ed25519 key in textual form
}

// Publisher keeps a tlog up with a Source. One per folder. Safe for concurrent use.
type Publisher struct {
	face
	lock      *os.File
	policy    Policy
	witnesses []*witness
	opening   Opening

	mu        sync.Mutex // one step at a time: tiles, checkpoint, witnesses
	tree      *tree
	prev      [32]byte     // chain hash of the last published entry
	epoch     uint64       // of the tree: the last accepted loss in it begins it
	broken    error        // first failed write; the tree is ahead of its files, so no step runs any more
	vet       func() error // while opening: the witnesses' last word before anything is published
	lastRound time.Time
	quorate   bool // the last head had a quorum

	head atomic.Pointer[Head] // published, durable; nil before the first checkpoint

	rounds rounds
	stop   context.CancelFunc
}

// Status is how publication stands.
type Status struct {
	Size      uint64 // leaves in the published checkpoint
	Height    uint64 // entries in the ledger
	Fresh     time.Time
	Witnesses []WitnessStatus
	Broken    error // publication stopped for good
}

// WitnessStatus is how one witness stands.
type WitnessStatus struct {
	Name string
	At   time.Time // of its last cosignature
	Err  error     // of the last attempt
}

const (
	pageEntries = 1024
	stepEntries = 16 * pageEntries // a growing ledger gets a checkpoint at least this often
)

func (c *Config) fill() error {
	if c.Dir == "" || c.Ledger == "" || c.Signer == nil {
		return errors.New("publish: Dir, Ledger and Signer are required")
	}
	if c.CheckpointEvery == 0 {
		c.CheckpointEvery = time.Second
	}
	if c.RecosignEvery == 0 {
		c.RecosignEvery = 20 * time.Second
	}
	if c.WitnessTimeout == 0 {
		c.WitnessTimeout = 3 * time.Second
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: 5 * time.Minute}}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

// policy is whose signatures count.
func (c *Config) policy() (Policy, error) {
	keys := make([]string, len(c.Witnesses))
	for i, w := range c.Witnesses {
		keys[i] = w.Key
	}
	return NewPolicy(c.LogKey, keys, c.Quorum)
}

// Head is the published checkpoint; false before the first.
func (p *Publisher) Head() (Head, bool) {
	if h := p.head.Load(); h != nil {
		return *h, true
	}
	return Head{}, false
}

// Status reads no disk. Height is 0 with an error of the source.
func (p *Publisher) Status(ctx context.Context) Status {
	var s Status
	if h, ok := p.Head(); ok {
		s.Size = h.Size
		s.Fresh, _ = h.FreshAt(p.cfg.Quorum, p.cfg.Now().Add(time.Minute))
	}
	s.Height, _ = p.src.Height(ctx)
	for _, w := range p.witnesses {
		s.Witnesses = append(s.Witnesses, w.status())
	}
	p.mu.Lock()
	s.Broken = p.broken
	p.mu.Unlock()
	return s
}

// RunOnce publishes what the ledger has, or, when it has nothing new and the last round is RecosignEvery ago, gets the
// head cosigned again. An error of the source or of building leaves is retryable. A failed write is not: every later
// call repeats it, and the process must start again.
func (p *Publisher) RunOnce(ctx context.Context) error { return p.step(ctx, false) }

func (p *Publisher) step(ctx context.Context, now bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return p.broken
	}
	for {
		more, err := p.grow(ctx)
		if err != nil {
			return err
		}
		h, have := p.Head()
		switch {
		case p.tree.size > h.Size || !have && p.tree.size > 0:
			if err := p.keep(func() error { return p.tree.flush() }); err != nil {
				return err
			}
			if err := p.publish(ctx, now); err != nil {
				return err
			}
			if err := p.keep(func() error { return p.tree.collect(h.Size, p.tree.size) }); err != nil {
				return err
			}
		case have && (now || p.cfg.Now().Sub(p.lastRound) >= p.cfg.RecosignEvery):
			return p.publish(ctx, now)
		}
		if !more {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// keep makes a failure of the folder final.
func (p *Publisher) keep(write func() error) error {
	if err := write(); err != nil {
		p.broken = fmt.Errorf("publication stopped: %w", err)
		return p.broken
	}
	return nil
}

// grow adds entries of the source to the tree, at most stepEntries; more says that the source has yet others.
func (p *Publisher) grow(ctx context.Context) (more bool, err error) {
	height, err := p.src.Height(ctx)
	if err != nil {
		return false, fmt.Errorf("couldn't read the ledger's height: %w", err)
	}
	to := min(height, p.tree.size+stepEntries)
	for p.tree.size < to {
		es, err := p.src.Entries(ctx, p.tree.size, int(min(pageEntries, to-p.tree.size)))
		if err != nil {
			return false, fmt.Errorf("couldn't read entries from %d: %w", p.tree.size, err)
		}
		if len(es) == 0 {
			return false, fmt.Errorf("the ledger gave no entry at %d of %d", p.tree.size, height)
		}
		for _, e := range es {
			if e.Position != p.tree.size {
				return false, fmt.Errorf("the ledger gave entry %d, want %d", e.Position, p.tree.size)
			}
			if e.Prev != p.prev {
				return false, fmt.Errorf("%w: entry %d doesn't follow the published one before it", ErrDiffers, e.Position)
			}
			leaf := ledger.Leaf(e.Encoded, e.Entry)
			if len(leaf) > maxLeafBytes {
				return false, fmt.Errorf("%w: entry %d touches more objects than a leaf can name", ErrDiffers, e.Position)
			}
			if err := p.keep(func() error { return p.tree.add(leaf) }); err != nil {
				return false, err
			}
			p.prev = e.Hash
			if p.epoch, err = epochAfter(p.epoch, e.Entry); err != nil {
				return false, err
			}
		}
	}
	return p.tree.size < height, nil
}

// epochAfter is the log's epoch with the entry in it.
func epochAfter(epoch uint64, e *ledger.Entry) (uint64, error) {
	if !ledger.HasLoss(e) {
		return epoch, nil
	}
	b, err := ledger.CheckLoss(e)
	if err != nil {
		return 0, fmt.Errorf("%w: entry %d: %w", ErrDiffers, e.Position, err)
	}
	return uint64(b.Epoch), nil
}

// publish signs the tree's head, asks the witnesses and replaces the checkpoint file. The tree is flushed.
func (p *Publisher) publish(ctx context.Context, all bool) error {
	c := Checkpoint{Origin: p.cfg.Ledger, Epoch: p.epoch, Size: p.tree.size, Root: p.tree.root()}
	signed, err := c.sign(p.cfg.Signer)
	if err != nil {
		return fmt.Errorf("couldn't sign the checkpoint: %w", err)
	}
	signed, err = p.collectCosignatures(ctx, c, signed, all)
	if err != nil {
		return err
	}
	if p.vet != nil {
		if err := p.vet(); err != nil {
			return err
		}
	}
	if err := p.install(signed); err != nil {
		return err
	}
	h, _ := p.Head()
	_, quorate := h.FreshAt(p.cfg.Quorum, p.cfg.Now().Add(time.Minute))
	if quorate = quorate || p.cfg.Quorum == 0; quorate != p.quorate {
		if p.quorate = quorate; quorate {
			p.cfg.Log.InfoContext(ctx, "a quorum of witnesses cosigns", "size", h.Size, "cosignatures", len(h.Cosignatures))
		} else {
			p.cfg.Log.WarnContext(ctx, "no quorum of witnesses: followers start no new use", "size", h.Size, "cosignatures", len(h.Cosignatures), "quorum", p.cfg.Quorum)
		}
	}
	return nil
}

const (
	checkpointName = "checkpoint"
	checkpointTemp = "checkpoint.new"
)

// install makes a signed checkpoint the published one, atomically and durably.
func (p *Publisher) install(signed []byte) error {
	h, err := p.policy.Open(signed)
	if err != nil {
		return fmt.Errorf("couldn't verify the own checkpoint: %w", err)
	}
	err = p.keep(func() error {
		if err := p.fs.Write(checkpointTemp, signed); err != nil {
			return err
		}
		if err := p.fs.Sync(checkpointTemp); err != nil {
			return err
		}
		if err := p.fs.Rename(checkpointTemp, checkpointName); err != nil {
			return err
		}
		return p.fs.SyncDir(".")
	})
	if err == nil {
		p.head.Store(&h)
	}
	return err
}

// Run publishes until ctx ends: what is new at once after a pause of CheckpointEvery, which lets a busy ledger fill a
// checkpoint, and a log at rest again every RecosignEvery. It returns only ctx's end or what needs a restart.
func (p *Publisher) Run(ctx context.Context) error {
	for {
		err := p.RunOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case p.isBroken() || errors.Is(err, ErrDiffers) || errors.Is(err, ledger.ErrClosed):
			return err
		case err != nil:
			p.cfg.Log.ErrorContext(ctx, "couldn't publish", "err", err)
		}
		if err := pause(ctx, p.cfg.CheckpointEvery); err != nil {
			return err
		}
		h, _ := p.Head()
		p.mu.Lock()
		rest := p.lastRound.Add(p.cfg.RecosignEvery).Sub(p.cfg.Now())
		p.mu.Unlock()
		if h.Size == 0 {
			rest = p.cfg.RecosignEvery // nothing to cosign yet
		}
		if rest <= 0 {
			continue
		}
		waiting, cancel := context.WithTimeout(ctx, rest)
		err = p.src.Wait(waiting, h.Size)
		cancel()
		if err != nil && waiting.Err() == nil {
			p.cfg.Log.ErrorContext(ctx, "couldn't wait for the ledger", "err", err)
			if errors.Is(err, ledger.ErrClosed) {
				return err
			}
		}
	}
}

func (p *Publisher) isBroken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken != nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Close waits for rounds in progress and gives the folder free. Run must have ended.
func (p *Publisher) Close() error {
	p.rounds.close(p.stop)
	if p.lock == nil {
		return nil
	}
	return p.lock.Close()
}
