// Package clearing is the market's clerk: what the venue's machine may do by the rules when its time has come. It
// activates prepaid grants, warns of low funds, holds and releases, lets agreements expire, closes periods and settles
// them. The clerk decides nothing: it looks for what is due, signs, and takes a refusal for an answer.
package clearing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
)

// Desk takes commands to the ledger and loses none of them on the way.
type Desk interface {
	Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error)
}

// Openings gives the market's own copy of a private value; projection.ErrNotFound when it was erased.
type Openings interface {
	Find(ctx context.Context, commitment contracts.Hash) (*contracts.KeptOpening, error)
}

// Projection tells when an entry can be read.
type Projection interface {
	WaitFor(ctx context.Context, position uint64) error
}

// Clerk runs the jobs. On several replicas one of them works at a time.
type Clerk struct {
	DB         *sqlx.DB
	Desk       Desk
	Openings   Openings
	Projection Projection
	Ledger     string      // id of the ledger
	Key        signing.Key // the venue's machine key
	Now        func() time.Time
	Random     io.Reader // nil: crypto/rand
	Log        *slog.Logger

	// Every is how often the clerk looks although nothing has happened on the ledger: terms end and graces run out by
	// time alone. 0: a minute.
	Every time.Duration

	mu     sync.Mutex // held while the clerk works
	agenda agenda
	last   uint64 // position of the clerk's last entry
	sent   bool   // there is such an entry
}

// retryRefused is how long after a refusal the same thing is tried again, unless the agreement changes before.
const retryRefused contracts.Millis = 10 * 60 * 1000

// command is what a rule finds due; kind "" when nothing is.
type command struct {
	kind string
	body any
}

// rule finds what is due of an agreement. It takes the openings along that the command needs, and tells when to look
// again although nothing will have changed, 0 for never.
type rule func(ctx context.Context, w *work, r *records, p *purse) (due command, again contracts.Millis, err error)

// In the order of a trade: what an earlier one does may make a later one due.
var rules = []rule{activate, funds, expire, closePeriod, settle}

// work is one look of the clerk.
type work struct {
	market  *projection.Market
	now     contracts.Millis
	refused map[string]bool // by agreement and kind
}

const lockName = "clearing"

// rest is the time between two looks at least: a busy ledger grows all the time.
const rest = 200 * time.Millisecond

// Run looks at once, then whenever the ledger has grown and at least every c.Every, until ctx ends. On several replicas
// one of them does; of two that overlap the ledger refuses the one that comes late. Failures are logged and tried again:
// none of this work is lost by waiting.
func (c *Clerk) Run(ctx context.Context) error {
	return pg.Hold(ctx, c.DB, lockName, c.Log, c.look)
}

func (c *Clerk) look(ctx context.Context) error {
	every := c.Every
	if every == 0 {
		every = time.Minute
	}
	for {
		next, err := c.projected(ctx)
		if err == nil {
			err = c.RunOnce(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := every
		if err != nil {
			c.Log.WarnContext(ctx, "clearing failed and is tried again", "err", err)
			wait = min(every, time.Second)
		}
		rested := time.After(min(wait, rest))
		pause, cancel := context.WithTimeout(ctx, wait)
		if err == nil {
			err = c.Projection.WaitFor(pause, next)
		}
		if err != nil {
			<-pause.Done() // a failure waits its time; a time that has run out is over
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-rested:
		}
	}
}

// RunOnce does what is due now, of the agreements that have changed since it looked last and of those whose time has
// come. An agreement that fails doesn't keep the others from their turn, and has its own again with the next look.
func (c *Clerk) RunOnce(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Without its own last entry the clerk would do it again.
	if err := c.caughtUp(ctx); err != nil {
		return err
	}
	next, err := c.projected(ctx)
	if err != nil {
		return err
	}
	m, err := projection.ReadMarket(ctx, c.DB)
	if err != nil {
		return err
	}
	if m.Rules == nil {
		return nil // no genesis yet
	}
	now, err := m.Now(contracts.Millis(c.Now().UnixMilli()))
	if err != nil {
		return err
	}
	w := &work{market: m, now: now, refused: map[string]bool{}}
	if c.agenda.knows(next, m.Rules.Version) {
		due, err := c.agenda.due(ctx, c.DB, next, now)
		if err != nil {
			return err
		}
		err = c.workOff(ctx, w, due)
		c.agenda.seen(next, m.Rules.Version)
		return err
	}
	c.agenda = agenda{}
	var errs []error
	for after := contracts.ID(""); ; {
		ids, err := agreementsAfter(ctx, c.DB, after)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if len(ids) == 0 {
			break
		}
		errs = append(errs, c.workOff(ctx, w, ids))
		after = ids[len(ids)-1]
	}
	c.agenda.seen(next, m.Rules.Version)
	return errors.Join(errs...)
}

// maxRounds bounds how often one look comes back to an agreement: the rest is for the next look.
const maxRounds = 16

// workOff does what is due of these agreements. What one command has changed is projected before the next is looked for.
func (c *Clerk) workOff(ctx context.Context, w *work, ids []contracts.ID) error {
	var errs []error
	for round := 0; len(ids) > 0; round++ {
		var acted []contracts.ID
		for part := range slices.Chunk(ids, pageOf) {
			rs, err := c.records(ctx, part)
			if err != nil {
				c.agenda.soon(part)
				errs = append(errs, err)
				continue
			}
			for _, r := range rs {
				did, again, err := c.attend(ctx, w, r)
				if err != nil {
					errs = append(errs, err)
					again = w.now
				}
				c.agenda.put(r.id, again)
				if did {
					acted = append(acted, r.id)
				}
			}
		}
		if ids = acted; len(ids) == 0 {
			break
		}
		if err := c.caughtUp(ctx); err != nil || round == maxRounds {
			c.agenda.soon(ids)
			errs = append(errs, err)
			break
		}
	}
	return errors.Join(errs...)
}

// attend sends the first command that is due of an agreement and isn't refused.
func (c *Clerk) attend(ctx context.Context, w *work, r *records) (did bool, again contracts.Millis, err error) {
	for _, due := range rules {
		p := &purse{from: c.Openings}
		x, at, err := due(ctx, w, r, p)
		if errors.Is(err, errErased) {
			c.Log.WarnContext(ctx, "the clerk leaves what rests on an erased value", "agreement", r.id)
			continue
		}
		if err != nil {
			return false, 0, err
		}
		again = sooner(again, at)
		if x.kind == "" {
			continue
		}
		if of := string(r.id) + " " + x.kind; w.refused[of] {
			again = sooner(again, w.now+retryRefused)
			continue
		} else if did, err = c.do(ctx, w, r.id, x, p); did || err != nil {
			return did, again, err
		} else {
			w.refused[of] = true
			again = sooner(again, w.now+retryRefused)
		}
	}
	return false, again, nil
}

// caughtUp waits until the clerk's own last entry can be read.
func (c *Clerk) caughtUp(ctx context.Context) error {
	if !c.sent {
		return nil
	}
	return c.Projection.WaitFor(ctx, c.last)
}

func (c *Clerk) projected(ctx context.Context) (next uint64, err error) {
	var n int64
	if err := c.DB.GetContext(ctx, &n, `SELECT next FROM proj.position WHERE id = 1`); err != nil {
		return 0, fmt.Errorf("couldn't read the projection's position: %w", err)
	}
	return uint64(n), nil
}

// do signs a command and takes it to the ledger. It answers false when the command was refused. An unknown outcome is a
// failure here: the desk finds out, and the next look sees it.
func (c *Clerk) do(ctx context.Context, w *work, agreement contracts.ID, x command, p *purse) (accepted bool, err error) {
	u := contracts.Unsigned{Ledger: c.Ledger, Member: w.market.Venue, Kind: x.kind, Body: x.body, NotBefore: w.now}
	from := c.Random
	if from == nil {
		from = rand.Reader
	}
	if _, err := io.ReadFull(from, u.Random[:]); err != nil {
		return false, fmt.Errorf("couldn't make a command id: %w", err)
	}
	sub, id := signing.Sign(u, p.openings, c.Key)
	r, err := c.Desk.Submit(ctx, sub)
	var no *contracts.Refusal
	if errors.As(err, &no) {
		c.Log.InfoContext(ctx, "the ledger refused the clerk", "kind", x.kind, "agreement", agreement, "code", no.Code)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("couldn't submit %s of %s: %w", x.kind, agreement, err)
	}
	c.Log.InfoContext(ctx, "the clerk acted", "kind", x.kind, "agreement", agreement, "command", id, "position", r.Position)
	c.last, c.sent = max(c.last, r.Position), true
	return true, nil
}

// purse gathers the openings that a command needs: each once, none that it doesn't need.
type purse struct {
	from     Openings
	have     []contracts.Hash
	openings []contracts.Opening
}

// errErased means that a private value was erased: what needs it can't be done any more by the clerk.
var errErased = errors.New("an opening was erased")

// open takes an opening along and decodes its value.
func open[T any](ctx context.Context, p *purse, commitment contracts.Hash) (*T, error) {
	k, err := p.from.Find(ctx, commitment)
	if errors.Is(err, projection.ErrNotFound) {
		return nil, errErased
	}
	if err != nil {
		return nil, err
	}
	if !slices.Contains(p.have, commitment) {
		p.have = append(p.have, commitment)
		p.openings = append(p.openings, k.Opening)
	}
	v := new(T)
	if err := canon.Unmarshal(k.Opening.Value, v); err != nil {
		return nil, fmt.Errorf("couldn't decode the opening of %s: %w", commitment, err)
	}
	return v, nil
}
