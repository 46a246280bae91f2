package psi

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"slices"
)

// Matches says which of the receiver's ids the sender has, by their places from 0 in the list that was given.
type Matches struct {
	words []uint64
	ids   uint64
}

func newMatches(ids uint64) *Matches { return &Matches{make([]uint64, (ids+63)/64), ids} }

// IDs is how many ids the own list had.
func (m *Matches) IDs() uint64 { return m.ids }

// Len is how many of them the sender has.
func (m *Matches) Len() (n uint64) {
	for _, w := range m.words {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// Has reports whether the sender has the id at place.
func (m *Matches) Has(place uint64) bool {
	return place < m.ids && m.words[place/64]>>(place%64)&1 == 1
}

// All yields the places that match, ascending.
func (m *Matches) All() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i, w := range m.words {
			for ; w != 0; w &= w - 1 {
				if !yield(uint64(i)*64 + uint64(bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}

// wide is a tag filled up with zeroes.
type wide struct{ hi, lo uint64 }

func widen(tag []byte) wide {
	var b [16]byte
	copy(b[:], tag)
	return wide{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func (a wide) compare(b wide) int {
	if c := cmp.Compare(a.hi, b.hi); c != 0 {
		return c
	}
	return cmp.Compare(a.lo, b.lo)
}

// matchEntries bounds the tags that are in memory at once, 32 MiB of them. A larger set is matched in several passes.
// A variable for tests.
var matchEntries uint64 = 1 << 21

// match finds which of the own points' tags are on tapeTags. Tags are as good as random: each pass takes an equal share
// of their range.
func (s *Session) match(ctx context.Context, r *record, peer *hello, first uint64) (*Matches, error) {
	m := newMatches(r.ids)
	passes := (peer.size + matchEntries - 1) / matchEntries
	var theirs []wide
	for pass := range passes {
		in := func(t wide) bool {
			share, _ := bits.Mul64(t.hi, passes)
			return share == pass
		}
		var err error
		if theirs, err = s.readTags(r, peer, theirs[:0], in); err != nil {
			return nil, err
		}
		slices.SortFunc(theirs, wide.compare)
		for i := range s.Params.frames(r.size) {
			if err := s.matchFrame(ctx, r, peer, first, i, theirs, in, m); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

func (s *Session) matchFrame(ctx context.Context, r *record, peer *hello, first, i uint64, theirs []wide, in func(wide) bool, m *Matches) error {
	tags, err := s.tagsAt(ctx, r, peer, first, i)
	if err != nil {
		return err
	}
	places, err := s.places(r, i)
	if err != nil {
		return err
	}
	size := tagSize(peer.size, r.size)
	for j := range len(tags) / size {
		t := widen(tags[j*size : (j+1)*size])
		if !in(t) {
			continue
		}
		if _, ok := slices.BinarySearchFunc(theirs, t, wide.compare); !ok {
			continue
		}
		switch p := placeAt(places, j); {
		case p < r.ids:
			m.words[p/64] |= 1 << (p % 64)
		case p != fill:
			return fmt.Errorf("couldn't read spool: place %d of %d ids", p, r.ids)
		}
	}
	return nil
}

// readTags appends the tags on tapeTags that are in one pass.
func (s *Session) readTags(r *record, peer *hello, to []wide, in func(wide) bool) ([]wide, error) {
	size := uint64(tagSize(peer.size, r.size))
	const block = 8192 // tags
	b := make([]byte, 0, block*size)
	for at := uint64(0); at < peer.size; at += block {
		b = b[:min(block, peer.size-at)*size]
		if err := s.Spool.ReadAt(tapeTags, b, int64(at*size)); err != nil {
			return nil, fmt.Errorf("couldn't read spool: %w", err)
		}
		for tag := range slices.Chunk(b, int(size)) {
			if t := widen(tag); in(t) {
				to = append(to, t)
			}
		}
	}
	return to, nil
}
