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
		b = binary.AppendUvarint(b, uint64(s-next))
		next = s + 1
	}
	return b
}

var errCohort = errors.New("cohort is malformed")

// eachSubject reads a cohort of n subjects among so many.
func eachSubject(b []byte, n, of int64, f func(subject uint32)) error {
	next := uint64(0)
	for ; n > 0; n-- {
		gap, size := binary.Uvarint(b)
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

// cohorts collects which subjects stand behind which cell.
type cohorts struct {
	subjects, cells []uint32
}

func (c *cohorts) add(subject uint32, cell int) {
	c.subjects, c.cells = append(c.subjects, subject), append(c.cells, uint32(cell))
}

// into writes each cell's cohort. Engines give rows by subject, nearly always; what comes otherwise is sorted.
func (c *cohorts) into(cells []exactCell) {
	ends := make([]int, len(cells))
	for _, cell := range c.cells {
		ends[cell]++
	}
	at := 0
	for i := range ends {
		at, ends[i] = at+ends[i], at
	}
	by := make([]uint32, len(c.subjects))
	for i, cell := range c.cells {
		by[ends[cell]] = c.subjects[i]
		ends[cell]++
	}
	start, buf := 0, make([]byte, 0, len(by)*3/2)
	for i := range cells {
		of := by[start:ends[i]]
		start = ends[i]
		if !slices.IsSorted(of) {
			slices.Sort(of)
		}
		of = slices.Compact(of)
		from := len(buf)
		buf = appendCohort(buf, of)
		cells[i].subjects, cells[i].cohort = int64(len(of)), buf[from:len(buf):len(buf)]
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
