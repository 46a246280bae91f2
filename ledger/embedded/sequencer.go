package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// gather takes what is in the queue, decodes it and verifies its signatures on all cores, and hands it to the sequencer
// when that is free; until then it goes on gathering. There is no timer: a lone caller waits for nobody, and many
// callers share one sync. Signatures are most of the work; here it overlaps with the rules and the sync of the batch
// before.
func (l *Ledger) gather() {
	defer close(l.ready)
	for {
		var units []*unit
		select {
		case u := <-l.queue:
			units = l.drain(u, maxBatch)
		case <-l.closing:
			select {
			case u := <-l.queue:
				units = l.drain(u, maxBatch)
			default:
				return
			}
		}
		for handed := false; !handed; {
			more := l.queue
			n := calls(units)
			if n >= maxBatch {
				more = nil
			}
			select {
			case l.ready <- units:
				handed = true
			case u := <-more:
				units = append(units, l.drain(u, maxBatch-n)...)
			}
		}
	}
}

// drain takes u and what else is in the queue, up to about limit commands, and decodes it.
func (l *Ledger) drain(u *unit, limit int) []*unit {
	units, n := []*unit{u}, len(u.calls)
	for more := true; more && n < limit; {
		select {
		case u := <-l.queue:
			units, n = append(units, u), n+len(u.calls)
		default:
			more = false
		}
	}
	cs := make([]*call, 0, n)
	for _, u := range units {
		cs = append(cs, u.calls...)
	}
	inParallel(len(cs), func(i int) {
		if c := cs[i]; c.ask == "" {
			c.cmd, c.err = l.decode(c.sub)
		}
	})
	return units
}

func calls(units []*unit) (n int) {
	for _, u := range units {
		n += len(u.calls)
	}
	return n
}

// sequence is the one writer.
func (l *Ledger) sequence() {
	for units := range l.ready {
		l.process(units)
	}
	l.answers.Wait()
	close(l.done)
}

// batch is what one append makes durable.
type batch struct {
	units    []*unit
	calls    []*call
	changes  layer
	entries  []*ledger.Stored
	openings []ledger.Opening
	next     head
}

func (l *Ledger) process(units []*unit) {
	b := &batch{units: units, changes: layer{}, next: l.store.head}
	for _, u := range units {
		b.calls = append(b.calls, u.calls...)
	}
	if err := l.mayWrite(); err != nil {
		l.fail(b, err)
		return
	}
	err := l.store.apply(b.changes, l.cache, func(v *view) error {
		wall := contracts.Millis(l.cfg.Now().UnixMilli())
		for _, c := range b.calls {
			if err := l.decide(b, v, c, wall); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.fail(b, err)
		return
	}
	if err := l.persist(b); err != nil {
		l.fail(b, err)
		return
	}
	l.metrics.count(b)
	l.answer(b)
}

// mayWrite reports a writer that must not take more.
func (l *Ledger) mayWrite() error {
	if err := l.stop(nil); err != nil {
		return err
	}
	if n := l.store.behind(); n > maxBehind {
		return fmt.Errorf("the state store is %d keys behind the log", n)
	}
	return nil
}

// decide runs the rules on one call. What it changes is in the batch only.
func (l *Ledger) decide(b *batch, v *view, c *call, wall contracts.Millis) error {
	if c.ask != "" {
		return l.look(b, v, c, wall)
	}
	var now contracts.Millis
	if c.err == nil {
		now, c.err = contracts.EntryTime(v, c.cmd, l.floor, wall)
	}
	if c.err != nil { // refused without a look at the state
		c.err = refusedAt(c.err, b.next.height)
		return nil
	}
	res, err := l.apply(v, contracts.Env{Ledger: l.cfg.LedgerID, Now: now, Position: int64(b.next.height)}, c.cmd)
	if err != nil {
		c.err = refusedAt(err, b.next.height)
		return nil
	}
	if res.Repeated {
		x, _ := v.find(contracts.KeyCommand(c.cmd.ID))
		c.receipt = &ledger.Receipt{Repeated: true, Outcome: res.Outcome}
		c.receipt.Position = x.position
		return nil
	}
	if len(res.Openings) > 0 && l.cfg.Openings == nil {
		c.err = errors.New("this ledger has no place for openings")
		return nil
	}
	e := ledger.NewEntry(b.next.height, b.next.hash, now, contracts.Submission{Raw: c.cmd.Raw, Signatures: c.cmd.Signatures}, res)
	s := &ledger.Stored{Entry: e, Encoded: e.Encode()}
	if len(s.Encoded) > ledger.MaxEntryBytes {
		c.err = fmt.Errorf("the entry would have %d bytes, at most %d", len(s.Encoded), ledger.MaxEntryBytes)
		return nil
	}
	s.Hash = ledger.Hash(s.Encoded)
	for _, w := range res.Writes {
		b.changes[w.Key] = cell{w.Value, e.Position}
	}
	for _, o := range res.Openings {
		b.openings = append(b.openings, ledger.Opening{KeptOpening: o, Command: c.cmd.ID})
	}
	b.entries = append(b.entries, s)
	b.next.height, b.next.hash, b.next.time = e.Position+1, s.Hash, now
	l.floor = now
	c.receipt = &ledger.Receipt{Outcome: res.Outcome}
	c.receipt.Position, c.receipt.Hash, c.receipt.Time = e.Position, s.Hash, now
	return nil
}

// look answers a Lookup at its place in the queue.
func (l *Ledger) look(b *batch, v *view, c *call, wall contracts.Millis) error {
	c.answer = &ledger.Answer{Status: ledger.NotFound, Height: b.next.height}
	if x, ok := v.find(contracts.KeyCommand(c.ask)); ok {
		return fill(c.answer, x)
	}
	now, err := contracts.NextTime(v, l.floor, wall)
	if err != nil {
		return fmt.Errorf("couldn't tell the time: %w", err)
	}
	deadline, err := ledger.Deadline(c.ask)
	if err != nil {
		return err
	}
	if now > deadline {
		c.answer.Status = ledger.Never
		l.floor = now // a clock that is set back must not make it untrue
	}
	return nil
}

func refusedAt(err error, position uint64) error {
	var r *contracts.Refusal
	if errors.As(err, &r) {
		return &ledger.Refused{Refusal: r, Position: position}
	}
	return err
}

// decode and apply turn a panic of the rules into a failure of that one command: otherwise a client that retries could
// keep the market down.
func (l *Ledger) decode(sub contracts.Submission) (cmd *contracts.Command, err error) {
	defer l.survive(&err)
	return l.cfg.Rules.Decode(sub)
}

func (l *Ledger) apply(v *view, env contracts.Env, cmd *contracts.Command) (res *contracts.Result, err error) {
	defer l.survive(&err)
	return l.cfg.Rules.Apply(deciding{v, l.records}, env, cmd)
}

func (l *Ledger) survive(err *error) {
	if p := recover(); p != nil {
		l.cfg.Log.Error("the rules panicked", "panic", p, "stack", string(debug.Stack()))
		*err = errors.New("the rules panicked on this command")
	}
}

// persist makes the batch durable and takes it over into the state.
func (l *Ledger) persist(b *batch) error {
	if len(b.entries) == 0 {
		return nil // refusals and lookups saw only what is durable
	}
	if len(b.openings) > 0 {
		if err := l.cfg.Openings.Put(context.Background(), b.openings); err != nil {
			return fmt.Errorf("couldn't keep the openings: %w", err)
		}
	}
	tree, err := treeFactory.NewRange(0, l.store.head.height, slices.Clone(l.store.head.tree))
	if err != nil {
		return fmt.Errorf("couldn't grow the tree: %w", err)
	}
	for _, e := range b.entries {
		if err := tree.Append(rfc6962.DefaultHasher.HashLeaf(ledger.Leaf(e.Encoded, e.Entry)), nil); err != nil {
			return fmt.Errorf("couldn't grow the tree: %w", err)
		}
	}
	b.next.tree = tree.Hashes()
	if l.cfg.mutation.flushBeforeSync {
		l.store.merge(b.changes, b.next)
		l.store.flush()
	}
	began := time.Now()
	if err := l.wal.append(b.entries); err != nil {
		l.cfg.Log.Error("the writer has stopped", "error", err, "height", l.store.head.height)
		return l.stop(err)
	}
	l.metrics.append.Observe(time.Since(began).Seconds())
	for k := range b.changes {
		l.cache.drop(k)
	}
	l.store.merge(b.changes, b.next)
	l.mu.Lock()
	close(l.grew)
	l.grew = make(chan struct{})
	l.mu.Unlock()
	if l.cfg.Tap != nil {
		l.cfg.Tap(b.entries)
	}
	if l.store.behind() >= l.cfg.FlushKeys {
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
	return nil
}

// fail answers a batch of which nothing is known to be durable. Only a command whose entry may be on the disk has an
// unknown outcome.
func (l *Ledger) fail(b *batch, why error) {
	for _, u := range b.units {
		for _, c := range u.calls {
			entry := c.receipt != nil && !c.receipt.Repeated
			c.receipt, c.answer, c.err = nil, nil, why
			if entry && errors.Is(why, ledger.ErrStopped) {
				c.err = fmt.Errorf("%w: %v", ledger.ErrOutcomeUnknown, why)
			}
		}
	}
	l.metrics.count(b)
	for _, u := range b.units {
		for range u.calls {
			u.answered()
		}
	}
}

// answer signs and answers beside the sequencer, which goes on with the next batch.
func (l *Ledger) answer(b *batch) {
	l.answers.Add(1)
	go func() {
		defer l.answers.Done()
		var fresh []*ledger.Promise
		for _, c := range b.calls {
			if c.receipt != nil && !c.receipt.Repeated {
				fresh = append(fresh, &c.receipt.Promise)
			}
		}
		ledger.SignPromises(l.cfg.Key, l.cfg.LedgerID, fresh)
		for _, u := range b.units {
			for _, c := range u.calls {
				if !needsEntry(c) {
					u.answered()
				}
			}
		}
		l.answerFromLog(b)
	}()
}

// needsEntry reports a call about an entry that was accepted before: only the log knows its hash and time.
func needsEntry(c *call) bool {
	return (c.receipt != nil && c.receipt.Repeated) || (c.answer != nil && c.answer.Status == ledger.Accepted)
}

func (l *Ledger) answerFromLog(b *batch) {
	var old []*ledger.Promise
	type waiting struct {
		u *unit
		c *call
	}
	var who []waiting
	for _, u := range b.units {
		for _, c := range u.calls {
			if !needsEntry(c) {
				continue
			}
			who = append(who, waiting{u, c})
			p := &ledger.Promise{}
			if c.answer != nil {
				p = &c.answer.Promise
			} else {
				p = &c.receipt.Promise
			}
			got, err := l.promised(p.Position)
			if err != nil {
				c.receipt, c.answer, c.err = nil, nil, err
				continue
			}
			*p = got
			old = append(old, p)
		}
	}
	ledger.SignPromises(l.cfg.Key, l.cfg.LedgerID, old)
	for _, w := range who {
		w.u.answered()
	}
}

// inParallel runs f for 0..n-1 on all cores.
func inParallel(n int, f func(int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}
