package embedded

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// call is one command, or one question after a command, on its way through the sequencer.
type call struct {
	sub contracts.Submission
	cmd *contracts.Command
	ask contracts.ID // a Lookup when not empty

	// The answer. Exactly one of receipt, answer and err is set when the call's unit is done.
	receipt *ledger.Receipt
	answer  *ledger.Answer
	err     error
}

// unit is what one caller hands over at once. It is never split over two batches.
type unit struct {
	calls []*call
	open  atomic.Int32 // calls without an answer
	done  chan struct{}
}

func newUnit(calls ...*call) *unit {
	u := &unit{calls: calls, done: make(chan struct{})}
	u.open.Store(int32(len(calls)))
	return u
}

// answered marks one call as answered; its fields are not written any more.
func (u *unit) answered() {
	if u.open.Add(-1) == 0 {
		close(u.done)
	}
}

// unless gives err, or nil when the answers are there.
func (u *unit) unless(err error) error {
	select {
	case <-u.done:
		return nil
	default:
		return err
	}
}

// Submit asks for one command to be accepted, see ledger.Ledger.
func (l *Ledger) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	c := &call{sub: sub}
	if err := l.run(ctx, newUnit(c)); err != nil {
		return nil, err
	}
	return c.receipt, c.err
}

// Result is the answer to one of several commands: a receipt or an error, as Submit gives them.
type Result struct {
	Receipt *ledger.Receipt
	Err     error
}

// SubmitAll submits several commands in order, to be decided one after another and made durable together. Each has an
// answer of its own. An error means that no answer is known: it is Submit's, for all of them.
func (l *Ledger) SubmitAll(ctx context.Context, subs []contracts.Submission) ([]Result, error) {
	if len(subs) > maxBatch {
		return nil, fmt.Errorf("%d commands at once, at most %d", len(subs), maxBatch)
	}
	if len(subs) == 0 {
		return nil, nil
	}
	u := newUnit()
	for _, s := range subs {
		u.calls = append(u.calls, &call{sub: s})
	}
	u.open.Store(int32(len(u.calls)))
	if err := l.run(ctx, u); err != nil {
		return nil, err
	}
	out := make([]Result, len(u.calls))
	for i, c := range u.calls {
		out[i] = Result{c.receipt, c.err}
	}
	return out, nil
}

// Lookup says what became of a command. An accepted one is answered from the state; everything else goes through the
// sequencer, behind what was submitted before, so that "not found" is about those, too, and "never" stays true.
func (l *Ledger) Lookup(ctx context.Context, id contracts.ID) (*ledger.Answer, error) {
	if _, err := ledger.Deadline(id); err != nil {
		return nil, err
	}
	c := &call{ask: id}
	found := false
	err := l.store.view(func(h head, v *view) error {
		var x cell
		if x, found = v.find(contracts.KeyCommand(id)); !found {
			return nil
		}
		c.answer = &ledger.Answer{Height: h.height}
		return fill(c.answer, x)
	})
	if err != nil {
		return nil, err
	}
	if found {
		if c.answer.Promise, err = l.promised(c.answer.Promise.Position); err != nil {
			return nil, err
		}
		ledger.SignPromises(l.cfg.Key, l.cfg.LedgerID, []*ledger.Promise{&c.answer.Promise})
		return c.answer, nil
	}
	if err := l.run(ctx, newUnit(c)); err != nil {
		return nil, err
	}
	return c.answer, c.err
}

// fill completes an answer from what the state holds of an accepted command: the cell was written once, by the
// command's own entry.
func fill(a *ledger.Answer, x cell) error {
	out, err := contracts.Read[contracts.Outcome](x.value)
	if err != nil {
		return fmt.Errorf("couldn't read the recorded outcome: %w", err)
	}
	a.Status, a.Outcome, a.Promise.Position = ledger.Accepted, *out, x.position
	return nil
}

// promised gives what is promised of the durable entry at a position.
func (l *Ledger) promised(position uint64) (ledger.Promise, error) {
	es, err := l.wal.read(position, 1)
	if err != nil {
		return ledger.Promise{}, err
	}
	if len(es) == 0 {
		return ledger.Promise{}, fmt.Errorf("no entry at %d", position)
	}
	return ledger.Promise{Position: position, Hash: es[0].Hash, Time: es[0].Time}, nil
}

// run hands a unit to the sequencer and waits for its answers.
func (l *Ledger) run(ctx context.Context, u *unit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.stop(nil); err != nil {
		return err
	}
	select {
	case <-l.closing:
		return ledger.ErrClosed
	default:
	}
	select {
	case l.queue <- u:
	case <-l.closing:
		return ledger.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-u.done:
		return nil
	case <-ctx.Done():
		return u.unless(fmt.Errorf("%w: %w", ledger.ErrOutcomeUnknown, ctx.Err()))
	case <-l.done:
		// Everything that the sequencer took is answered; what it didn't take had no effect.
		return u.unless(ledger.ErrClosed)
	}
}
