package meter

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// retire gives up old segments after the writer began a new one. Whatever is still needed of the oldest (answers
// that are not acknowledged, a log's last state) is carried into a new group first, so that segments go in order and
// an agreement that stands still holds nothing up. It goes on while the segments hold more than four times what is
// needed of them.
func (p *Provider) retire() error {
	needed := int64(0)
	for _, l := range p.logs {
		for i := range l.tail {
			needed += int64(LeafSize + l.tail[i].n)
		}
	}
	for int64(len(p.store.segs)-3)*p.store.segBytes > 4*needed {
		if err := p.retireOldest(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) retireOldest() error {
	c := carrier{store: p.store, old: p.store.segs[0]}
	p.store.frame.reset()
	for _, l := range p.logs {
		if err := c.take(l); err != nil {
			return fmt.Errorf("couldn't retire segment: %w", err)
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	if err := p.store.lease.lock(unix.LOCK_SH); err != nil {
		return err
	}
	defer p.store.lease.unlock()
	if err := p.store.lease.check(); err != nil {
		return err
	}
	for _, l := range p.logs { // acknowledged leaves of the segment must be durable where they went
		if err := l.flat.sync(); err != nil {
			return err
		}
	}
	if err := syncDir(filepath.Join(p.store.dir, "leaves")); err != nil {
		return err
	}
	return p.store.drop()
}

// carrier writes again what is needed of a segment, many logs to a group.
type carrier struct {
	store *store
	old   *segment
	moved []carried
}

// carried is one record in the frame: a leaf of log's tail with its sealed answer, or its state.
type carried struct {
	log    *Log
	index  int // in tail; −1 for the state
	offset int
}

func (c *carrier) take(l *Log) error {
	f := &c.store.frame
	if l.stateAt == c.old {
		f.state(l.state)
		c.moved = append(c.moved, carried{l, -1, 0})
	}
	for i := range l.tail {
		e := &l.tail[i]
		if e.seg != c.old {
			continue
		}
		sealed := make([]byte, e.n)
		if _, err := c.old.file.ReadAt(sealed, e.off); err != nil {
			return err
		}
		c.moved = append(c.moved, carried{l, i, f.leaf(e.raw, sealed)})
		if len(f.buf) > maxGroupBytes/8 {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *carrier) flush() error {
	if c.store.frame.empty() {
		return nil
	}
	at, off, err := c.store.commit(func() error { return nil })
	if err != nil {
		return err
	}
	for _, m := range c.moved {
		m.log.mu.Lock()
		if m.index < 0 {
			m.log.stateAt = at
		} else {
			e := &m.log.tail[m.index]
			e.seg, e.off = at, off+int64(m.offset)
		}
		m.log.mu.Unlock()
	}
	c.moved = c.moved[:0]
	c.store.frame.reset()
	return nil
}
