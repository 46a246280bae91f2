package psi

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/bund-exchange/bund/privacy/group25519"
)

// entry is an own point with the place, from 0, of its id; fill for a point that nobody's id has.
type entry struct {
	point group25519.Point
	place uint64
}

const (
	fill      = ^uint64(0)
	entrySize = group25519.PointSize + 8
)

func (a *entry) compare(b *entry) int {
	if c := cmp.Compare(binary.BigEndian.Uint64(a.point[:]), binary.BigEndian.Uint64(b.point[:])); c != 0 {
		return c
	}
	return bytes.Compare(a.point[8:], b.point[8:])
}

// Bounds of memory: a run is 10 MiB, a run under merging 40 KiB. Tests make them small.
var (
	runEntries   = 1 << 18
	mergeEntries = 1 << 10
)

// sorting puts entries into ascending order in bounded memory: full buffers become sorted runs on a tape, which are
// merged when they are read.
type sorting struct {
	spool Spool
	buf   []entry
	runs  []span
	size  int64 // of the tape
}

type span struct{ at, end int64 }

func (s *sorting) add(es []entry) error {
	for len(es) > 0 {
		if s.buf == nil {
			s.buf = make([]entry, 0, min(runEntries, max(len(es), 1024)))
		}
		n := min(len(es), runEntries-len(s.buf))
		s.buf = append(s.buf, es[:n]...)
		es = es[n:]
		if len(s.buf) == runEntries {
			if err := s.spill(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sorting) sortBuffer() {
	slices.SortFunc(s.buf, func(a, b entry) int { return a.compare(&b) })
}

func (s *sorting) spill() error {
	s.sortBuffer()
	begin := s.size
	block := make([]byte, 0, mergeEntries*entrySize)
	for chunk := range slices.Chunk(s.buf, mergeEntries) {
		block = block[:0]
		for i := range chunk {
			block = binary.BigEndian.AppendUint64(append(block, chunk[i].point[:]...), chunk[i].place)
		}
		if err := s.spool.Append(tapeRuns, block); err != nil {
			return fmt.Errorf("couldn't write spool: %w", err)
		}
		s.size += int64(len(block))
	}
	s.runs = append(s.runs, span{begin, s.size})
	s.buf = s.buf[:0]
	return nil
}

// each yields all entries in ascending order, once.
func (s *sorting) each(yield func(*entry) error) error {
	if len(s.runs) == 0 {
		s.sortBuffer()
		for i := range s.buf {
			if err := yield(&s.buf[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(s.buf) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.buf = nil
	var heads []*runReader // a heap, least first
	for _, r := range s.runs {
		h := &runReader{spool: s.spool, rest: r}
		if err := h.next(); err != nil {
			return err
		}
		heads = append(heads, h)
	}
	for i := len(heads)/2 - 1; i >= 0; i-- {
		sink(heads, i)
	}
	for len(heads) > 0 {
		if err := yield(&heads[0].head); err != nil {
			return err
		}
		if heads[0].empty() {
			heads[0] = heads[len(heads)-1]
			heads = heads[:len(heads)-1]
		} else if err := heads[0].next(); err != nil {
			return err
		}
		sink(heads, 0)
	}
	return nil
}

// sink restores the heap below i.
func sink(h []*runReader, i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h[c].head.compare(&h[least].head) < 0 {
				least = c
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// runReader reads one run.
type runReader struct {
	spool Spool
	rest  span
	block []byte
	head  entry
}

func (r *runReader) empty() bool { return len(r.block) == 0 && r.rest.at == r.rest.end }

// next moves head; the run is not empty.
func (r *runReader) next() error {
	if len(r.block) == 0 {
		r.block = make([]byte, min(r.rest.end-r.rest.at, int64(mergeEntries*entrySize)))
		if err := r.spool.ReadAt(tapeRuns, r.block, r.rest.at); err != nil {
			return fmt.Errorf("couldn't read spool: %w", err)
		}
		r.rest.at += int64(len(r.block))
	}
	r.head.point = group25519.Point(r.block)
	r.head.place = binary.BigEndian.Uint64(r.block[group25519.PointSize:])
	r.block = r.block[entrySize:]
	return nil
}
