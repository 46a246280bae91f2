package fabric

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger"
)

// Bounds of what is under way.
const (
	maxBatch      = 50        // commands in a transaction
	maxBatchBytes = 512 << 10 // signed bytes in a transaction, but for a lone command
	maxQueue      = 4096      // submissions waiting in a lane
	maxEndorsing  = 4         // batches of a lane that are with endorsers; those that wait for their block don't count
	maxOpenings   = 448 << 10 // bytes of a command's openings: they come back in hex, beside what the rules make, in at most 1 MiB
	commitWait    = 15 * time.Second

	// gatherWait is how long a batch waits for more commands while others are under way: a block answers many callers at
	// once, and their next commands come within milliseconds. The orderer's timer begins after it.
	gatherWait = 10 * time.Millisecond
)

// call is one submission on its way.
type call struct {
	sub    contracts.Submission
	id     contracts.ID
	digest contracts.Hash
	member contracts.ID // whose command it is
	began  time.Time
	open   bool // a transaction with it was ordered and has no verdict that it is invalid

	mismatched int // tries in a row in which endorsers disagreed

	receipt *ledger.Receipt
	err     error
	done    chan struct{}
}

// lane is the way to one definition.
type lane struct {
	name     string
	clearing bool
	queue    chan *call
	slots    chan struct{}
}

func newLane(name string, clearing bool) *lane {
	return &lane{name, clearing, make(chan *call, maxQueue), make(chan struct{}, maxEndorsing)}
}

// Submit asks for one command to be accepted, see ledger.Ledger. A caller whose ctx ends gets an unknown outcome; the
// command goes on.
func (l *Ledger) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	if err := errors.Join(ctx.Err(), l.broken(nil)); err != nil {
		return nil, err
	}
	cmd, err := contracts.DecodeWith(sub, l.keys.Verify)
	if err != nil {
		return nil, l.refusedHere(err)
	}
	if n := openingBytes(sub); n > maxOpenings {
		return nil, l.refusedHere(&contracts.Refusal{Code: "opening.too_large", Detail: fmt.Sprintf("on this ledger the openings of a command have at most %d bytes together", maxOpenings)})
	}
	c := &call{sub: sub, id: cmd.ID, digest: cmd.Digest, member: contracts.ID(cmd.Member), began: time.Now(), done: make(chan struct{})}
	for {
		if r, err := l.known(c); r != nil || err != nil {
			if r != nil {
				l.metrics.repeated.Inc()
			}
			return r, err
		}
		if l.ctx.Err() != nil {
			return nil, ledger.ErrClosed
		}
		other := l.enter(c)
		if other == nil {
			break
		}
		select { // the same id is under way: its end decides
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ledger.ErrOutcomeUnknown, ctx.Err())
		case <-l.ended:
			return nil, fmt.Errorf("%w: %w", ledger.ErrOutcomeUnknown, ledger.ErrClosed)
		}
	}
	name := l.cfg.Network.Market
	if clearing, _ := contracts.ClearingKind(cmd.Kind); clearing {
		name = l.cfg.Network.Clearing
	}
	select {
	case l.lanes[name].queue <- c:
	case <-ctx.Done():
		l.leave(c)
		return nil, ctx.Err()
	case <-l.ctx.Done():
		l.leave(c)
		return nil, ledger.ErrClosed
	}
	select {
	case <-c.done:
		return c.receipt, c.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ledger.ErrOutcomeUnknown, ctx.Err())
	case <-l.ended:
	}
	select {
	case <-c.done:
		return c.receipt, c.err
	default: // it got into the queue when nobody took from that any more
		return nil, ledger.ErrClosed
	}
}

func openingBytes(sub contracts.Submission) (n int) {
	for _, o := range sub.Openings {
		n += len(o.Value)
	}
	return n
}

// refusedHere is a refusal that needs no endorser: the command's form is wrong.
func (l *Ledger) refusedHere(err error) error {
	var r *contracts.Refusal
	if !errors.As(err, &r) {
		return err
	}
	l.metrics.refused.WithLabelValues(string(r.Code)).Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	return &ledger.Refused{Refusal: r, Position: l.at.Height}
}

// enter notes that a command is under way; when its id is already, it gives what is closed at the other's end.
func (l *Ledger) enter(c *call) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.flying[c.id]; other != nil {
		return other
	}
	l.flying[c.id] = c.done
	return nil
}

func (l *Ledger) leave(c *call) {
	l.mu.Lock()
	delete(l.flying, c.id)
	l.mu.Unlock()
	close(c.done)
}

func (l *Ledger) answer(c *call, r *ledger.Receipt, err error) {
	c.receipt, c.err = r, err
	l.leave(c)
}

// dispatch gathers what waits in a lane while the endorsers are busy, and what comes soon after: a lone caller waits for
// nobody, and many callers share a transaction. A command with openings goes alone, since its endorsers depend on who may see them.
func (l *Ledger) dispatch(x *lane) {
	defer l.followers.Done()
	for {
		var c *call
		select {
		case c = <-x.queue:
		case <-l.ctx.Done():
			l.abandon(x)
			return
		}
		select {
		case x.slots <- struct{}{}:
		case <-l.ctx.Done():
			l.answer(c, nil, ledger.ErrClosed)
			l.abandon(x)
			return
		}
		together, alone := l.gather(x, c)
		<-x.slots
		if len(together) > 0 {
			l.start(x, together)
		}
		for _, c := range alone {
			l.start(x, []*call{c})
		}
	}
}

func (l *Ledger) gather(x *lane, c *call) (together, alone []*call) {
	size := 0
	var soon <-chan time.Time
	for {
		if len(c.sub.Openings) > 0 {
			alone = append(alone, c)
		} else {
			together = append(together, c)
			size += len(c.sub.Raw)
		}
		if len(together)+len(alone) == maxBatch || size > maxBatchBytes {
			return together, alone
		}
		select {
		case c = <-x.queue:
			continue
		default:
		}
		if soon == nil {
			if len(together) == 0 || l.underWay() == len(together)+len(alone) {
				return together, alone
			}
			t := time.NewTimer(gatherWait)
			defer t.Stop()
			soon = t.C
		}
		select {
		case c = <-x.queue:
		case <-soon:
			return together, alone
		case <-l.ctx.Done():
			return together, alone
		}
	}
}

// underWay is the number of commands that callers wait for.
func (l *Ledger) underWay() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.flying)
}

// abandon answers what no batch has taken.
func (l *Ledger) abandon(x *lane) {
	for {
		select {
		case c := <-x.queue:
			l.answer(c, nil, ledger.ErrClosed)
		default:
			return
		}
	}
}

// start takes a slot and runs a batch beside the dispatcher.
func (l *Ledger) start(x *lane, calls []*call) {
	l.busy.Add(1)
	x.slots <- struct{}{}
	go func() {
		defer l.busy.Done()
		l.run(x, calls, true)
	}()
}

// run brings a batch to its end: every call is answered when it returns. held says that it has a slot.
func (l *Ledger) run(x *lane, calls []*call, held bool) {
	for try := 0; len(calls) > 0; try++ {
		if !held {
			x.slots <- struct{}{}
		}
		b := &batch{lane: x, calls: calls}
		err := l.endorse(b)
		<-x.slots
		held = false
		if err == nil && len(b.calls) > 0 {
			err = l.commit(b)
		}
		calls = slices.Concat(b.later, b.calls)
		if len(b.calls) > 1 && (errors.Is(err, errConflict) || try > 1 && (errors.Is(err, errFailed) || errors.Is(err, errOrder))) {
			// One of them read what somebody else changed, or makes the chaincode fail, or writes more than a block takes; it
			// should not take all others along again.
			half := len(b.calls) / 2
			l.busy.Add(1)
			go func() {
				defer l.busy.Done()
				l.run(x, b.calls[:half], false)
			}()
			calls = slices.Concat(b.later, b.calls[half:])
		}
		calls = l.giveUp(calls, err)
		if err != nil && len(calls) > 0 {
			l.metrics.retried.WithLabelValues(reason(err)).Inc()
			l.cfg.Log.Debug("sending commands again", "definition", x.name, "commands", len(calls), "try", try, "err", err)
			pause(l.ctx, backoff(try, err))
		}
	}
}

// giveUp answers the calls that have waited too long, all of them when the ledger is closing, and gives the rest.
func (l *Ledger) giveUp(calls []*call, err error) (rest []*call) {
	for _, c := range calls {
		closing, stopped := l.ctx.Err() != nil, l.broken(nil)
		if !closing && stopped == nil && time.Since(c.began) < l.cfg.GiveUp {
			rest = append(rest, c)
			continue
		}
		why := err
		switch {
		case closing:
			why = ledger.ErrClosed
		case stopped != nil:
			why = stopped
		case why == nil:
			why = errors.New("other commands of the same batches were always before it")
		}
		if r, err := l.known(c); answers(r, err) {
			l.answer(c, r, err)
			continue
		}
		l.metrics.failed.Inc()
		if c.open {
			l.answer(c, nil, fmt.Errorf("%w: %w", ledger.ErrOutcomeUnknown, why))
		} else {
			l.answer(c, nil, fmt.Errorf("couldn't get the command accepted or refused: %w", why))
		}
	}
	return rest
}

// batch is one attempt at a transaction.
type batch struct {
	lane     *lane
	calls    []*call // those that the transaction carries
	later    []*call // those that depend on others of the batch
	endorsed *proposed
	audience []string // MSPs that may endorse, nil: any
	kept     []contracts.Hash
}

// endorse gets a batch endorsed, answering what is refused or repeated and setting aside what depends on others. What is
// left in b.calls is accepted by all asked endorsers, and nothing else is in the transaction: reads of refused commands
// would let others' changes invalidate it, and their details don't belong in a block.
func (l *Ledger) endorse(b *batch) error {
	ctx, cancel := context.WithTimeout(l.ctx, commitWait)
	defer cancel()
	for len(b.calls) > 0 {
		if len(b.calls) == 1 && len(b.calls[0].sub.Openings) > 0 {
			if done, err := l.keepOpenings(ctx, b); err != nil || done {
				return err
			}
		}
		height, reply, err := l.ask(ctx, b, proposal.Submit)
		if err != nil {
			return err
		}
		left, err := l.sort(ctx, b, height, reply)
		if err != nil {
			return err
		}
		if len(left) == len(b.calls) {
			if c := reply.Answers[0].Accepted; len(b.calls) == 1 && !covers(b.kept, c.Commitments) {
				return errMismatch // the state changed since the openings were kept, or who opened them sees another
			}
			return nil
		}
		b.calls = left
	}
	return nil
}

func covers(kept, want []contracts.Hash) bool {
	return !slices.ContainsFunc(want, func(h contracts.Hash) bool { return !slices.Contains(kept, h) })
}

// ask has a batch decided.
func (l *Ledger) ask(ctx context.Context, b *batch, function string) (height uint64, reply proposal.Reply, err error) {
	epoch, err := l.epoch()
	if err != nil {
		return 0, reply, err
	}
	call := proposal.Call{Function: function, Epoch: epoch}
	for _, c := range b.calls {
		call.Commands = append(call.Commands, c.sub)
	}
	var transient map[string][]byte
	if o := proposal.Openings(call.Commands); o != nil {
		transient = map[string][]byte{proposal.TransientOpenings: o}
	}
	set := []endorser{l.prefer(l.venue)}
	if function == proposal.Submit {
		if set, err = l.endorsers(b.audience, b.lane.clearing); err != nil {
			return 0, reply, err
		}
	}
	if height, err = l.Height(ctx); err != nil {
		return 0, reply, err
	}
	p, err := l.gw.propose(ctx, b.lane.name, call.Args(), transient, set...)
	l.noteErrors(set, err)
	if m := (*mismatch)(nil); errors.As(err, &m) {
		l.arbitrate(ctx, b, set, m)
	}
	if err != nil {
		return 0, reply, err
	}
	for _, c := range b.calls {
		if len(set) > 1 {
			c.mismatched = 0
		}
	}
	b.endorsed = p
	reply, err = proposal.ParseReply(p.payload(), len(b.calls))
	return height, reply, err
}

// sort answers what was refused or repeated, sets aside what depends on others, and gives what was accepted.
func (l *Ledger) sort(ctx context.Context, b *batch, height uint64, reply proposal.Reply) (accepted []*call, err error) {
	var wait error
	for i, c := range b.calls {
		switch a := reply.Answers[i]; {
		case a.Accepted != nil:
			accepted = append(accepted, c)
		case a.Refused != nil && a.Refused.Code == "batch.dependent":
			b.later = append(b.later, c)
		case a.Refused != nil && (a.Refused.Code == "epoch.stale" || a.Refused.Code == "epoch.unknown" || a.Refused.Code == "clock.peer"):
			b.later = append(b.later, c)
			err = errEpoch
		case a.Refused != nil && c.open:
			// What was ordered before may still come, and then this no is untrue: wall time alone makes it no conflict.
			b.later = append(b.later, c)
			wait = errNoVerdict
		case a.Refused != nil:
			l.metrics.refused.WithLabelValues(string(a.Refused.Code)).Inc()
			l.answer(c, nil, &ledger.Refused{Refusal: a.Refused.Refusal(), Position: height})
		default:
			r, err := l.take(ctx, c)
			if !answers(r, err) {
				b.later = append(b.later, c) // the endorsers know it already, our own peer will
				wait = errNoVerdict
				continue
			}
			l.answer(c, r, err)
		}
	}
	if err = cmp.Or(err, wait); err != nil {
		b.calls = nil
		b.later = slices.Concat(b.later, accepted)
	}
	return accepted, err
}

// keepOpenings has the venue decide a command with openings, so that they are durable, for those who may see them, before
// it is ordered. done says that the command is answered.
func (l *Ledger) keepOpenings(ctx context.Context, b *batch) (done bool, err error) {
	c := b.calls[0]
	if l.cfg.Openings == nil {
		b.calls = nil
		l.answer(c, nil, errors.New("this ledger has no place for openings"))
		return true, nil
	}
	height, reply, err := l.ask(ctx, b, proposal.Open)
	if err != nil {
		return false, err
	}
	if reply.Answers[0].Refused != nil {
		// Nobody is refused by the venue's word alone where another peer may see the openings: that of the member who sent
		// them, or for clearing the custodian's.
		b.kept = nil
		if b.audience, err = l.peersOf([]contracts.ID{c.member}); err != nil || len(b.audience) > 0 || b.lane.clearing {
			return false, err
		}
	}
	left, err := l.sort(ctx, b, height, reply)
	if err != nil || len(left) == 0 {
		b.calls = nil
		return true, err
	}
	a := reply.Answers[0].Accepted
	var os []ledger.Opening
	b.kept = nil
	for _, k := range a.Kept() {
		os = append(os, ledger.Opening{KeptOpening: k, Command: c.id})
		b.kept = append(b.kept, k.Commitment)
	}
	if len(os) > 0 {
		if err := l.cfg.Openings.Put(ctx, os); err != nil {
			return false, fmt.Errorf("couldn't keep the openings: %w", err)
		}
	}
	b.audience, err = l.mayEndorse(a.Audience)
	return false, err
}

// commit orders an endorsed batch and waits for the verdict of the own peer's block.
func (l *Ledger) commit(b *batch) error {
	ctx, cancel := context.WithTimeout(l.ctx, commitWait)
	defer cancel()
	began := time.Now()
	verdict := l.await(b.endorsed.tx)
	defer l.forget(b.endorsed.tx)
	before := make([]bool, len(b.calls))
	for i, c := range b.calls {
		before[i], c.open = c.open, true
	}
	if err := l.gw.order(ctx, b.endorsed); err != nil {
		return err
	}
	var entries []*ledger.Stored
	select {
	case v := <-verdict:
		entries = v.entries
		if err := invalid(v.flag); err != nil {
			for i, c := range b.calls {
				c.open = before[i]
			}
			return err
		}
	case <-ctx.Done():
		return errNoVerdict
	}
	l.metrics.commit.Observe(time.Since(began).Seconds())
	l.metrics.batch.Observe(float64(len(b.calls)))
	calls := b.calls
	b.calls = nil
	for i, c := range calls {
		r, err := receipt(c.id, entries[min(i, len(entries)):])
		if err == nil {
			l.metrics.accepted.Inc()
		}
		l.answer(c, r, err)
	}
	return nil
}

// receipt is that of the command whose entry is the first of es.
func receipt(id contracts.ID, es []*ledger.Stored) (*ledger.Receipt, error) {
	if len(es) == 0 {
		return nil, fmt.Errorf("%w: its transaction's block holds no entry of it", ledger.ErrOutcomeUnknown)
	}
	e := es[0]
	i := slices.IndexFunc(e.Writes, func(w contracts.Write) bool { return w.Key == contracts.KeyCommand(id) })
	if i < 0 {
		return nil, fmt.Errorf("%w: the entry at %d is another command's", ledger.ErrOutcomeUnknown, e.Position)
	}
	out, err := contracts.Read[contracts.Outcome](e.Writes[i].Value)
	if err != nil {
		return nil, fmt.Errorf("%w: couldn't read the recorded outcome: %w", ledger.ErrOutcomeUnknown, err)
	}
	return &ledger.Receipt{Promise: ledger.Promise{Position: e.Position, Hash: e.Hash, Time: e.Time}, Outcome: *out}, nil
}

// take gives the receipt of an accepted command, waiting until the own peer has its block.
func (l *Ledger) take(ctx context.Context, c *call) (*ledger.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, commitWait)
	defer cancel()
	var r *ledger.Receipt
	var failed error
	err := l.until(ctx, func(mark, bool) bool {
		r, failed = l.known(c)
		return r != nil || failed != nil
	})
	return r, cmp.Or(failed, err)
}

// known answers a command whose id is on the ledger, nil when it isn't: with its receipt, or a refusal when it was taken
// with other bytes.
func (l *Ledger) known(c *call) (*ledger.Receipt, error) {
	a, err := l.find(c.id)
	switch {
	case err != nil || a == nil:
		return nil, err
	case a.Outcome.Digest != c.digest:
		return nil, l.refusedHere(&contracts.Refusal{Code: "command.id_reused", Field: "id", Detail: "this command id was accepted with other bytes"})
	}
	return &ledger.Receipt{Promise: a.Promise, Outcome: a.Outcome, Repeated: !c.open}, nil
}

// answers tells an answer from a failure.
func answers(r *ledger.Receipt, err error) bool {
	var no *ledger.Refused
	return r != nil || errors.As(err, &no)
}
