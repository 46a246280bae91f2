package meter

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// ProviderConfig is what a provider node gives its receipt writer.
type ProviderConfig struct {
	Dir     string             // the store; one writer at a time
	Fence   int64              // ledger position of this node's registration; a standby that takes over has a higher one
	Key     ed25519.PrivateKey // receipt key
	SealKey []byte             // at least 32 bytes; seals answers at rest
	Now     func() time.Time
	Log     *slog.Logger

	// GroupWait bounds how long a group waits for more calls under load; 0 is 4 ms, below 0 it never waits. Longer costs
	// latency and saves CPU.
	GroupWait time.Duration

	segmentBytes int64
	faults       faults
}

// Provider writes the receipt logs of one provider node: one store, one sequencer.
type Provider struct {
	cfg   ProviderConfig
	store *store
	queue jobQueue
	done  chan struct{} // closed when the sequencer has ended

	logs    map[[16]byte]*Log // the sequencer's, also those that the node hasn't opened
	touched []*Log            // by the group at hand

	groups  atomic.Int64
	stopped atomic.Bool // dead is set

	mu   sync.Mutex
	dead error // why the writer stopped; never unset
}

const defaultGroupWait = 4 * time.Millisecond

// OpenProvider takes the store over from whoever had it, reads it, and starts the sequencer.
func OpenProvider(cfg ProviderConfig) (*Provider, error) {
	if len(cfg.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("couldn't open receipt writer: want an ed25519 receipt key")
	}
	if len(cfg.SealKey) < minSealKey {
		return nil, fmt.Errorf("couldn't open receipt writer: want a seal key of at least %d bytes", minSealKey)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.GroupWait == 0 {
		cfg.GroupWait = defaultGroupWait
	}
	if cfg.segmentBytes == 0 {
		cfg.segmentBytes = defaultSegmentBytes
	}
	st, found, err := openStore(cfg.Dir, cfg.Fence, cfg.segmentBytes, cfg.faults)
	if err != nil {
		return nil, err
	}
	p := &Provider{cfg: cfg, store: st, logs: map[[16]byte]*Log{}, done: make(chan struct{})}
	p.queue.wake = make(chan struct{}, 1)
	for id, r := range found {
		if p.logs[id], err = p.resume(r); err != nil {
			p.release()
			return nil, fmt.Errorf("couldn't open receipt store: %w", err)
		}
	}
	go p.sequence()
	return p, nil
}

// Close ends the sequencer after the groups that are queued. Calls that are being executed then fail.
func (p *Provider) Close() error {
	p.stop(ErrStopped)
	p.queue.close()
	<-p.done
	p.release()
	return nil
}

func (p *Provider) release() {
	p.store.close()
	for _, l := range p.logs {
		if l != nil {
			l.close()
		}
	}
}

// Err says why the writer stopped, or nil. A stopped writer refuses nothing: it fails, so that callers go to the
// standby.
func (p *Provider) Err() error {
	if !p.stopped.Load() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// standing turns a refusal into a failure if this writer was overtaken: an old writer's "no" rests on an old log, and
// the caller would believe it. Reading the token without the lock is enough: if it is still ours, so was the log.
func (p *Provider) standing(err error) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	if lost := p.store.lease.check(); lost != nil {
		p.stop(lost)
		return p.failure()
	}
	return err
}

// Groups counts the group commits since the writer started.
func (p *Provider) Groups() int64 { return p.groups.Load() }

func (p *Provider) stop(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead != nil {
		return
	}
	p.dead = err
	if !errors.Is(err, ErrStopped) {
		p.cfg.Log.Error("receipt writer has stopped", "err", err)
		p.dead = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	p.stopped.Store(true)
}

// Open begins an agreement's log at epoch 1, or resumes it where the store has it.
func (p *Provider) Open(ctx context.Context, schedule Schedule, backend Backend) (*Log, error) {
	t, err := schedule.at(0)
	if err != nil {
		return nil, fmt.Errorf("couldn't open receipt log: %w", err)
	}
	if t.Provider != contracts.Ed25519Key(p.cfg.Key.Public().(ed25519.PublicKey)) {
		return nil, errors.New("couldn't open receipt log: terms name another provider key")
	}
	if backend.Execute == nil || backend.Admit == nil {
		return nil, errors.New("couldn't open receipt log: want Admit and Execute")
	}
	j := &job{kind: jobOpen, done: make(chan struct{}), opening: &opening{t.Agreement.Bytes(), schedule, backend}}
	if err := p.run(ctx, j); err != nil {
		return nil, fmt.Errorf("couldn't open receipt log: %w", err)
	}
	return j.log, nil
}

// run queues a job and waits until it is durable or failed.
func (p *Provider) run(ctx context.Context, j *job) error {
	if !p.queue.put(j) {
		return p.failure()
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return ctx.Err() // the job goes on
	}
}

func (p *Provider) failure() error {
	if err := p.Err(); err != nil {
		return err
	}
	return ErrStopped
}
