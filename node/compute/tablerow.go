package compute

import (
	"fmt"

	"github.com/parquet-go/parquet-go"

	"github.com/bund-exchange/bund/contracts/dictionary"
)

// tableBuilder turns rows of texts into rows of numbers, a subject at a time.
type tableBuilder struct {
	out    *parquet.GenericWriter[any]
	h      *header
	schema *dictionary.Dictionary
	fields []int // by column
	places []map[string]int64
	key    int

	last  []byte    // key of the subject in hand
	open  bool      // there is one
	rows  [][]int64 // of it, oldest first
	spare [][]int64
	batch []parquet.Row
}

func (b *tableBuilder) row(values [][]byte) error {
	if !b.open || string(values[b.key]) != string(b.last) {
		if err := b.subjectEnds(); err != nil {
			return err
		}
		b.last, b.open = append(b.last[:0], values[b.key]...), true
	}
	var row []int64
	switch {
	case len(b.rows) == maxRowsOfSubject:
		row = b.rows[0]
		b.rows = append(b.rows[:0], b.rows[1:]...)
	case len(b.spare) > 0:
		row, b.spare = b.spare[len(b.spare)-1], b.spare[:len(b.spare)-1]
	default:
		row = make([]int64, len(b.fields))
	}
	for c, i := range b.fields {
		n, err := b.number(c, i, values[i])
		if err != nil {
			return err
		}
		row[c] = n
	}
	b.rows = append(b.rows, row)
	return nil
}

func (b *tableBuilder) number(c, field int, value []byte) (int64, error) {
	if len(value) == 0 {
		return b.h.Columns[c].empty(), nil
	}
	if places := b.places[c]; places != nil {
		n, ok := places[string(value)]
		if !ok {
			return 0, fmt.Errorf("field %s has a text that it had not before: the snapshot has changed", b.schema.Fields[field].Name)
		}
		return n, nil
	}
	n, err := number(&b.schema.Fields[field], string(value))
	if err != nil {
		return 0, fmt.Errorf("field %s: %w", b.schema.Fields[field].Name, err)
	}
	return n, nil
}

// subjectEnds writes the rows of the subject in hand: rank 0 is the newest.
func (b *tableBuilder) subjectEnds() error {
	if !b.open {
		return nil
	}
	n := len(b.h.Columns)
	b.batch = b.batch[:0]
	for i, row := range b.rows {
		out := make(parquet.Row, 0, n+2)
		for c, v := range row {
			if b.h.Columns[c].Wide {
				out = append(out, parquet.Int64Value(v).Level(0, 0, c))
			} else {
				out = append(out, parquet.Int32Value(int32(v)).Level(0, 0, c))
			}
		}
		out = append(out, parquet.Int32Value(int32(len(b.rows)-1-i)).Level(0, 0, n), parquet.Int32Value(int32(b.h.Subjects)).Level(0, 0, n+1))
		b.batch = append(b.batch, out)
	}
	if _, err := b.out.WriteRows(b.batch); err != nil {
		return err
	}
	b.h.Rows += int64(len(b.rows))
	b.h.Subjects++
	b.spare = append(b.spare, b.rows...)
	b.rows, b.open = b.rows[:0], false
	return nil
}
