package compute

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// maxCells bounds the groups of one query before any is left out.
const maxCells = 1 << 16

// errTooManyGroups is an engine's answer to a query whose groups exceed maxCells.
var errTooManyGroups = errors.New("too many groups")

// exact is what an engine gives: figures without noise, for the provider's own process only. Cells ascend by key; a
// query without groups has exactly one.
type exact struct {
	cells []exactCell
}

type exactCell struct {
	keys     []int64
	rows     int64
	sums     []exactSum // as the program's
	subjects int64      // with at least one row in the cell
	cohort   []byte     // which ones
}

type exactSum struct {
	total int64
	rows  int64 // that aren't empty
}

// A cohort's bytes are its subjects' numbers, ascending: the first as an unsigned varint, then the gaps, less one each.

// appendCohort writes ascending subjects.
func appendCohort(b []byte, subjects []uint32) []byte {
	next := uint32(0)
	for _, s := range subjects {
		gap := s - next
		for ; gap >= 0x80; gap >>= 7 {
			b = append(b, byte(gap)|0x80)
		}
		b = append(b, byte(gap))
		next = s + 1
	}
	return b
}

var errCohort = errors.New("cohort is malformed")

// eachSubject reads a cohort of n subjects among so many.
func eachSubject(b []byte, n, of int64, f func(subject uint32)) error {
	next := uint64(0)
	for ; n > 0; n-- {
		// Most gaps take a byte or two, and there are as many as rows.
		gap, size := uint64(0), 0
		switch {
		case len(b) > 0 && b[0] < 0x80:
			gap, size = uint64(b[0]), 1
		case len(b) > 1 && b[1] < 0x80:
			gap, size = uint64(b[0]&0x7f)|uint64(b[1])<<7, 2
		default:
			gap, size = binary.Uvarint(b)
		}
		if size <= 0 || size > 1 && b[size-1] == 0 || gap >= uint64(of) || next+gap >= uint64(of) {
			return errCohort
		}
		f(uint32(next + gap))
		next, b = next+gap+1, b[size:]
	}
	if len(b) > 0 {
		return errCohort
	}
	return nil
}

// cohorts collects which subjects stand behind which cell, a few bytes a row. Engines give rows by subject, and then a
// cell's bytes grow at their end; what comes out of order, as no engine has been seen to do, waits to be merged.
type cohorts struct {
	cells []cohort
	late  map[int][]uint32 // by cell
}

type cohort struct {
	b    []byte
	n    int64
	next uint32 // the last subject, plus 1
}

func (c *cohorts) add(subject uint32, cell int) {
	for cell >= len(c.cells) {
		c.cells = append(c.cells, cohort{})
	}
	k := &c.cells[cell]
	switch gap := subject - k.next; {
	case subject >= k.next:
		for ; gap >= 0x80; gap >>= 7 {
			k.b = append(k.b, byte(gap)|0x80)
		}
		k.b = append(k.b, byte(gap))
		k.n, k.next = k.n+1, subject+1
	case subject != k.next-1: // else another row of the same subject
		if c.late == nil {
			c.late = map[int][]uint32{}
		}
		c.late[cell] = append(c.late[cell], subject)
	}
}

// expect makes room for as many rows as cells will have among so many subjects.
func (c *cohorts) expect(cells []exactCell, subjects int64) {
	c.cells = make([]cohort, len(cells))
	size := 0
	room := func(rows int64) int {
		width := int64(1)
		for gap := 2 * subjects / max(1, rows); gap >= 0x80; gap >>= 7 {
			width++
		}
		return int(rows * width)
	}
	for i := range cells {
		size += room(cells[i].rows)
	}
	all := make([]byte, size)
	for i := range cells {
		n := room(cells[i].rows)
		c.cells[i].b, all = all[:0:n], all[n:]
	}
}

// into writes each cell's cohort.
func (c *cohorts) into(cells []exactCell) {
	for cell, late := range c.late {
		k := &c.cells[cell]
		all := late
		// What add wrote is well formed, and its last subject bounds it.
		_ = eachSubject(k.b, k.n, int64(k.next), func(s uint32) { all = append(all, s) })
		slices.Sort(all)
		all = slices.Compact(all)
		k.b, k.n = appendCohort(nil, all), int64(len(all))
	}
	for i := range c.cells {
		cells[i].subjects, cells[i].cohort = c.cells[i].n, c.cells[i].b
	}
}

// grouper gives each combination of keys its cell, in the order in which they are met.
type grouper struct {
	near  []int32 // by value+1, for one key that is small: cell+1
	far   map[[MaxGroupBy]int64]int32
	cells []exactCell
	sums  int
}

const nearKeys = 1 << 17

func newGrouper(p *program) *grouper {
	g := &grouper{far: map[[MaxGroupBy]int64]int32{}, sums: len(p.Sums)}
	if len(p.Groups) == 1 {
		g.near = make([]int32, nearKeys)
	}
	return g
}

// find gives the cell of keys, -1 when there is none yet.
func (g *grouper) find(keys []int64) int {
	if g.near != nil {
		if k := uint64(keys[0]); k < nearKeys {
			return int(g.near[k]) - 1
		}
	}
	var k [MaxGroupBy]int64
	copy(k[:], keys)
	return int(g.far[k]) - 1
}

// add makes the cell of keys that have none.
func (g *grouper) add(keys []int64) (int, error) {
	if len(g.cells) == maxCells {
		return 0, errTooManyGroups
	}
	g.cells = append(g.cells, exactCell{keys: slices.Clone(keys), sums: make([]exactSum, g.sums)})
	n := int32(len(g.cells))
	if g.near != nil && uint64(keys[0]) < nearKeys {
		g.near[keys[0]] = n
		return int(n) - 1, nil
	}
	var k [MaxGroupBy]int64
	copy(k[:], keys)
	g.far[k] = n
	return int(n) - 1, nil
}

// finish gives the cells with their cohorts, in order.
func (g *grouper) finish(c *cohorts) *exact {
	c.into(g.cells)
	slices.SortFunc(g.cells, func(a, b exactCell) int { return slices.CompareFunc(a.keys, b.keys, cmp.Compare) })
	return &exact{g.cells}
}
