package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"
)

// Reader serves a log from the folder that a publisher elsewhere keeps up: all replicas of a market serve one log, one
// publishes it. It shows a head only when the ledger here has all its entries and the last leaf is the entry that the ledger
// here has, so that it vouches for nothing that it doesn't know; and never an older head after a newer one. Safe for
// concurrent use.
type Reader struct {
	face
	policy Policy
	ask    func(ctx context.Context) (signed []byte, err error)

	mu     sync.Mutex // one checkpoint is weighed at a time
	broken error      // why a newer one isn't shown
	head   atomic.Pointer[Head]

	rounds rounds
	stop   context.CancelFunc
}

const (
	// behindWithin is how long a request waits for the ledger here to get the entries of a head that is published.
	behindWithin = time.Second
	// cosignedWithin bounds the same wait for a head that was asked for.
	cosignedWithin = 10 * time.Second
)

// OpenReader reads the folder. Ask has whoever publishes get the log cosigned in a round that begins after the call, and
// gives the signed checkpoint. That nothing is published yet, or more than the ledger here has, is no error; a log that
// differs from the ledger is, ErrDiffers.
func OpenReader(ctx context.Context, cfg Config, src Source, ask func(ctx context.Context) (signed []byte, err error)) (*Reader, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	r := &Reader{face: face{cfg: cfg, src: src, fs: disk(cfg.Dir)}, ask: ask}
	r.stopped, r.stop = context.WithCancel(context.Background())
	r.face.newest, r.face.cosign = r.newest, r.Cosign
	var err error
	if r.policy, err = cfg.policy(); err != nil {
		return nil, err
	}
	_, err = r.look(ctx)
	return r, err
}

// Head is the newest published checkpoint that the ledger here has the entries of; false before the first.
func (r *Reader) Head() (Head, bool) {
	r.look(r.stopped)
	return r.shown()
}

func (r *Reader) shown() (Head, bool) {
	if h := r.head.Load(); h != nil {
		return *h, true
	}
	return Head{}, false
}

// newest waits for a short while when the ledger here is about to have what is published.
func (r *Reader) newest(ctx context.Context, size uint64) (Head, bool) {
	if h, ok := r.shown(); ok && h.Size >= size {
		return h, true
	}
	ctx, cancel := context.WithTimeout(ctx, behindWithin)
	defer cancel()
	for {
		need, err := r.look(ctx)
		if err != nil || need == 0 || r.src.Wait(ctx, need-1) != nil {
			return r.shown()
		}
	}
}

// look weighs the checkpoint in the folder.
func (r *Reader) look(ctx context.Context) (need uint64, err error) {
	signed, err := r.fs.Read(checkpointName)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		err = fmt.Errorf("couldn't read the checkpoint: %w", err)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.note(err)
		return 0, err
	}
	return r.weigh(ctx, signed)
}

// note keeps why a newer head isn't shown, or nil when it is, and tells of the change.
func (r *Reader) note(err error) {
	old, _ := r.shown()
	if err != nil && r.broken == nil {
		r.cfg.Log.Error("the newest published head can't be shown", "size", old.Size, "err", err)
	} else if err == nil && r.broken != nil {
		r.cfg.Log.Info("the newest published head is shown again", "size", old.Size)
	}
	r.broken = err
}

// weigh shows a checkpoint if it is newer than the one that is shown, and what the ledger has. When the ledger has less, it
// says how many entries it needs.
func (r *Reader) weigh(ctx context.Context, signed []byte) (need uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, _ := r.shown()
	if bytes.Equal(signed, old.Signed) {
		r.note(nil)
		return 0, nil
	}
	defer func() {
		if errors.Is(err, ErrDiffers) && ctx.Err() == nil {
			r.note(err)
		}
	}()
	h, err := r.policy.Open(signed)
	if err != nil {
		return 0, fmt.Errorf("%w: the checkpoint in %s: %w", ErrDiffers, r.cfg.Dir, err)
	}
	if h.Before(old.Checkpoint) {
		return 0, nil // of a publisher that was late
	}
	if h.Checkpoint != old.Checkpoint && h.Size > 0 {
		height, err := r.src.Height(ctx)
		if err != nil {
			return 0, fmt.Errorf("couldn't read the ledger's height: %w", err)
		}
		if height < h.Size {
			return h.Size, nil
		}
		if _, err := compareTiles(ctx, r.fs, h); err != nil {
			return 0, err
		}
		if _, err := compareLast(ctx, r.fs, r.src, h.Size); err != nil {
			return 0, err
		}
	}
	r.head.Store(&h)
	r.note(nil)
	return 0, nil
}

// Cosign gives a checkpoint that holds everything that the ledger had at the call, cosigned after it. Callers that come while
// a round runs share the next one.
func (r *Reader) Cosign(ctx context.Context) (Head, error) {
	return r.rounds.join(ctx, r.stopped, func(ctx context.Context) (Head, error) {
		signed, err := r.ask(ctx)
		if err != nil {
			return Head{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, cosignedWithin)
		defer cancel()
		for {
			need, err := r.weigh(ctx, signed)
			if err != nil {
				return Head{}, err
			}
			if need == 0 {
				// Not what is shown: that may be newer by now, and cosigned less freshly.
				return r.policy.Open(signed)
			}
			if err := r.src.Wait(ctx, need-1); err != nil {
				return Head{}, fmt.Errorf("couldn't wait for the %d entries of the checkpoint: %w", need, err)
			}
		}
	})
}

// Status is how the log stands as far as a reader can tell. Broken is why the newest checkpoint isn't shown.
func (r *Reader) Status(ctx context.Context) Status {
	var s Status
	if h, ok := r.Head(); ok {
		s.Size = h.Size
		s.Fresh, _ = h.FreshAt(r.cfg.Quorum, r.cfg.Now().Add(time.Minute))
	}
	s.Height, _ = r.src.Height(ctx)
	r.mu.Lock()
	s.Broken = r.broken
	r.mu.Unlock()
	return s
}

// Close lets readers go who wait, and waits for rounds in progress.
func (r *Reader) Close() error {
	r.rounds.close(r.stop)
	return nil
}
