package vault

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// CSV is a source of comma-separated values by RFC 4180: UTF-8, with or without byte order mark, a header with the
// schema's field names in any order, lines ended by LF or CRLF. Nothing is guessed: no other separator, no trimming,
// no quotation mark inside a bare value, no blank line between others.
func CSV(r io.Reader) Source { return csvSource{r} }

type csvSource struct{ r io.Reader }

func (csvSource) kind() string { return "csv" }

func (s csvSource) open(_ context.Context, schema *Schema) (rowReader, error) {
	bounded := &boundedReader{r: s.r}
	if err := bounded.skipMark(); err != nil {
		return nil, err
	}
	r := csv.NewReader(bounded)
	r.ReuseRecord = true
	r.FieldsPerRecord = -1 // checked here, where line and field are known
	c := &csvRows{r: r, bounded: bounded, line: 1}
	header, err := c.record()
	if errors.Is(err, io.EOF) {
		return nil, &Fault{Code: FileEmpty, Detail: "there is no header line"}
	}
	if err != nil {
		return nil, err
	}
	if c.order, err = columnOrder(schema, header); err != nil {
		return nil, err
	}
	c.values = make([]string, len(schema.Fields))
	c.schema = schema
	return c, nil
}

// columnOrder gives for each column the index of its field, or Faults.
func columnOrder(schema *Schema, columns []string) ([]int, error) {
	var faults Faults
	order, seen := make([]int, len(columns)), map[string]bool{}
	for i, name := range columns {
		order[i] = schema.Index(name)
		switch {
		case order[i] < 0:
			detail := "the schema has no such field"
			for _, known := range schema.Names() {
				if strings.EqualFold(known, strings.TrimSpace(name)) {
					detail = "the schema writes this name otherwise, in case or spaces"
				}
			}
			faults = append(faults, &Fault{Code: HeaderUnknown, Line: 1, Field: clip(strings.ToValidUTF8(name, "?")), Detail: detail})
		case seen[name]:
			faults = append(faults, &Fault{Code: HeaderDuplicate, Line: 1, Field: name, Detail: "the column is there twice"})
		}
		seen[name] = true
	}
	for _, name := range schema.Names() {
		if !seen[name] {
			faults = append(faults, &Fault{Code: HeaderMissing, Line: 1, Field: name, Detail: "the column is missing"})
		}
	}
	if len(faults) > 0 {
		return nil, faults[:min(len(faults), maxFaults)]
	}
	return order, nil
}

type csvRows struct {
	r       *csv.Reader
	bounded *boundedReader
	schema  *Schema
	order   []int // column → field
	values  []string
	line    int64 // where the next record has to begin
	ended   bool
}

func (c *csvRows) close() error { return nil }

func (c *csvRows) next() ([]string, int64, error) {
	record, err := c.record()
	if err != nil {
		return nil, 0, err
	}
	line, _ := c.r.FieldPos(0)
	if len(record) != len(c.order) {
		return nil, 0, &Fault{Code: RowRagged, Line: int64(line), Detail: fmt.Sprintf("%d values under %d columns", len(record), len(c.order))}
	}
	for i, v := range record {
		c.values[c.order[i]] = v
	}
	return c.values, int64(line), nil
}

// record reads one record. After a Fault with code row.blank or row.ragged reading goes on; any other ends the source.
func (c *csvRows) record() ([]string, error) {
	if c.ended {
		return nil, io.EOF
	}
	c.bounded.allow(c.r.InputOffset() + MaxRowBytes)
	record, err := c.r.Read()
	var parse *csv.ParseError
	switch {
	case err == nil:
	case errors.Is(err, errRowTooLong):
		c.ended = true
		return nil, &Fault{Code: RowTooLong, Line: c.line, Detail: fmt.Sprintf("more than %d bytes; a quotation mark may be left open", MaxRowBytes)}
	case errors.As(err, &parse):
		c.ended = true
		return nil, &Fault{Code: RowQuote, Line: int64(parse.Line), Column: parse.Column, Detail: fmt.Sprintf("%v, in the row that begins in line %d", parse.Err, parse.StartLine)}
	case errors.Is(err, io.EOF):
		c.ended = true
		return nil, io.EOF
	default:
		c.ended = true
		return nil, fmt.Errorf("couldn't read CSV: %w", err)
	}
	// encoding/csv passes over blank lines in silence. A line where none should be shows as a record that begins late.
	first, _ := c.r.FieldPos(0)
	last, _ := c.r.FieldPos(len(record) - 1)
	due := c.line
	c.line = int64(last+strings.Count(record[len(record)-1], "\n")) + 1
	if int64(first) != due {
		return nil, &Fault{Code: RowBlank, Line: due, Detail: "a blank line before other lines"}
	}
	return record, nil
}

var errRowTooLong = errors.New("row too long")

// boundedReader stops a record from growing without end, as one open quotation mark would make it.
type boundedReader struct {
	r     io.Reader
	head  []byte // read ahead of the mark
	given int64
	limit int64
}

// allow lets the reader give bytes up to offset, and what csv's buffer may take beyond it.
func (b *boundedReader) allow(offset int64) { b.limit = offset + 64<<10 }

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.given >= b.limit {
		return 0, errRowTooLong
	}
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		b.given += int64(n)
		return n, nil
	}
	n, err := b.r.Read(p)
	b.given += int64(n)
	return n, err
}

// skipMark drops a UTF-8 byte order mark and refuses the marks of other encodings.
func (b *boundedReader) skipMark() error {
	head := make([]byte, 4)
	n, err := io.ReadFull(b.r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("couldn't read CSV: %w", err)
	}
	b.head = bytes.TrimPrefix(head[:n], []byte("\xef\xbb\xbf"))
	for _, mark := range []string{"\xff\xfe", "\xfe\xff", "\x00\x00\xfe\xff"} {
		if bytes.HasPrefix(b.head, []byte(mark)) {
			return &Fault{Code: FileEncoding, Line: 1, Detail: "UTF-16 or UTF-32, want UTF-8"}
		}
	}
	return nil
}
