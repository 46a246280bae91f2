package meter

import (
	"bytes"
	"fmt"
	"os"
	"sort"
)

// recovered is what the segments say of one log.
type recovered struct {
	state  *logState
	at     *segment // that holds state
	leaves map[place]entry
}

// recover reads all segments in order. A broken frame with a whole one of a later number behind it is damage, and
// the store doesn't open; else it is a torn tail: it was never answered, the next segment begins in its place. What
// was read is synced before anybody relies on it, since a process that was killed may have written without syncing.
//
// Retiring a segment carries what is still needed of it forward, so a log's leaves may be found in any order and
// more than once, and acknowledgements may be found before the state that they belong to; at the end the latest
// state and all leaves after it are there.
func (s *store) recover() (map[[16]byte]*recovered, error) {
	segs, err := listSegments(s.dir)
	if err != nil {
		return nil, err
	}
	logs := map[[16]byte]*recovered{}
	for i, g := range segs {
		if err := s.recoverSegment(g, i == 0, logs); err != nil {
			return nil, fmt.Errorf("couldn't read %s: %w", g.path, err)
		}
	}
	for id, r := range logs {
		if r.state == nil {
			return nil, fmt.Errorf("couldn't recover log %x: its state is missing", id)
		}
	}
	// Every segment but the last holds a frame, so that a recycled one can't be taken for the beginning.
	if n := len(segs); n > 0 && s.off == 0 {
		segs[n-1].file.Close()
		if err := os.Remove(segs[n-1].path); err != nil {
			return nil, fmt.Errorf("couldn't remove unused segment: %w", err)
		}
		s.segs = s.segs[:n-1]
	}
	return logs, s.roll()
}

func (s *store) recoverSegment(g *segment, first bool, logs map[[16]byte]*recovered) (err error) {
	if g.file, err = os.OpenFile(g.path, os.O_RDWR, 0o600); err != nil {
		return err
	}
	s.segs = append(s.segs, g)
	if err := g.file.Sync(); err != nil {
		return err
	}
	b, err := os.ReadFile(g.path)
	if err != nil {
		return err
	}
	off := 0
	for {
		n, frame := readFrame(b[off:])
		if frame == nil || !(first && off == 0) && n != s.batch+1 {
			break
		}
		s.batch = n
		err := readRecords(frame, func(kind byte, body []byte, at int) error {
			return recoverRecord(logs, g, kind, body, int64(off+at))
		})
		if err != nil {
			return fmt.Errorf("frame %d at %d: %w", n, off, err)
		}
		off += len(frame)
	}
	if n, later := laterFrame(b[off:], s.batch); later {
		return fmt.Errorf("damaged at %d: frame %d is missing and frame %d is there", off, s.batch+1, n)
	}
	s.off = int64(off)
	return nil
}

func recoverRecord(logs map[[16]byte]*recovered, g *segment, kind byte, body []byte, off int64) error {
	of := func(id [16]byte) *recovered {
		r := logs[id]
		if r == nil {
			r = &recovered{leaves: map[place]entry{}}
			logs[id] = r
		}
		return r
	}
	switch kind {
	case recLeaf:
		if len(body) < LeafSize {
			return fmt.Errorf("leaf record of %d bytes", len(body))
		}
		raw := bytes.Clone(body[:LeafSize])
		l, err := DecodeLeaf(raw)
		if err != nil {
			return err
		}
		r, p := of(l.Agreement), place{l.Epoch, l.Seq}
		if old, ok := r.leaves[p]; ok && !bytes.Equal(old.raw, raw) {
			return fmt.Errorf("two leaves at %d of epoch %d", l.Seq, l.Epoch)
		}
		r.leaves[p] = entry{raw: raw, seg: g, off: off + LeafSize, n: len(body) - LeafSize}
	case recAck:
		a, err := readAckRecord(body)
		if err != nil {
			return err
		}
		if r := of(a.ack.Agreement.Bytes()); r.state != nil {
			r.state.acknowledge(a)
		}
	case recState:
		st, err := readLogState(body)
		if err != nil {
			return err
		}
		r := of(st.agreement)
		r.state, r.at = st, g
	default:
		return fmt.Errorf("unknown record %q", kind)
	}
	return nil
}

// settle writes what is acknowledged, and all of earlier epochs, to the flat files, and gives the leaves after it.
func (r *recovered) settle(dir string) (flat *leafFile, tail []entry, err error) {
	var places []place
	for p := range r.leaves {
		places = append(places, p)
	}
	sort.Slice(places, func(i, j int) bool {
		a, b := places[i], places[j]
		return a.epoch < b.epoch || a.epoch == b.epoch && a.seq < b.seq
	})
	st := r.state
	for _, p := range places {
		switch next := st.ackedSize() + int64(len(tail)); {
		case p.epoch > st.epoch:
			return nil, nil, fmt.Errorf("couldn't recover log: leaf of epoch %d, the log is in %d", p.epoch, st.epoch)
		case p.epoch == st.epoch && p.seq >= st.ackedSize():
			if p.seq != next {
				return nil, nil, fmt.Errorf("couldn't recover log: leaf %d is missing", next)
			}
			e := r.leaves[p]
			e.hash = hashLeaf(e.raw)
			tail = append(tail, e)
			continue
		}
		if flat == nil || flat.epoch != p.epoch {
			if flat, err = switchLeafFile(flat, dir, st.agreement, p.epoch); err != nil {
				return nil, nil, err
			}
		}
		if err := flat.write(p.seq, [][]byte{r.leaves[p].raw}); err != nil {
			return nil, nil, err
		}
	}
	if flat == nil || flat.epoch != st.epoch {
		if flat, err = switchLeafFile(flat, dir, st.agreement, st.epoch); err != nil {
			return nil, nil, err
		}
	}
	n, err := flat.size()
	if err == nil && n < st.ackedSize() {
		err = fmt.Errorf("couldn't recover log: %d leaves are acknowledged, %d are in %s", st.ackedSize(), n, flat.file.Name())
	}
	return flat, tail, err
}
