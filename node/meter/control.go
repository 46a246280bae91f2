package meter

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/bund-exchange/bund/contracts"
)

// Void takes back the units of an unacknowledged CALL leaf that the consumer objects to. If a period was closed
// behind that leaf, its end moves behind the VOID.
func (l *Log) Void(ctx context.Context, seq int64) (Leaf, error) {
	return l.control(ctx, &job{log: l, kind: jobVoid, ref: seq, done: make(chan struct{})})
}

// ClosePeriod ends a period under its number. A call is in the period on whose
// side its place is, whatever its clock says. The same number again gives the same leaf.
func (l *Log) ClosePeriod(ctx context.Context, number int64) (Leaf, error) {
	if number < 1 {
		return Leaf{}, errors.New("couldn't close period: want the number of a period")
	}
	return l.control(ctx, &job{log: l, kind: jobClose, ref: number, done: make(chan struct{})})
}

func (l *Log) control(ctx context.Context, j *job) (Leaf, error) {
	if err := l.p.run(ctx, j); err != nil {
		return Leaf{}, err
	}
	return j.leaf, nil
}

// NextEpoch begins a new log from the last acknowledgement, after a broken chain. Leaves past it were never
// acknowledged and are not billed; they stay on disk for the dispute. It is asked with the epoch to be in, so that
// asking twice does no harm. Totals go on from the acknowledged ones. A CLOSE that was not acknowledged is gone too
// and is asked for again; receipt keys may have changed.
func (l *Log) NextEpoch(ctx context.Context, epoch int64) error {
	return l.p.run(ctx, &job{log: l, kind: jobEpoch, ref: epoch, done: make(chan struct{})})
}

// bareID is the request id of a leaf that no request caused.
func bareID(now contracts.Millis) (r RequestID) {
	rand.Read(r[:16])
	ms := NewNonce(now.Time())
	copy(r[:6], ms[:6])
	return r
}

func (l *Log) stageVoid(j *job) error {
	if j.ref < l.acked {
		return l.refuse(AlreadyAcknowledged, "the leaf was acknowledged")
	}
	target, err := l.staged(j.ref)
	if err != nil {
		return err
	}
	if target == nil || target.Op != OpCall || l.marks.voided(j.ref) {
		return l.refuse(NotVoidable, "want a CALL leaf that wasn't taken back")
	}
	billed, err := l.billedBy(target)
	if err != nil {
		return err
	}
	var moved []int64
	for _, c := range l.marks.closes {
		if c.seq > j.ref {
			moved = append(moved, c.ref)
		}
	}
	now := contracts.Millis(l.p.cfg.Now().UnixMilli())
	j.leaf = Leaf{Op: OpVoid, Ref: j.ref, Units: -billed.Units, Totals: minus(l.sum, billed), Request: bareID(now)}
	if err := l.stageLeaf(j); err != nil {
		return err
	}
	for _, ref := range moved {
		again := &job{leaf: Leaf{Op: OpClose, Ref: ref, Totals: l.sum, Request: bareID(now)}}
		if err := l.stageLeaf(again); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) stageClose(j *job) error {
	last := l.state.lastClose
	for _, p := range l.state.periods {
		if p.close == j.ref {
			return l.writtenBefore(j, p.ack.Size-1)
		}
	}
	for _, c := range l.marks.closes {
		if c.ref == j.ref {
			return l.writtenBefore(j, c.seq)
		}
		last = max(last, c.ref)
	}
	if j.ref < last {
		return l.refuse(CloseOutOfOrder, "a period at number %d is closed", last)
	}
	next, err := l.schedule.at(j.ref)
	if err != nil {
		return err
	}
	now := contracts.Millis(l.p.cfg.Now().UnixMilli())
	j.leaf = Leaf{Op: OpClose, Ref: j.ref, Totals: l.sum, Request: bareID(now)}
	if err := l.stageLeaf(j); err != nil {
		return err
	}
	// No call is written at the new price before the CLOSE is acknowledged: a VOID may still move it.
	l.barred = l.barred || !next.samePrice(&l.rules)
	l.rules, l.draft.amended = next, true
	return nil
}

// billedBy is what one leaf of this epoch added to the totals.
func (l *Log) billedBy(leaf *Leaf) (contracts.Totals, error) {
	before := l.state.base
	if leaf.Seq > 0 {
		prev, err := l.staged(leaf.Seq - 1)
		if err != nil {
			return before, err
		}
		before = prev.Totals
	}
	return minus(leaf.Totals, before), nil
}

func (l *Log) writtenBefore(j *job, seq int64) error {
	leaf, err := l.staged(seq)
	if err != nil {
		return err
	}
	j.leaf = *leaf
	return nil
}

// staged gives any leaf of this epoch, also one of the group at hand, or nil.
func (l *Log) staged(seq int64) (*Leaf, error) {
	if seq < 0 || seq >= l.next {
		return nil, nil
	}
	l.mu.Lock()
	size := l.sizeLocked()
	var raw []byte
	var err error
	if seq < size {
		raw, err = l.leafLocked(seq)
	} else {
		raw = l.draft.entries[seq-size].raw
	}
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	leaf, err := DecodeLeaf(raw)
	return &leaf, err
}

func (l *Log) stageEpoch(j *job) error {
	switch {
	case j.ref == l.state.epoch:
		return nil // done before
	case j.ref != l.state.epoch+1:
		return l.refuse(EpochMismatch, "epochs follow one another")
	}
	rules, err := l.schedule.at(l.state.lastClose)
	if err != nil {
		return err
	}
	l.rules = rules
	l.stageState(l.state.next(l.state.ack))
	return nil
}

// stageState begins an epoch with nothing in it.
func (l *Log) stageState(next *logState) {
	l.p.store.frame.state(next)
	l.draft.state = next
	l.rng, l.next, l.acked, l.sum, l.marks, l.barred = ranges.NewEmptyRange(0), 0, 0, next.base, marks{}, false
}
