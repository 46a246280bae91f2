package compute

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
)

// plainEngine answers a program in Go alone, a row group at a time.
func plainEngine(path string, p *program) (*exact, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't open working table: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("couldn't open working table: %w", err)
	}
	file, err := parquet.OpenFile(f, info.Size(), &parquet.FileConfig{SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: 1 << 20})
	if err != nil {
		return nil, fmt.Errorf("couldn't open working table: %w", err)
	}
	if n := len(file.Schema().Columns()); n != len(p.Shapes)+2 {
		return nil, fmt.Errorf("couldn't read working table: %d columns, want %d", n, len(p.Shapes)+2)
	}
	e := &plainRun{program: p, grouper: newGrouper(p), columns: make([]numbers, len(p.Shapes)+2)}
	if len(p.Groups) == 0 {
		e.grouper.add(nil)
	}
	for _, g := range file.RowGroups() {
		if err := e.group(g); err != nil {
			return nil, err
		}
	}
	return e.grouper.finish(&e.cohorts), nil
}

// numbers is a column of one row group, in the width that it has.
type numbers struct {
	narrow []int32
	wide   []int64
}

func (c *numbers) at(i int) int64 {
	if c.wide != nil {
		return c.wide[i]
	}
	return int64(c.narrow[i])
}

type plainRun struct {
	*program
	grouper *grouper
	cohorts cohorts
	columns []numbers
	keep    []int32 // rows of the group that count
}

func (e *plainRun) group(g parquet.RowGroup) error {
	n := int(g.NumRows())
	rank, subject := len(e.Shapes), len(e.Shapes)+1
	for i := range e.columns {
		e.columns[i] = numbers{}
	}
	for _, c := range e.needed() {
		var err error
		if e.columns[c], err = readNumbers(g.ColumnChunks()[c], n, c < rank && e.Shapes[c].Wide); err != nil {
			return fmt.Errorf("couldn't read column %d: %w", c, err)
		}
	}
	e.keep = e.keep[:0]
	for i, r := range e.columns[rank].narrow {
		if int64(r) < e.RowsPerSubject {
			e.keep = append(e.keep, int32(i))
		}
	}
	for i := range e.Conditions {
		e.filter(&e.Conditions[i])
	}
	return e.add(e.columns[subject].narrow)
}

func (e *plainRun) needed() []int {
	need := []int{len(e.Shapes), len(e.Shapes) + 1}
	mark := make([]bool, len(e.Shapes))
	want := func(c int64) {
		if !mark[c] {
			mark[c], need = true, append(need, int(c))
		}
	}
	for _, c := range e.Conditions {
		want(c.Column)
	}
	for _, c := range e.Groups {
		want(c)
	}
	for _, c := range e.Sums {
		want(c.Column)
	}
	return need
}

func readNumbers(chunk parquet.ColumnChunk, n int, wide bool) (c numbers, err error) {
	if wide {
		c.wide = make([]int64, 0, n)
	} else {
		c.narrow = make([]int32, 0, n)
	}
	pages := chunk.Pages()
	defer pages.Close()
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c, err
		}
		data := page.Data()
		if wide {
			c.wide = append(c.wide, data.Int64()...)
		} else {
			c.narrow = append(c.narrow, data.Int32()...)
		}
		parquet.Release(page)
	}
	if len(c.wide)+len(c.narrow) != n {
		return c, fmt.Errorf("%d values in %d rows", len(c.wide)+len(c.narrow), n)
	}
	return c, nil
}

// filter keeps the rows that satisfy a condition.
func (e *plainRun) filter(c *condition) {
	col, none := &e.columns[c.Column], e.Shapes[c.Column].empty()
	value := int64(0)
	if len(c.Values) > 0 {
		value = c.Values[0]
	}
	set := make(map[int64]bool, len(c.Values))
	for _, v := range c.Values {
		set[v] = true
	}
	out := e.keep[:0]
	for _, i := range e.keep {
		n := col.at(int(i))
		ok := false
		switch c.Operator {
		case Equal:
			ok = n == value
		case Unequal:
			ok = n != value
		case Less:
			ok = n < value
		case LessEqual:
			ok = n <= value
		case Greater:
			ok = n > value
		case GreaterEqual:
			ok = n >= value
		case In:
			ok = set[n]
		case Empty:
			ok = true
		case Filled:
			ok = true
		}
		if ok && (n == none) == (c.Operator == Empty) {
			out = append(out, i)
		}
	}
	e.keep = out
}

func (e *plainRun) add(subjects []int32) error {
	keys := make([]int64, len(e.Groups))
	for _, i := range e.keep {
		for k, c := range e.Groups {
			keys[k] = e.columns[c].at(int(i))
		}
		cell := 0
		if len(keys) > 0 {
			if cell = e.grouper.find(keys); cell < 0 {
				var err error
				if cell, err = e.grouper.add(keys); err != nil {
					return err
				}
			}
		}
		x := &e.grouper.cells[cell]
		x.rows++
		for s, c := range e.Sums {
			n := e.columns[c.Column].wide[i]
			if n == emptyWide {
				continue
			}
			x.sums[s].total += min(max(n, c.Lower), c.Upper)
			x.sums[s].rows++
		}
		e.cohorts.add(uint32(subjects[i]), cell)
	}
	return nil
}
