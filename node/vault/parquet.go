package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// Parquet is a source of one flat Parquet file with the schema's field names as columns, in any order.
//
//	text, code   BYTE_ARRAY as STRING, ENUM or without annotation
//	integer      INT32, INT64
//	decimal      DECIMAL, INT32, INT64; FLOAT and DOUBLE by their shortest text
//	boolean      BOOLEAN
//	date         INT32 as DATE
//	time         INT64 as TIMESTAMP, adjusted to UTC
//
// Any field may also be a string, written as in CSV. Lines of faults are rows from 1.
func Parquet(r io.ReaderAt, size int64) Source { return &parquetSource{r: r, size: size} }

type parquetSource struct {
	r    io.ReaderAt
	size int64

	mu     sync.Mutex
	broken error // what reading the file gave, as opposed to what decoding it gave
}

func (*parquetSource) kind() string { return "parquet" }

func (p *parquetSource) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at > p.size {
		return 0, io.ErrUnexpectedEOF // a damaged file points outside itself
	}
	n, err := p.r.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		p.mu.Lock()
		p.broken = err
		p.mu.Unlock()
	}
	return n, err
}

var errNoMoreRows = errors.New("no more rows") // io.EOF may also come out of a file that ends too early

// guard turns what decoding gives for a damaged file, an error or a panic, into a Fault; a failure of reading stays one.
func (p *parquetSource) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		var fault *Fault
		switch {
		case err == nil, err == errNoMoreRows, errors.As(err, &fault):
		case p.broken != nil:
			err = fmt.Errorf("couldn't read Parquet file: %w", p.broken)
		default:
			err = &Fault{Code: FileFormat, Detail: "not a Parquet file, or damaged"}
		}
	}()
	return f()
}

func (p *parquetSource) open(_ context.Context, schema *Schema) (rowReader, error) {
	rows := &parquetRows{source: p, values: make([]string, len(schema.Fields)), buf: make([]parquet.Row, 64)}
	err := p.guard(func() error {
		if err := checkFooter(p, p.size); err != nil {
			return err
		}
		f, err := parquet.OpenFile(p, p.size, &parquet.FileConfig{SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: 256 << 10})
		if err != nil {
			return err
		}
		if err := rows.columns(schema, f.Schema().Fields()); err != nil {
			return err
		}
		rows.groups = f.RowGroups()
		return checkPages(p, p.size, f)
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

type parquetRows struct {
	source *parquetSource
	groups []parquet.RowGroup // not begun
	rows   parquet.Rows       // of the group in hand
	buf    []parquet.Row
	ready  []parquet.Row
	order  []int // column → field
	text   []func(parquet.Value) string
	values []string
	line   int64
	err    error
}

func (r *parquetRows) columns(schema *Schema, columns []parquet.Field) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name()
	}
	order, err := columnOrder(schema, names)
	if err != nil {
		return err
	}
	var faults Faults
	r.order, r.text = order, make([]func(parquet.Value) string, len(columns))
	for i, c := range columns {
		f := &schema.Fields[order[i]]
		if c.Leaf() && !c.Repeated() {
			r.text[i] = parquetText(c.Type(), f.Type)
		}
		if r.text[i] == nil {
			faults = append(faults, &Fault{Code: ColumnType, Field: f.Name, Detail: fmt.Sprintf("a column of %s can't be read as %s", parquetName(c), f.Type)})
		}
	}
	if len(faults) > 0 {
		return faults[:min(len(faults), maxFaults)]
	}
	return nil
}

func parquetName(c parquet.Field) string {
	switch {
	case !c.Leaf():
		return "a group"
	case c.Repeated():
		return "repeated values"
	}
	return c.Type().String()
}

// parquetText gives what writes a column's values as CSV would, nil if the column can't hold the field.
func parquetText(t parquet.Type, want Type) func(parquet.Value) string {
	var logical format.LogicalTypeValue
	if l := t.LogicalType(); l != nil {
		logical = l.Value
	}
	kind := t.Kind()
	integer := kind == parquet.Int32 || kind == parquet.Int64
	switch l := logical.(type) {
	case *format.StringType, *format.EnumType:
		return func(v parquet.Value) string { return string(v.ByteArray()) }
	case *format.DateType:
		if want != Date || kind != parquet.Int32 {
			return nil
		}
		return func(v parquet.Value) string {
			return time.Unix(int64(v.Int32())*86400, 0).UTC().Format(time.DateOnly)
		}
	case *format.TimestampType:
		if want != Instant || kind != parquet.Int64 || !l.IsAdjustedToUTC || l.Unit.Value == nil {
			return nil
		}
		unit := int64(l.Unit.Value.Duration())
		return func(v parquet.Value) string {
			perSecond := int64(time.Second) / unit
			return time.Unix(v.Int64()/perSecond, v.Int64()%perSecond*unit).UTC().Format("2006-01-02T15:04:05.999999999Z")
		}
	case *format.DecimalType:
		if want != Decimal || l.Scale < 0 || l.Scale > 38 {
			return nil
		}
		return func(v parquet.Value) string { return scaled(parquetInt(v), int(l.Scale)) }
	case *format.IntType:
		if want != Integer && want != Decimal || !integer {
			return nil
		}
		if !l.IsSigned {
			return func(v parquet.Value) string {
				if v.Kind() == parquet.Int32 {
					return strconv.FormatUint(uint64(v.Uint32()), 10)
				}
				return strconv.FormatUint(v.Uint64(), 10)
			}
		}
	case nil:
	default:
		return nil
	}
	switch {
	case kind == parquet.ByteArray:
		return func(v parquet.Value) string { return string(v.ByteArray()) }
	case integer && (want == Integer || want == Decimal):
		return func(v parquet.Value) string { return parquetInt(v).String() }
	case kind == parquet.Boolean && want == Boolean:
		return func(v parquet.Value) string { return strconv.FormatBool(v.Boolean()) }
	case kind == parquet.Float && want == Decimal:
		return func(v parquet.Value) string { return strconv.FormatFloat(float64(v.Float()), 'f', -1, 32) }
	case kind == parquet.Double && want == Decimal:
		return func(v parquet.Value) string { return strconv.FormatFloat(v.Double(), 'f', -1, 64) }
	}
	return nil
}

// parquetInt reads an integer, or a decimal's unscaled value: two's complement, big-endian where it is bytes.
func parquetInt(v parquet.Value) *big.Int {
	switch v.Kind() {
	case parquet.Int32:
		return big.NewInt(int64(v.Int32()))
	case parquet.Int64:
		return big.NewInt(v.Int64())
	}
	b := v.ByteArray()
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

// scaled writes n · 10^-scale.
func scaled(n *big.Int, scale int) string {
	digits := new(big.Int).Abs(n).String()
	if scale > 0 {
		if len(digits) <= scale {
			digits = strings.Repeat("0", scale-len(digits)+1) + digits
		}
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if n.Sign() < 0 {
		digits = "-" + digits
	}
	return digits
}

func (r *parquetRows) next() ([]string, int64, error) {
	if r.err != nil {
		return nil, 0, r.err
	}
	err := r.source.guard(func() error {
		for len(r.ready) == 0 {
			if err := r.fill(); err != nil {
				return err
			}
		}
		r.line++
		for _, v := range r.ready[0] {
			text := ""
			if !v.IsNull() {
				text = r.text[v.Column()](v)
			}
			r.values[r.order[v.Column()]] = text
		}
		r.ready = r.ready[1:]
		return nil
	})
	if err != nil {
		// A damaged file has no next row; asking again ends.
		r.err = io.EOF
		if err == errNoMoreRows {
			err = io.EOF
		}
		return nil, 0, err
	}
	return r.values, r.line, nil
}

// fill reads more rows, from the next row group if need be.
func (r *parquetRows) fill() error {
	if r.rows == nil {
		if len(r.groups) == 0 {
			return errNoMoreRows
		}
		r.rows, r.groups = r.groups[0].Rows(), r.groups[1:]
	}
	n, err := r.rows.ReadRows(r.buf)
	r.ready = r.buf[:n]
	if errors.Is(err, io.EOF) {
		err = r.rows.Close()
		r.rows = nil
	}
	for _, row := range r.ready {
		if len(row) != len(r.order) {
			return fmt.Errorf("row of %d values in %d columns", len(row), len(r.order))
		}
	}
	return err
}

func (r *parquetRows) close() error {
	if r.rows == nil {
		return nil
	}
	return r.rows.Close()
}
