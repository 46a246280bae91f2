// Package follow reads a published ledger and believes none of it: every leaf is hashed into the follower's own tree,
// which must come to the root that the log signed and the witnesses cosigned; every body must be what its leaf commits
// to; and a body that should be there and is not stops everything.
//
//	trust root ─▶ checkpoint ─▶ leaves ─▶ own root = signed root? ─▶ bodies = leaves? none withheld? ─▶ one commit ─▶ state
//
// What it cannot see: a leaf that leaves out one of my objects. That is found by bundaudit, and by whoever gets the body.
package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/transparency-dev/merkle/compact"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
)

var (
	// ErrStale: no use may start, the newest quorum of witnesses is too old. Uses that run go on.
	ErrStale = errors.New("LEDGER_STALE")
	// ErrFork: the log has shown two histories, or another ledger. Final, also over a restart: nothing starts until the
	// operator of this node has looked at the evidence and removed the local state.
	ErrFork = errors.New("follow: the log shows another history")
	// ErrWithheld: a leaf is public or names one of my objects, and its body is missing or false. Nothing starts until
	// it is delivered.
	ErrWithheld = errors.New("follow: an entry that concerns this member is withheld")
	// ErrGap: a page of bodies does not account for the positions asked for.
	ErrGap = errors.New("follow: the server left out positions")
)

// Config of a Follower. Path, Trust and URL are required.
type Config struct {
	Path  string // file of the local state
	Trust TrustRoot
	URL   string       // base of /checkpoint, /tile, /entries, /cosign
	HTTP  *http.Client // authenticates as Me; a plain one when nil

	Me   contracts.ID               // member; "" follows only what is public
	All  bool                       // venue, regulator, auditor: every body is due
	Mine func(id contracts.ID) bool // objects that are mine besides those in bodies I got; may be nil

	// OnEntry is called with every body that is for this member, in order, after its step is durable and visible.
	// A crash between the two loses calls: what must not be missed is read from the state on start. It must not call
	// RunOnce, StartNow or Close.
	OnEntry func(*ledger.Entry)
	// OnCut is called when entries that were followed are lost: the state is that of the log after an accepted loss, of
	// which kept entries were followed before, and OnEntry is not called for those up to Status().Size. What was
	// kept beside the state is to be read anew from it.
	OnCut func(kept uint64)
	// OnEarly is called with bodies as soon as the ledger has them, ahead of any checkpoint. They are not verified
	// against the log: good enough to stop something, never to start it. It may see an entry twice.
	OnEarly func(*ledger.Entry)

	PollEvery time.Duration // at most this long between looks at the checkpoint; 2 s when zero, at most 30 s
	Timeout   time.Duration // of one request; 10 s when zero
	Skew      time.Duration // how far a witness's clock may be ahead of or behind this one; 5 s when zero
	Now       func() time.Time
	Log       *slog.Logger
}

// Follower is safe for concurrent use.
type Follower struct {
	cfg    Config
	policy publish.Policy
	remote remote
	store  *store

	work     sync.Mutex // one step at a time; guards rng, head, last, early
	rng      *compact.Range
	head     publish.Head // largest checkpoint that extends everything followed; Signed nil before the first
	last     []byte       // chain hash of the entry before, nil when not known
	accepted []Loss       // by this run

	mu    sync.RWMutex // what the gate reads
	epoch uint64       // of the last accepted loss that was followed
	state *state
	size  uint64
	mine  map[[16]byte]struct{}
	fresh time.Time
	stop  error
}

const (
	// stepLeaves bounds the memory of a catch-up: so many leaves, with their bodies, are one step.
	stepLeaves = 8192
	maxPoll    = 30 * time.Second
)

// Open loads the local state. It asks nobody; the first RunOnce does.
func Open(cfg Config) (*Follower, error) {
	if cfg.Path == "" || cfg.URL == "" {
		return nil, errors.New("follow: Path and URL are required")
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	}
	if cfg.PollEvery == 0 {
		cfg.PollEvery = 2 * time.Second
	}
	cfg.PollEvery = min(cfg.PollEvery, maxPoll)
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Skew == 0 {
		cfg.Skew = 5 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	f := &Follower{cfg: cfg, remote: remote{cfg.URL, cfg.HTTP, cfg.Timeout}}
	var err error
	if f.policy, err = cfg.Trust.Policy(); err != nil {
		return nil, err
	}
	if f.store, err = openStore(cfg.Path, identityOf(cfg.Trust, cfg.Me, cfg.All)); err != nil {
		return nil, err
	}
	if err := f.restore(); err != nil {
		return nil, errors.Join(err, f.store.close())
	}
	return f, nil
}

func (f *Follower) restore() error {
	l, err := f.store.load()
	if err != nil {
		return err
	}
	f.rng, f.last, f.state, f.mine, f.size, f.epoch = l.rng, l.last, l.st, l.mine, l.rng.End(), l.epoch
	if len(f.last) == 0 {
		f.last = nil
	}
	if l.head != nil {
		if f.head, err = f.policy.Open(l.head); err != nil {
			return fmt.Errorf("couldn't verify the followed head: %w", err)
		}
		if f.size > f.head.Size || f.size == f.head.Size && rootOf(f.rng) != f.head.Root {
			return errors.New("follow: the local state doesn't fit its own head")
		}
	}
	if len(l.fork) > 0 {
		f.stop = fmt.Errorf("%w (kept from an earlier run)", ErrFork)
	}
	f.refresh()
	return nil
}

func rootOf(r *compact.Range) [32]byte {
	if r.End() == 0 {
		return [32]byte(emptyRoot)
	}
	h, err := r.GetRootHash(nil)
	if err != nil { // cannot happen: the range begins at 0 and is not empty
		panic(err)
	}
	return [32]byte(h)
}

// refresh takes the freshness of the head, once everything under it is followed. It never goes back.
func (f *Follower) refresh() {
	if f.size == 0 || f.size != f.head.Size {
		return
	}
	if at, ok := f.head.FreshAt(f.policy.Quorum, f.cfg.Now().Add(f.cfg.Skew)); ok && at.After(f.fresh) {
		f.fresh = at
	}
}

// MayStart is the gate's question before a use starts: nil, ErrStale, or what stopped the follower. maxStale is the
// grant's; 0 asks for StartNow and is answered ErrStale here.
func (f *Follower) MayStart(now time.Time, maxStale time.Duration) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	switch {
	case f.stop != nil:
		return f.stop
	case maxStale <= 0 || f.fresh.IsZero() || now.Sub(f.fresh) > maxStale:
		return ErrStale
	}
	return nil
}

// StartNow is MayStart for maxStaleSec 0: it asks the log for a round of cosignatures, follows up to it, and accepts
// only a quorum that signed after the call began, to the second and within Skew of this clock.
func (f *Follower) StartNow(ctx context.Context) error {
	begun := f.cfg.Now().Truncate(time.Second).Add(-f.cfg.Skew)
	signed, err := f.remote.cosign(ctx)
	if err != nil {
		return fmt.Errorf("%w: couldn't get a new checkpoint: %w", ErrStale, err)
	}
	if err := f.follow(ctx, signed); err != nil {
		return err
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.stop != nil {
		return f.stop
	}
	// Only this checkpoint counts, not an older one that happens to be fresh enough.
	h, err := f.policy.Open(signed)
	if err != nil {
		return err
	}
	if at, ok := h.FreshAt(f.policy.Quorum, f.cfg.Now().Add(f.cfg.Skew)); !ok || at.Before(begun) || h.Size > f.size {
		return ErrStale
	}
	return nil
}

// Status is how following stands.
type Status struct {
	Size  uint64    // entries followed
	Epoch uint64    // of the log, see publish.Checkpoint
	Head  uint64    // of the largest verified checkpoint
	Fresh time.Time // newest quorum over everything followed
	Stop  error
}

// Status answers at once, also while a step runs, with Head as of the last finished one.
func (f *Follower) Status() Status {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return Status{Size: f.size, Epoch: f.epoch, Head: f.head.Size, Fresh: f.fresh, Stop: f.stop}
}

// View calls fn with the state at one position. Steps wait for fn: keep it short, and don't call the Follower in it.
func (f *Follower) View(fn func(View)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	fn(View{f})
}

// Get gives the value of key now. Two calls may see two positions; View doesn't.
func (f *Follower) Get(key string) (value []byte, ok bool) {
	f.View(func(v View) { value, ok = v.Get(key) })
	return value, ok
}

// Scan gives up to limit keys that begin with prefix, ascending.
func (f *Follower) Scan(prefix string, limit int) (ws []contracts.Write) {
	f.View(func(v View) { ws = v.Scan(prefix, limit) })
	return ws
}

// RunOnce looks at the checkpoint and follows up to it. Errors are retryable except ErrFork.
func (f *Follower) RunOnce(ctx context.Context) error {
	signed, err := f.remote.checkpoint(ctx)
	if err != nil {
		return fmt.Errorf("couldn't fetch the checkpoint: %w", err)
	}
	return f.follow(ctx, signed)
}

// Run follows until ctx ends or the log forks. Between looks it listens for new entries, so that a stop order arrives
// at once. Failures are tried again after a growing, random pause.
func (f *Follower) Run(ctx context.Context) error {
	misses := 0
	early, epoch := uint64(0), f.Status().Epoch
	for {
		err := f.RunOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrFork):
			f.cfg.Log.ErrorContext(ctx, "stopped following", "err", err)
			return err
		case err != nil:
			f.cfg.Log.WarnContext(ctx, "couldn't follow the ledger", "err", err)
			if err := sleep(ctx, backoff(misses, f.cfg.PollEvery)); err != nil {
				return err
			}
			misses++
			continue
		}
		misses = 0
		now := f.Status()
		size := now.Size
		if now.Epoch != epoch {
			early, epoch = 0, now.Epoch // what was announced beyond a loss never comes
		}
		wait := f.cfg.PollEvery
		if early > size {
			wait = min(wait, maxEarlyWait) // entries are known whose checkpoint is on its way
		}
		next, err := f.listen(ctx, max(early, size), wait)
		if err != nil {
			if err := sleep(ctx, wait); err != nil {
				return err
			}
			continue
		}
		early = next
	}
}

const maxEarlyWait = 250 * time.Millisecond

// listen waits for entries from position from on and hands them to OnEarly. Anything odd is left to the next step.
func (f *Follower) listen(ctx context.Context, from uint64, wait time.Duration) (next uint64, err error) {
	g, err := f.remote.page(ctx, from, from+publish.MaxPagePositions, wait)
	if err != nil {
		return from, err
	}
	for _, b := range g.Bodies {
		e, err := ledger.DecodeEntry(b.Encoded)
		if err != nil || e.Position != b.Position || !f.entitled(e) {
			continue
		}
		if f.cfg.OnEarly != nil {
			f.cfg.OnEarly(e)
		}
	}
	return g.Next, nil
}

// backoff doubles from base to half a minute and takes a random half of it, so that nodes don't come back together.
func backoff(misses int, base time.Duration) time.Duration {
	d := min(base<<min(misses, 8), maxPoll)
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Fork gives the evidence of a fork: two checkpoints, each signed by the log, each after a line with its length. Nil
// without one.
func (f *Follower) Fork() ([]byte, error) {
	f.work.Lock()
	defer f.work.Unlock()
	return f.store.fork()
}

// Close ends after the step in progress. Run must have ended.
func (f *Follower) Close() error {
	f.work.Lock()
	defer f.work.Unlock()
	return f.store.close()
}
