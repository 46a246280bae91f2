package compliance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
)

// Desk takes commands to the ledger and loses none of them on the way.
type Desk interface {
	Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error)
}

// Anchorer puts the head of the record of reads on the ledger, so that the market itself can't change later what it has
// recorded. A crash costs nothing: the ledger takes each count once.
type Anchorer struct {
	Reads  *Reads
	Desk   Desk
	Ledger string      // id of the ledger
	Key    signing.Key // the venue's machine key
	Now    func() time.Time
	Random io.Reader // nil: crypto/rand
	Log    *slog.Logger

	// Every is how much ledger time lies between two anchors at least. 0: an hour.
	Every time.Duration
}

const (
	anchorLock  = "compliance.anchor"
	anchorLooks = time.Minute // between two looks at most
)

// Run anchors what is new, until ctx ends. On several replicas one of them works at a time: two at once would be harmless.
// Failures are logged and tried again: nothing is lost by waiting.
func (a *Anchorer) Run(ctx context.Context) error {
	return pg.Hold(ctx, a.Reads.DB, anchorLock, a.Log, a.look)
}

func (a *Anchorer) look(ctx context.Context) error {
	for {
		if err := a.RunOnce(ctx); err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "supervisors' reads couldn't be anchored; it is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(a.every(), anchorLooks)):
		}
	}
}

func (a *Anchorer) every() time.Duration {
	if a.Every == 0 {
		return time.Hour
	}
	return a.Every
}

// RunOnce anchors the record when it has grown and the last anchor is old enough. A record that isn't what was anchored
// before, or is broken since, is never anchored: that would make it true.
func (a *Anchorer) RunOnce(ctx context.Context) error {
	m, err := projection.ReadMarket(ctx, a.Reads.DB)
	if err != nil {
		return err
	}
	if m.Rules == nil {
		return nil // no genesis yet
	}
	now, err := m.Now(contracts.Millis(a.Now().UnixMilli()))
	if err != nil {
		return err
	}
	last, err := a.Reads.anchor(ctx)
	if err != nil {
		return err
	}
	if last != nil && now < last.Time+contracts.Millis(a.every().Milliseconds()) {
		return nil
	}
	body, err := a.grown(ctx, last)
	if err != nil || body == nil {
		return err
	}
	u := contracts.Unsigned{Ledger: a.Ledger, Member: m.Venue, Kind: "reads.anchor", Body: *body, NotBefore: now}
	from := a.Random
	if from == nil {
		from = rand.Reader
	}
	if _, err := io.ReadFull(from, u.Random[:]); err != nil {
		return fmt.Errorf("couldn't make a command id: %w", err)
	}
	sub, id := signing.Sign(u, nil, a.Key)
	r, err := a.Desk.Submit(ctx, sub)
	var no *contracts.Refusal
	if errors.As(err, &no) && no.Code == "reads.order" {
		return nil // on the ledger already, and not projected yet
	}
	if err != nil {
		return fmt.Errorf("couldn't submit the anchor of %d reads: %w", body.Count, err)
	}
	a.Log.InfoContext(ctx, "supervisors' reads are anchored", "count", body.Count, "command", id, "position", r.Position)
	return nil
}

// grown gives what is to be anchored beyond the last anchor, nil when nothing is.
func (a *Anchorer) grown(ctx context.Context, last *Anchor) (body *contracts.ReadsAnchor, err error) {
	next, prev := int64(1), ""
	if last != nil {
		var hash []contracts.Hash
		if err := a.Reads.DB.SelectContext(ctx, &hash, `SELECT hash FROM app.reads WHERE seq = $1`, last.Count); err != nil {
			return nil, fmt.Errorf("couldn't read the record of reads: %w", err)
		}
		if len(hash) != 1 || hash[0] != last.Head {
			return nil, errors.New(notAsAnchored(last.Count))
		}
		next, prev = last.Count+1, string(last.Head)
	}
	err = a.Reads.walk(ctx, next, prev, func(r Read) error {
		body = &contracts.ReadsAnchor{Count: r.Seq, Head: contracts.Hash(r.Hash)}
		return nil
	})
	return body, err
}
