package vault

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxRuns bounds the files merged at once; more are merged into one first.
const maxRuns = 64

// sorter sorts records {key, payload} by key, bytewise, within a bound of memory: a full buffer becomes a sorted run
// on disk, and the runs are merged when they are read. Records with equal keys come in the order in which they were
// added.
type sorter struct {
	scratch *scratch
	limit   int
	buf     []byte // records one after another
	refs    []recordRef
	runs    []run
}

type recordRef struct{ at, key, end int }

type run struct {
	path string
	file file
	size int64
}

func newSorter(s *scratch, limit int) *sorter { return &sorter{scratch: s, limit: limit} }

func (s *sorter) add(key, payload []byte) error {
	// A ref costs 24 bytes beside the record; slices may hold twice what they need while they grow.
	if len(s.refs) > 0 && 2*(len(s.buf)+len(key)+len(payload)+24*len(s.refs)) > s.limit {
		if err := s.spill(); err != nil {
			return err
		}
	}
	at := len(s.buf)
	s.buf = append(append(s.buf, key...), payload...)
	s.refs = append(s.refs, recordRef{at, at + len(key), len(s.buf)})
	return nil
}

func (s *sorter) sortBuffer() {
	slices.SortStableFunc(s.refs, func(a, b recordRef) int { return bytes.Compare(s.buf[a.at:a.key], s.buf[b.at:b.key]) })
}

func (s *sorter) spill() error {
	s.sortBuffer()
	i := 0
	err := s.write(func() (key, payload []byte, err error) {
		if i == len(s.refs) {
			return nil, nil, io.EOF
		}
		r := s.refs[i]
		i++
		return s.buf[r.at:r.key], s.buf[r.key:r.end], nil
	})
	if err != nil {
		return err
	}
	s.buf, s.refs = s.buf[:0], s.refs[:0]
	if len(s.runs) < maxRuns {
		return nil
	}
	old := s.runs
	s.runs = nil
	if err := s.write(mergeRuns(old).next); err != nil {
		return err
	}
	for _, r := range old {
		if err := s.scratch.drop(r.path); err != nil {
			return fmt.Errorf("couldn't remove sort run: %w", err)
		}
	}
	return nil
}

// write makes a run of what next gives.
func (s *sorter) write(next func() (key, payload []byte, err error)) error {
	f, path, err := s.scratch.create()
	if err != nil {
		return fmt.Errorf("couldn't create sort run: %w", err)
	}
	w, size := bufio.NewWriterSize(f, 256<<10), int64(0)
	var head [8]byte
	for {
		key, payload, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(head[:], uint32(len(key)))
		binary.BigEndian.PutUint32(head[4:], uint32(len(payload)))
		w.Write(head[:])
		w.Write(key)
		w.Write(payload)
		size += int64(8 + len(key) + len(payload))
	}
	if err := w.Flush(); err != nil { // bufio keeps the first error
		return fmt.Errorf("couldn't write sort run: %w", err)
	}
	s.runs = append(s.runs, run{path, f, size})
	return nil
}

// each gives all records in order. key and payload are valid during the call.
func (s *sorter) each(f func(key, payload []byte) error) error {
	if len(s.runs) == 0 {
		s.sortBuffer()
		for _, r := range s.refs {
			if err := f(s.buf[r.at:r.key], s.buf[r.key:r.end]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(s.refs) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.buf, s.refs = nil, nil
	m := mergeRuns(s.runs)
	for {
		key, payload, err := m.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(key, payload); err != nil {
			return err
		}
	}
}

// merger is a heap of runs, the one with the least next record first; of equal records the earlier run's.
type merger struct {
	heads []*runHead
	last  *runHead
	err   error
}

type runHead struct {
	order        int
	r            *bufio.Reader
	key, payload []byte
}

func mergeRuns(runs []run) *merger {
	m := &merger{}
	for i, r := range runs {
		h := &runHead{order: i, r: bufio.NewReaderSize(io.NewSectionReader(r.file, 0, r.size), 64<<10)}
		if err := h.advance(); err != nil {
			m.err = err // a run is never empty
			return m
		}
		m.heads = append(m.heads, h)
	}
	heap.Init(m)
	return m
}

func (h *runHead) advance() error {
	var head [8]byte
	if _, err := io.ReadFull(h.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return fmt.Errorf("couldn't read sort run: %w", err)
	}
	n, m := int(binary.BigEndian.Uint32(head[:])), int(binary.BigEndian.Uint32(head[4:]))
	h.key = slices.Grow(h.key[:0], n)[:n]
	h.payload = slices.Grow(h.payload[:0], m)[:m]
	_, err1 := io.ReadFull(h.r, h.key)
	_, err2 := io.ReadFull(h.r, h.payload)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("couldn't read sort run: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

func (m *merger) next() (key, payload []byte, err error) {
	if m.err != nil {
		return nil, nil, m.err
	}
	// The head given last time is advanced only now, so that its slices stayed valid until this call.
	if m.last != nil {
		err := m.last.advance()
		switch {
		case errors.Is(err, io.EOF):
			heap.Pop(m)
		case err != nil:
			m.err = err
			return nil, nil, err
		default:
			heap.Fix(m, 0)
		}
	}
	if len(m.heads) == 0 {
		m.err, m.last = io.EOF, nil
		return nil, nil, io.EOF
	}
	m.last = m.heads[0]
	return m.last.key, m.last.payload, nil
}

func (m *merger) Len() int { return len(m.heads) }
func (m *merger) Less(i, j int) bool {
	a, b := m.heads[i], m.heads[j]
	return cmp.Or(bytes.Compare(a.key, b.key), a.order-b.order) < 0
}
func (m *merger) Swap(i, j int) { m.heads[i], m.heads[j] = m.heads[j], m.heads[i] }
func (m *merger) Push(any)      { panic("vault: runs are never added to a merger") }
func (m *merger) Pop() any {
	last := len(m.heads) - 1
	h := m.heads[last]
	m.heads = m.heads[:last]
	return h
}
