// Package publication is the published log of a market that runs as several replicas: one of them publishes it, all of them
// serve it from the folder that they share, and each lets the one that publishes get it cosigned.
package publication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/server/pg"
)

// Log serves the published log, and publishes it while Run holds the lock. Safe for concurrent use.
type Log struct {
	*publish.Reader
	cfg publish.Config
	db  *sqlx.DB
	src publish.Source
	log *slog.Logger

	mu  sync.Mutex
	pub *publish.Publisher // nil while another replica publishes
}

// lockName is the lock of the replica that publishes. The folder has a lock of its own besides: two never write at once.
const lockName = "published log"

const (
	// retryEvery is how long a replica that may publish waits before it tries again to open the log.
	retryEvery = time.Second
	// catchUpWithin bounds how long it waits for entries that are known to have been published. A ledger that doesn't get
	// them is another one's.
	catchUpWithin = 2 * time.Minute
)

// Open serves what is published. cfg.Log must be set.
func Open(ctx context.Context, db *sqlx.DB, cfg publish.Config, src publish.Source) (_ *Log, err error) {
	l := &Log{cfg: cfg, db: db, src: src, log: cfg.Log}
	l.Reader, err = publish.OpenReader(ctx, cfg, src, l.ask)
	return l, err
}

// Run publishes when it is this replica's turn, until ctx ends. It gives what another replica may do better: a folder that
// can't be written, a ledger that isn't the one published. A witness that doesn't answer is waited for.
func (l *Log) Run(ctx context.Context) error {
	return pg.Hold(ctx, l.db, lockName, l.log, l.publish)
}

func (l *Log) publish(ctx context.Context) (err error) {
	p, err := l.open(ctx)
	if err != nil {
		return err
	}
	l.log.InfoContext(ctx, "this replica publishes the log", "opening", fmt.Sprintf("%+v", p.Opening()))
	l.set(p)
	defer func() {
		l.set(nil)
		err = errors.Join(err, p.Close())
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error { return l.answer(ctx, p) })
	return g.Wait()
}

// open opens the log for writing once the ledger here has what was published, and the replica before has let it go.
func (l *Log) open(ctx context.Context) (*publish.Publisher, error) {
	for {
		p, err := l.tryOpen(ctx)
		switch {
		case err == nil:
			return p, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, publish.ErrDiffers), errors.Is(err, ledger.ErrClosed), errors.Is(err, errMissing):
			return nil, err
		}
		l.log.WarnContext(ctx, "couldn't open the published log to go on with it, trying again", "err", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryEvery):
		}
	}
}

// errMissing means that the ledger here doesn't get what was published.
var errMissing = errors.New("the ledger lacks published entries")

func (l *Log) tryOpen(ctx context.Context) (*publish.Publisher, error) {
	known, err := publish.Ask(ctx, l.cfg)
	if err != nil {
		return nil, err
	}
	if known.Epoch > known.Here.Epoch {
		return nil, fmt.Errorf("%w: a witness is in epoch %d of the log", errMissing, known.Epoch)
	}
	if known.Size > 0 {
		waiting, cancel := context.WithTimeout(ctx, catchUpWithin)
		defer cancel()
		if err := l.src.Wait(waiting, known.Size-1); err != nil && waiting.Err() == nil {
			return nil, err
		} else if err != nil {
			return nil, fmt.Errorf("%w: %d are known", errMissing, known.Size)
		}
	}
	// Behind and ahead again: the replica before published more since. The next time it is waited for.
	return publish.Open(ctx, l.cfg, l.src)
}

func (l *Log) set(p *publish.Publisher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pub = p
}

// publisher is nil while another replica publishes.
func (l *Log) publisher() *publish.Publisher {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pub
}

// Status is how the log stands. Of the witnesses only the replica that publishes knows.
func (l *Log) Status(ctx context.Context) publish.Status {
	s := l.Reader.Status(ctx)
	if p := l.publisher(); p != nil {
		w := p.Status(ctx)
		s.Witnesses, s.Broken = w.Witnesses, errors.Join(s.Broken, w.Broken)
	}
	return s
}
