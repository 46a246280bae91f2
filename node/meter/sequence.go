package meter

import (
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Bounds of one group.
const (
	maxGroupJobs  = 1024
	maxGroupBytes = 8 << 20
)

// draft is what a group adds to one log; nothing of it is visible until the group is durable.
type draft struct {
	touched bool
	entries []entry
	offsets []int // of the sealed answers within the frame
	acks    []*ackRecord
	state   *logState // of a new log or a new epoch
	calls   []*job
	amended bool // rules changed behind a CLOSE
}

// sequence is the only writer of all logs: take what is queued, number, hash, write and sync once, sign one head for
// each log, then answer. A leaf gets its place here and not when it is reserved, so that no crash leaves a hole.
func (p *Provider) sequence() {
	defer close(p.done)
	var batch []*job
	var broken error
	last, before := 0, 0
	for open := true; open; {
		<-p.queue.wake
		p.queue.gather(p.cfg.GroupWait, last, before)
		batch, open = p.queue.take(batch)
		last, before = len(batch), last
		for rest := batch; len(rest) > 0; {
			n := cut(rest)
			if broken == nil {
				if broken = p.group(rest[:n]); broken != nil {
					p.stop(broken)
				}
			}
			p.finish(rest[:n], broken)
			rest = rest[n:]
		}
		clear(batch)
	}
}

// cut gives how many of jobs go into one group. A log is opened, or moved to another epoch, in a group of its own.
func cut(jobs []*job) int {
	size := 0
	for i, j := range jobs {
		alone := j.kind == jobOpen || j.kind == jobEpoch
		switch size += len(j.sealed); {
		case i == 0 && alone:
			return 1
		case alone || i == maxGroupJobs || i > 0 && size > maxGroupBytes:
			return i
		}
	}
	return len(jobs)
}

func (p *Provider) finish(jobs []*job, broken error) {
	for _, j := range jobs {
		if broken != nil {
			j.err = p.failure()
		}
		if j.kind == jobCall {
			if j.err != nil {
				j.log.mu.Lock()
				j.log.releaseLocked(j)
				j.log.mu.Unlock()
			}
			sealBuffers.Put(j.buf)
			j.buf, j.sealed = nil, nil
		}
		close(j.done)
	}
}

// group makes jobs durable and visible. Its error stops the writer for good.
func (p *Provider) group(jobs []*job) error {
	p.store.frame.reset()
	p.touched = p.touched[:0]
	for _, j := range jobs {
		if j.kind == jobOpen {
			if j.err = p.stageOpen(j); j.err != nil {
				continue
			}
		}
		j.log.touch()
		j.err = j.log.stage(j)
	}
	if p.store.frame.empty() {
		return p.publish(nil, 0)
	}
	p.groups.Add(1)
	segments := len(p.store.segs)
	at, off, err := p.store.commit(p.writeFlat)
	if err != nil {
		return err
	}
	if err := p.publish(at, off); err != nil {
		return err
	}
	if len(p.store.segs) > segments {
		return p.retire()
	}
	return nil
}

// writeFlat moves what the group acknowledged to the flat files. It runs under the lease, after the sync.
func (p *Provider) writeFlat() error {
	for _, l := range p.touched {
		n := len(l.draft.acks)
		if n == 0 {
			continue
		}
		from := l.state.ackedSize()
		raws := make([][]byte, l.draft.acks[n-1].ack.Size-from)
		for i := range raws {
			raws[i] = l.tail[i].raw
		}
		if err := l.flat.write(from, raws); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) publish(at *segment, off int64) error {
	for _, l := range p.touched {
		if err := l.publish(at, off); err != nil {
			return err
		}
		l.draft.reset()
	}
	return nil
}

func (d *draft) reset() {
	clear(d.calls)
	*d = draft{entries: d.entries[:0], offsets: d.offsets[:0], calls: d.calls[:0]}
}

func (l *Log) touch() {
	if !l.draft.touched {
		l.draft.touched = true
		l.p.touched = append(l.p.touched, l)
	}
}

// publish makes a durable draft visible and signs one head for it.
func (l *Log) publish(at *segment, off int64) error {
	d := &l.draft
	head := l.head
	if len(d.entries) > 0 || d.state != nil || head == nil {
		st := contracts.Statement{Agreement: l.rules.Agreement, Epoch: l.epoch(), Size: l.next, Root: rootOf(l.rng), Totals: l.sum}
		s := sign(st, contracts.TagHead, l.p.cfg.Key)
		head = s.Encode()
	}
	for i := range d.entries {
		e := &d.entries[i]
		e.seg, e.off = at, off+int64(d.offsets[i])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.amended {
		l.terms = l.rules
	}
	if d.state != nil {
		if err := l.enterLocked(d.state, at); err != nil {
			return err
		}
	}
	l.tail = append(l.tail, d.entries...)
	l.totals, l.head, l.closing = l.sum, head, l.barred
	for _, j := range d.calls {
		j.head = head
		l.ids.put(j.id.Nonce(), place{j.leaf.Epoch, j.leaf.Seq}, j.leaf.Time)
		l.releaseLocked(j)
	}
	for _, a := range d.acks {
		n := a.ack.Size - l.state.ackedSize()
		next := *l.state
		next.periods = append([]period(nil), l.state.periods...)
		next.acknowledge(a)
		l.state = &next
		l.tail = append([]entry(nil), l.tail[n:]...)
	}
	return nil
}

// epoch is that of the staged log.
func (l *Log) epoch() int64 {
	if l.draft.state != nil {
		return l.draft.state.epoch
	}
	return l.state.epoch
}

// stage numbers and hashes one job. Its error is that job's alone.
func (l *Log) stage(j *job) error {
	switch j.kind {
	case jobCall:
		return l.stageCall(j)
	case jobVoid:
		return l.stageVoid(j)
	case jobClose:
		return l.stageClose(j)
	case jobAck:
		return l.stageAck(j)
	case jobEpoch:
		return l.stageEpoch(j)
	}
	return nil
}

func (l *Log) stageCall(j *job) error {
	if j.epoch != l.state.epoch {
		return l.refuse(EpochMismatch, "the log moved to another epoch")
	}
	if l.barred {
		return l.refuse(WindowFull, "the price changes at a CLOSE that is not acknowledged")
	}
	if before := j.result.Before; before != nil {
		if err := before(); err != nil {
			return fmt.Errorf("couldn't serve call: %w", err)
		}
	}
	units := l.rules.Units(j.result.Outcome, j.units)
	j.leaf = Leaf{Op: OpCall, Ref: j.units - 1, Outcome: j.result.Outcome, Units: units, AsOf: j.result.AsOf, KnownAt: j.result.KnownAt, Request: j.id,
		Snapshot: j.result.Snapshot, RequestDigest: j.digest, AnswerDigest: j.answered, Totals: l.rules.bill(l.sum, units)}
	if err := l.stageLeaf(j); err != nil {
		return err
	}
	l.draft.calls = append(l.draft.calls, j)
	return nil
}

// stageLeaf gives a leaf its place. Its maker has filled in the totals after it.
func (l *Log) stageLeaf(j *job) error {
	leaf := &j.leaf
	now := contracts.Millis(l.p.cfg.Now().UnixMilli())
	leaf.Agreement, leaf.Epoch, leaf.Seq, leaf.Fence = l.agreement, l.state.epoch, l.next, l.p.cfg.Fence
	leaf.Time = max(l.lastTime, now)
	if l.tamper != nil {
		l.tamper(leaf)
	} else if err := leaf.check(); err != nil {
		return fmt.Errorf("couldn't write leaf: %w", err)
	}
	raw := leaf.Encode()
	hash := hashLeaf(raw)
	extendRange(l.rng, hash)
	l.next, l.sum, l.lastTime = l.next+1, leaf.Totals, leaf.Time
	l.marks.note(leaf)
	l.draft.offsets = append(l.draft.offsets, l.p.store.frame.leaf(raw, j.sealed))
	l.draft.entries = append(l.draft.entries, entry{raw: raw, hash: hash, n: len(j.sealed)})
	j.raw = raw
	return nil
}

func (l *Log) stageAck(j *job) error {
	switch {
	case j.ack.Epoch != l.state.epoch:
		return l.refuse(EpochMismatch, "the log moved to another epoch")
	case j.ack.Size <= l.acked:
		return nil // true, and without effect
	case !l.marks.allows(l.acked, j.ack.Size):
		return l.refuse(AckOutOfPlace, "acknowledge at the CLOSE leaf, and no VOID without its leaf")
	}
	a := &ackRecord{ack: *j.ack, close: l.marks.closeAt(j.ack.Size), rng: j.rng}
	l.p.store.frame.ack(a)
	l.draft.acks = append(l.draft.acks, a)
	l.acked = a.ack.Size
	l.marks.drop(l.acked)
	l.barred = l.barred && len(l.marks.closes) > 0
	return nil
}
