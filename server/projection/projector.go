// Package projection turns a ledger's entries into rows that screens and queries read.
//
// The schema proj is a function of the ledger and of nothing else: it holds no now(), serial or random value, only a
// Projector writes it, and it may be dropped and rebuilt at any time with the same dump. A capability says what its
// nouns look like as rows by a Schema; marketd hands all of them to New.
package projection

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/pg"
)

// Source is where entries come from: any ledger.Ledger, or what follows one.
type Source interface {
	// Entries gives up to limit durable entries from position from on, in order and without gaps.
	Entries(ctx context.Context, from uint64, limit int) ([]*ledger.Stored, error)
	// Height is the number of durable entries.
	Height(ctx context.Context) (uint64, error)
	// Wait returns once the height is above from.
	Wait(ctx context.Context, from uint64) error
}

// lockName is the advisory lock that a transaction of a projector holds, so that one at a time writes proj, whatever runs
// beside Run. jobLock is the one that Run holds: of several replicas one projects, the others Watch.
const (
	lockName = "projection"
	jobLock  = "projector"
)

// retryEvery is how long Run waits before it tries again what PostgreSQL couldn't do.
const retryEvery = time.Second

// ErrDiverged means that the ledger does not continue what was projected: it was restored from an older backup, or is
// another ledger. Only a rebuild, which an operator asks for, helps.
var ErrDiverged = errors.New("the ledger doesn't continue what was projected: rebuild the projection")

// errLags means that another replica has projected entries that this one's source doesn't have yet.
var errLags = errors.New("another replica has projected more than the ledger has here")

// Projector tails a ledger into proj. Its methods are safe for concurrent use.
type Projector struct {
	DB     *sqlx.DB
	Source Source
	Log    *slog.Logger
	Batch  int // entries in one transaction

	// Shared says that other replicas project the same ledger from sources of their own, one of which may be ahead: a source
	// that has fewer entries than were projected is behind, and is waited for. Otherwise it is another ledger's.
	Shared bool

	schemas []Schema
	mark    string // fingerprint of schemas

	mu   sync.Mutex
	next uint64        // entries known to be projected
	grew chan struct{} // closed when next grew
}

// New makes a projector for these schemas, besides the base one, which is always there.
func New(db *sqlx.DB, source Source, schemas ...Schema) (*Projector, error) {
	p := &Projector{DB: db, Source: source, Log: slog.Default(), Batch: 2000, grew: make(chan struct{})}
	p.schemas = append([]Schema{Base()}, schemas...)
	var err error
	p.mark, err = fingerprint(p.schemas)
	return p, err
}

// Run prepares proj and projects until ctx ends; on several replicas one of them does. A database that is away for a while
// is tried again; any other failure ends it, since trying again can't help.
func (p *Projector) Run(ctx context.Context) error {
	return pg.Hold(ctx, p.DB, jobLock, p.Log, p.tail)
}

func (p *Projector) tail(ctx context.Context) error {
	prepared := false
	for {
		err := error(nil)
		if !prepared {
			err = p.Prepare(ctx)
			prepared = err == nil
		}
		if err == nil {
			err = p.RunOnce(ctx)
		}
		switch {
		case err == nil:
			if err := p.Source.Wait(ctx, p.Projected()); err != nil {
				return err
			}
		case errors.Is(err, errLags):
			p.Log.InfoContext(ctx, "the projection is ahead of the ledger here, waiting", "err", err)
			// reached has been told how many there are.
			if err := p.Source.Wait(ctx, p.Projected()-1); err != nil {
				return err
			}
		case pg.IsUnavailable(err), pg.IsConflict(err), errors.Is(err, pg.ErrCommitUnknown):
			p.Log.WarnContext(ctx, "couldn't project, trying again", "error", err)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(retryEvery):
			}
		default:
			return err
		}
	}
}

// RunOnce projects what is durable now. Prepare must have been called once.
func (p *Projector) RunOnce(ctx context.Context) error {
	height, err := p.Source.Height(ctx)
	if err != nil {
		return fmt.Errorf("couldn't read the ledger's height: %w", err)
	}
	for {
		next, err := p.step(ctx)
		if err == nil || errors.Is(err, errLags) {
			p.reached(next)
		}
		if err != nil {
			return err
		}
		if next >= height {
			return nil
		}
	}
}

// step projects one batch in one transaction and gives the number of entries projected so far.
func (p *Projector) step(ctx context.Context) (next uint64, err error) {
	err = p.locked(ctx, func(tx *sqlx.Tx) error {
		at, err := readPosition(ctx, tx)
		if err != nil {
			return err
		}
		if at.Schema != p.mark {
			return errors.New("proj was made by another version of the program: Prepare it first")
		}
		es, err := p.Source.Entries(ctx, uint64(at.Next), p.Batch)
		if err != nil {
			return fmt.Errorf("couldn't read the ledger from %d: %w", at.Next, err)
		}
		next = uint64(at.Next)
		if len(es) == 0 {
			return p.checkHead(ctx, at)
		}
		if next, err = p.project(ctx, tx, at, es); err != nil {
			return fmt.Errorf("couldn't project entries from %d: %w", at.Next, err)
		}
		return nil
	})
	return next, err
}

// checkHead refuses a ledger that is shorter than what was projected.
func (p *Projector) checkHead(ctx context.Context, at position) error {
	height, err := p.Source.Height(ctx)
	if err != nil {
		return fmt.Errorf("couldn't read the ledger's height: %w", err)
	}
	if height < uint64(at.Next) {
		why := ErrDiverged
		if p.Shared {
			why = errLags
		}
		return fmt.Errorf("%w: it has %d entries, %d were projected", why, height, at.Next)
	}
	return nil
}

func (p *Projector) project(ctx context.Context, tx *sqlx.Tx, at position, es []*ledger.Stored) (uint64, error) {
	b := newBatch(p.schemas)
	hash, next := at.Hash, uint64(at.Next)
	for _, e := range es {
		if e.Position != next || hex.EncodeToString(e.Prev[:]) != hash {
			return 0, fmt.Errorf("%w: the entry at %d has another predecessor", ErrDiverged, e.Position)
		}
		if err := b.add(e); err != nil {
			return 0, err
		}
		hash, next = hex.EncodeToString(e.Hash[:]), next+1
	}
	if err := b.flush(ctx, tx); err != nil {
		return 0, err
	}
	const move = `UPDATE proj.position SET next = $1, hash = $2 WHERE id = 1`
	if _, err := tx.ExecContext(ctx, move, int64(next), hash); err != nil {
		return 0, fmt.Errorf("couldn't move the position: %w", err)
	}
	return next, nil
}

// locked runs f in a transaction that holds the projectors' lock. Its commit needn't be synchronous: rows and position
// vanish together, and the ledger has them.
func (p *Projector) locked(ctx context.Context, f func(*sqlx.Tx) error) error {
	return pg.WithTx(ctx, p.DB, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `SET LOCAL synchronous_commit = off`); err != nil {
			return fmt.Errorf("couldn't prepare the transaction: %w", err)
		}
		if err := pg.LockTx(ctx, tx, lockName); err != nil {
			return err
		}
		return f(tx)
	})
}

// Projected is the number of entries that this process knows to be projected: by itself, or by another with Watch.
func (p *Projector) Projected() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

func (p *Projector) reached(next uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if next != p.next {
		p.next = next
		close(p.grew)
		p.grew = make(chan struct{})
	}
}
