package trading

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/pg"
)

// Ledger is where the desk's commands go.
type Ledger interface {
	Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error)
	Lookup(ctx context.Context, id contracts.ID) (*ledger.Answer, error)
}

// Desk takes commands to the ledger. What it was given is durable before the ledger sees it, so that a crash of the
// market in between leaves no command whose fate nobody asks about: Resume does.
type Desk struct {
	DB     *sqlx.DB
	Ledger Ledger
	Now    func() time.Time
	Log    *slog.Logger
}

// intent is a command on its way.
type intent struct {
	Command    string `db:"command"`
	Raw        []byte `db:"raw"`
	Signatures []byte `db:"signatures"`
	Openings   []byte `db:"openings"`
	NotAfter   int64  `db:"not_after"`
}

type intentSignature struct {
	Key string `json:"key"`
	Sig string `json:"sig"`
}

type intentOpening struct {
	Salt  string `json:"salt"`
	Value string `json:"value"` // hex: an opening that is not UTF-8 is the ledger's to refuse
}

func newIntent(sub contracts.Submission, e *contracts.Envelope) (intent, error) {
	sigs, opens := []intentSignature{}, []intentOpening{}
	for _, s := range sub.Signatures {
		sigs = append(sigs, intentSignature{string(s.Key), hex.EncodeToString(s.Sig)})
	}
	for _, o := range sub.Openings {
		opens = append(opens, intentOpening{hex.EncodeToString(o.Salt[:]), hex.EncodeToString(o.Value)})
	}
	s, err := json.Marshal(sigs)
	if err != nil {
		return intent{}, err
	}
	o, err := json.Marshal(opens)
	return intent{string(e.ID), sub.Raw, s, o, int64(e.NotAfter)}, err
}

func (i intent) submission() (sub contracts.Submission, err error) {
	sub.Raw = i.Raw
	var sigs []intentSignature
	var opens []intentOpening
	if err := errors.Join(json.Unmarshal(i.Signatures, &sigs), json.Unmarshal(i.Openings, &opens)); err != nil {
		return sub, fmt.Errorf("couldn't read intent: %w", err)
	}
	for _, s := range sigs {
		b, err := hex.DecodeString(s.Sig)
		if err != nil {
			return sub, fmt.Errorf("couldn't read intent: %w", err)
		}
		sub.Signatures = append(sub.Signatures, contracts.Signature{Key: contracts.PublicKey(s.Key), Sig: b})
	}
	for _, o := range opens {
		salt, err := hex.DecodeString(o.Salt)
		value, err2 := hex.DecodeString(o.Value)
		if err := errors.Join(err, err2); err != nil || len(salt) != 32 {
			return sub, fmt.Errorf("couldn't read intent: an opening is malformed: %w", errors.Join(err))
		}
		sub.Openings = append(sub.Openings, contracts.Opening{Salt: [32]byte(salt), Value: value})
	}
	return sub, nil
}

// Submit keeps the command and submits it. Its errors are the ledger's; a command that can't be kept is not submitted.
func (d *Desk) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	var e contracts.Envelope
	if len(sub.Raw) > contracts.MaxCommandBytes || canon.Unmarshal(sub.Raw, &e) != nil {
		// Nothing to look up later: the ledger says what is wrong with it.
		return d.Ledger.Submit(ctx, sub)
	}
	i, err := newIntent(sub, &e)
	if err != nil {
		return nil, err
	}
	if _, err := d.DB.ExecContext(ctx, `
		INSERT INTO app.intents (command, raw, signatures, openings, not_after, made_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (command) DO NOTHING`, i.Command, i.Raw, i.Signatures, i.Openings, i.NotAfter, d.Now()); err != nil {
		return nil, fmt.Errorf("couldn't keep the command: %w", err)
	}
	// The caller may go away; what was kept is taken to its end.
	ctx = context.WithoutCancel(ctx)
	r, err := d.Ledger.Submit(ctx, sub)
	if !errors.Is(err, ledger.ErrOutcomeUnknown) {
		// An answer, or a failure after which nothing was accepted and the caller sends the same again.
		d.forget(ctx, i)
	}
	return r, err
}

// Lookup asks the ledger.
func (d *Desk) Lookup(ctx context.Context, id contracts.ID) (*ledger.Answer, error) {
	return d.Ledger.Lookup(ctx, id)
}

// forget removes an intent. Other bytes under the same command id have their own fate: they are not forgotten with these.
func (d *Desk) forget(ctx context.Context, i intent) {
	if _, err := d.DB.ExecContext(ctx, `DELETE FROM app.intents WHERE command = $1 AND raw = $2`, i.Command, i.Raw); err != nil {
		d.Log.WarnContext(ctx, "couldn't remove an answered intent, Resume will", "command", i.Command, "err", err)
	}
}

// Resume takes intents that are at least so old, which whoever took them has left open, to their end: what was accepted or
// can't be any more is forgotten, the others are sent again as they were. One that fails doesn't keep the others.
func (d *Desk) Resume(ctx context.Context, age time.Duration) error {
	var is []intent
	const open = `SELECT command, raw, signatures, openings, not_after FROM app.intents WHERE made_at <= $1 ORDER BY made_at, command`
	if err := d.DB.SelectContext(ctx, &is, open, d.Now().Add(-age)); err != nil {
		return fmt.Errorf("couldn't read intents: %w", err)
	}
	var errs []error
	for _, i := range is {
		if err := d.resume(ctx, i); err != nil {
			errs = append(errs, fmt.Errorf("couldn't resume %s: %w", i.Command, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (d *Desk) resume(ctx context.Context, i intent) error {
	a, err := d.Ledger.Lookup(ctx, contracts.ID(i.Command))
	if err != nil {
		return fmt.Errorf("couldn't look it up: %w", err)
	}
	if a.Status == ledger.NotFound {
		sub, err := i.submission()
		if err != nil {
			return err
		}
		_, err = d.Ledger.Submit(ctx, sub)
		var r *contracts.Refusal
		switch {
		case errors.As(err, &r):
			d.Log.InfoContext(ctx, "a resumed command was refused", "command", i.Command, "code", r.Code)
		case err != nil:
			return err
		default:
			d.Log.InfoContext(ctx, "a command was resumed", "command", i.Command)
		}
	}
	d.forget(ctx, i)
	return nil
}

// resumeEvery is how often Run looks for intents, resumeAge how old they are then: longer than a ledger takes to answer.
// Sending what somebody still waits for is harmless, and work for nothing.
const (
	resumeEvery = 5 * time.Second
	resumeAge   = 30 * time.Second
)

// Run resumes what a process that died, here or on another replica, has left open, until ctx ends; on several replicas one
// of them does. A failure is logged and tried again.
func (d *Desk) Run(ctx context.Context) error {
	return pg.Hold(ctx, d.DB, "intents", d.Log, func(ctx context.Context) error {
		tick := time.NewTicker(resumeEvery)
		defer tick.Stop()
		for {
			if err := d.Resume(ctx, resumeAge); err != nil && ctx.Err() == nil {
				d.Log.WarnContext(ctx, "couldn't resume commands, trying again", "err", err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	})
}
