package meter

import (
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// resume takes a log from the store up to its end. It serves nothing until the node opens it with its terms.
func (p *Provider) resume(r *recovered) (*Log, error) {
	flat, tail, err := r.settle(p.store.dir)
	if err != nil {
		return nil, err
	}
	l := &Log{p: p, agreement: r.state.agreement, state: r.state, stateAt: r.at, tail: tail, flat: flat, inflight: map[Nonce]*job{}}
	l.rng, l.acked, l.next = cloneRange(l.state.rng), l.state.ackedSize(), l.state.ackedSize()
	l.sum = l.state.ackedTotals()
	for _, e := range tail {
		leaf, err := DecodeLeaf(e.raw)
		if err != nil {
			return nil, err
		}
		if leaf.Time < l.lastTime || leaf.Fence > p.cfg.Fence {
			return nil, fmt.Errorf("couldn't resume log: leaf %d has time or fence of another writer", leaf.Seq)
		}
		extendRange(l.rng, e.hash)
		l.marks.note(&leaf)
		l.next, l.sum, l.lastTime = leaf.Seq+1, leaf.Totals, leaf.Time
	}
	l.totals = l.sum
	return l, nil
}

// stageOpen adopts a log that the node opens: a new one, or a resumed one whose last acknowledgement is checked
// against the consumer's key and the leaves on disk.
func (p *Provider) stageOpen(j *job) error {
	id := j.opening.agreement
	l := p.logs[id]
	if l == nil {
		st := &logState{agreement: id, epoch: 1, rng: ranges.NewEmptyRange(0)}
		flat, err := openLeafFile(p.store.dir, id, 1)
		if err != nil {
			return err
		}
		l = &Log{p: p, agreement: id, state: st, flat: flat, inflight: map[Nonce]*job{}}
		l.stageState(st)
		p.logs[id] = l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	j.log = l
	if l.open {
		return errors.New("the log is open")
	}
	l.schedule = j.opening.schedule
	if err := l.scheduleLocked(); err != nil {
		return err
	}
	if err := l.verifyLocked(); err != nil {
		return err
	}
	if err := l.rememberLocked(); err != nil {
		return err
	}
	var err error
	if l.sealer, err = newSealer(p.cfg.SealKey, "provider", id, l.state.epoch); err != nil {
		return err
	}
	l.terms, l.backend, l.open, l.closing = l.rules, j.opening.backend, true, l.barred
	return nil
}

// scheduleLocked finds the terms in force at the log's end.
func (l *Log) scheduleLocked() error {
	acked, err := l.schedule.at(l.state.lastClose)
	if err != nil {
		return err
	}
	l.rules, l.barred = acked, false
	for _, c := range l.marks.closes {
		if l.rules, err = l.schedule.at(c.ref); err != nil {
			return err
		}
		l.barred = l.barred || !l.rules.samePrice(&acked)
	}
	if l.rules.Agreement.Bytes() != l.agreement {
		return errors.New("terms of another agreement")
	}
	return nil
}

func (l *Log) verifyLocked() error {
	a := l.state.ack
	if a == nil {
		return nil
	}
	raw, err := l.flat.read(a.Size - 1)
	if err != nil {
		return err
	}
	last, err := DecodeLeaf(raw)
	if err != nil {
		return err
	}
	if !a.Verify(contracts.TagAck, l.rules.Consumer) || rootOf(l.state.rng) != a.Root || last.Totals != a.Totals || last.Seq != a.Size-1 {
		return fmt.Errorf("the acknowledgement at %d is not of this log", a.Size)
	}
	l.lastTime = max(l.lastTime, last.Time)
	return nil
}

// rememberLocked rebuilds the index of request ids from the leaves young enough to be asked for again.
func (l *Log) rememberLocked() error {
	l.ids = newIDIndex(l.rules.idLife())
	since := contracts.Millis(l.p.cfg.Now().UnixMilli()) - l.ids.lifeMs
	var found []Leaf
	size := l.sizeLocked()
	for seq := size - 1; seq >= 0; seq-- {
		raw, err := l.leafLocked(seq)
		if err != nil {
			return err
		}
		leaf, err := DecodeLeaf(raw)
		if err != nil {
			return err
		}
		if leaf.Time < since {
			break
		}
		found = append(found, leaf)
	}
	if n := len(l.state.epochs); n > 0 && l.state.epochs[n-1].Epoch == l.state.epoch-1 && int64(len(found)) == size {
		earlier, err := l.earlier(&l.state.epochs[n-1], since)
		if err != nil {
			return err
		}
		found = append(found, earlier...)
	}
	for i := len(found) - 1; i >= 0; i-- {
		if f := &found[i]; f.Op == OpCall {
			l.ids.put(f.Request.Nonce(), place{f.Epoch, f.Seq}, f.Time)
		}
	}
	return nil
}

// earlier gives the acknowledged leaves of the epoch before, latest first.
func (l *Log) earlier(ack *Signed, since contracts.Millis) (found []Leaf, err error) {
	f, err := openLeafFile(l.p.store.dir, l.agreement, ack.Epoch)
	if err != nil {
		return nil, err
	}
	defer f.file.Close()
	for seq := ack.Size - 1; seq >= 0; seq-- {
		raw, err := f.read(seq)
		if err != nil {
			return nil, err
		}
		leaf, err := DecodeLeaf(raw)
		if err != nil {
			return nil, err
		}
		if leaf.Time < since {
			break
		}
		found = append(found, leaf)
	}
	return found, nil
}

// enterLocked makes the staged epoch the log's. What the last one left unacknowledged goes to its flat file, as
// evidence, and its ids are free again.
func (l *Log) enterLocked(next *logState, at *segment) error {
	if next.epoch != l.state.epoch {
		raws := make([][]byte, len(l.tail))
		for i := range raws {
			raws[i] = l.tail[i].raw
		}
		if err := l.flat.write(l.state.ackedSize(), raws); err != nil {
			return err
		}
		l.ids.forget(l.state.epoch, l.state.ackedSize())
		flat, err := switchLeafFile(l.flat, l.p.store.dir, l.agreement, next.epoch)
		if err != nil {
			return err
		}
		if l.sealer, err = newSealer(l.p.cfg.SealKey, "provider", l.agreement, next.epoch); err != nil {
			return err
		}
		l.flat, l.tail, l.terms = flat, nil, l.rules
	}
	l.state, l.stateAt = next, at
	return nil
}
