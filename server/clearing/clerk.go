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

	mu      sync.Mutex
	last    uint64                 // position of the clerk's last entry
	sent    bool                   // there is such an entry
	barred  map[string]bar         // by kind and agreement
	inOrder map[contracts.ID]int64 // agreements whose funds are in order → newest record then
	closing struct {               // the last look at periods that left nothing to do
		from  contracts.Millis
		since int64 // position up to which it has seen all
	}
}

// bar keeps a refused command from being sent again with every look: until something about its agreement changes, or
// its time is over.
type bar struct {
	newest int64
	until  contracts.Millis
}

// subject is an agreement that something may be due for.
type subject struct {
	ID     contracts.ID `db:"id"`
	Newest int64        `db:"newest"` // position of the newest record that the work depends on
}

// retryRefused is how long after a refusal the same thing is tried again.
const retryRefused = 10 * 60 * 1000

// job is one kind of work.
type job struct {
	name string
	run  func(*Clerk, context.Context, *projection.Market, contracts.Millis) error
}

// In the order of a trade: what an earlier one does may make a later one due.
var jobs = []job{
	{"activate", (*Clerk).activate},
	{"funds", (*Clerk).funds},
	{"expire", (*Clerk).expire},
	{"close", (*Clerk).closePeriods},
	{"settle", (*Clerk).settle},
}

const lockName = "clearing"

// Run looks at once, then whenever the ledger has grown and at least every c.Every, until ctx ends. Failures are logged
// and tried again: none of this work is lost by waiting.
func (c *Clerk) Run(ctx context.Context) error {
	every := c.Every
	if every == 0 {
		every = time.Minute
	}
	for {
		next, err := c.projected(ctx)
		if err == nil {
			_, err = pg.WithLock(ctx, c.DB, lockName, c.RunOnce)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := every
		if err != nil {
			c.Log.WarnContext(ctx, "clearing failed and is tried again", "error", err)
			wait = min(every, time.Second)
		}
		pause, cancel := context.WithTimeout(ctx, wait)
		if err == nil {
			err = c.Projection.WaitFor(pause, next)
		}
		if err != nil {
			<-pause.Done() // a failure waits its time; a time that has run out is over
		}
		cancel()
	}
}

// RunOnce does what is due now. A job that fails doesn't keep the others from their work.
func (c *Clerk) RunOnce(ctx context.Context) error {
	var errs []error
	for _, j := range jobs {
		if err := c.runJob(ctx, j); err != nil {
			errs = append(errs, fmt.Errorf("couldn't %s: %w", j.name, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Clerk) runJob(ctx context.Context, j job) error {
	c.mu.Lock()
	last, sent := c.last, c.sent
	c.mu.Unlock()
	if sent {
		// Without its own last entry the clerk would do it again.
		if err := c.Projection.WaitFor(ctx, last); err != nil {
			return err
		}
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
	return j.run(c, ctx, m, now)
}

func (c *Clerk) projected(ctx context.Context) (next uint64, err error) {
	var n int64
	if err := c.DB.GetContext(ctx, &n, `SELECT next FROM proj.position WHERE id = 1`); err != nil {
		return 0, fmt.Errorf("couldn't read the projection's position: %w", err)
	}
	return uint64(n), nil
}

// do signs a command and takes it to the ledger. It answers the code of a refusal, "" when the command was accepted. An
// unknown outcome is a failure here: the desk finds out, and the next look sees it.
func (c *Clerk) do(ctx context.Context, m *projection.Market, now contracts.Millis, on subject, kind string, body any, purse *purse) (contracts.Code, error) {
	u := contracts.Unsigned{Ledger: c.Ledger, Member: m.Venue, Kind: kind, Body: body, NotBefore: now}
	from := c.Random
	if from == nil {
		from = rand.Reader
	}
	if _, err := io.ReadFull(from, u.Random[:]); err != nil {
		return "", fmt.Errorf("couldn't make a command id: %w", err)
	}
	sub, id := signing.Sign(u, purse.openings, c.Key)
	r, err := c.Desk.Submit(ctx, sub)
	var no *contracts.Refusal
	if errors.As(err, &no) {
		c.Log.InfoContext(ctx, "the ledger refused the clerk", "kind", kind, "agreement", on.ID, "code", no.Code)
		c.remember(kind, on, now)
		return no.Code, nil
	}
	if err != nil {
		return "", fmt.Errorf("couldn't submit %s of %s: %w", kind, on.ID, err)
	}
	c.Log.InfoContext(ctx, "the clerk acted", "kind", kind, "agreement", on.ID, "command", id, "position", r.Position)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.sent = max(c.last, r.Position), true
	return "", nil
}

func (c *Clerk) remember(kind string, on subject, now contracts.Millis) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.barred == nil {
		c.barred = map[string]bar{}
	}
	for k, b := range c.barred {
		if b.until <= now {
			delete(c.barred, k)
		}
	}
	c.barred[kind+" "+string(on.ID)] = bar{on.Newest, now + retryRefused}
}

// waits reports whether the command was refused a while ago and nothing that it depends on has changed since.
func (c *Clerk) waits(kind string, on subject, now contracts.Millis) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.barred[kind+" "+string(on.ID)]
	return ok && b.newest == on.Newest && b.until > now
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
