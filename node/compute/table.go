package compute

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/dictionary"
)

// Source is a dataset snapshot.
type Source interface {
	Digest() contracts.Hash
	Schema() *dictionary.Dictionary
	Rows() int64
	// Each gives every row's canonical texts in the schema's order, by key, and of one key the newest last. The values
	// are valid until the next call.
	Each(ctx context.Context, f func(values [][]byte) error) error
}

// A working table is a snapshot as engines read it: a Parquet file of whole numbers without nulls, uncompressed, its
// columns named c000, c001, … by field, s for the subject's number and r for how many newer rows the subject has. It
// holds no key. Beside it stands its header; both are made from the snapshot alone and can be made again.
//
//	<dir>/<digest>.parquet
//	<dir>/<digest>.header   crc u32 of the rest, then JSON
//
// A crash leaves a file named tmp-*, or a Parquet file without header: neither is ever read.

// Limits of a column's list of texts. A field with more is left out: its texts would name few subjects each.
const (
	maxListed      = 1 << 16
	maxListedBytes = 4 << 20
)

// maxRowsOfSubject bounds the memory of one subject's rows; older ones are left out, beyond any RowsPerSubject.
const maxRowsOfSubject = 4096

// maxTableRows keeps subjects within 32 bits, and exact figures within what one answer of the child may hold.
const maxTableRows = 1 << 28

const tableVersion = 1

// header says what the columns mean.
type header struct {
	Version  int            `json:"version"`
	Snapshot contracts.Hash `json:"snapshot"`
	Rows     int64          `json:"rows"`
	Subjects int64          `json:"subjects"`
	Columns  []column       `json:"columns"` // by number
	Size     int64          `json:"size"`    // of the Parquet file, in bytes
	CRC      uint32         `json:"crc"`     // of it
}

// column is one field's. List is ascending, for texts, and in the dictionary's order for codes, with what a tolerant
// field has outside it behind.
type column struct {
	Field string `json:"field"`
	shape
	List []string `json:"list,omitempty"`
}

// shape is what an engine must know of a column.
type shape struct {
	Wide     bool `json:"wide"`     // 64 bits
	Nullable bool `json:"nullable"` // some rows may be empty
}

func columnName(i int) string { return fmt.Sprintf("c%03d", i) }

const subjectName, rankName = "s", "r"

func (c shape) empty() int64 {
	if c.Wide {
		return emptyWide
	}
	return emptyNarrow
}

// place finds a text's number.
func (c *column) place(text string) int64 { return int64(slices.Index(c.List, text)) }

// table is a working table, open for reading.
type table struct {
	header
	path string
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openTable opens a snapshot's working table, or makes it first. Making one reads the whole snapshot twice.
func openTable(ctx context.Context, dir string, src Source) (*table, error) {
	path := filepath.Join(dir, string(src.Digest())+".parquet")
	h, err := readHeader(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errTable) {
		h, err = buildTable(ctx, dir, path, src)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't open working table: %w", err)
	}
	if h.Snapshot != src.Digest() {
		return nil, fmt.Errorf("couldn't open working table: it is of snapshot %s, not %s", h.Snapshot, src.Digest())
	}
	return &table{*h, path}, nil
}

// errTable is a table that is damaged or of another version, and is made anew.
var errTable = errors.New("working table is damaged")

func headerPath(path string) string { return strings.TrimSuffix(path, ".parquet") + ".header" }

func readHeader(path string) (*header, error) {
	b, err := os.ReadFile(headerPath(path))
	if err != nil {
		return nil, err
	}
	h, err := decodeHeader(b)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, f)
	if err != nil {
		return nil, err
	}
	if n != h.Size || sum.Sum32() != h.CRC {
		return nil, fmt.Errorf("%w: its file has changed", errTable)
	}
	return h, nil
}

func encodeHeader(h *header) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli)), b...), nil
}

func decodeHeader(b []byte) (*header, error) {
	if len(b) < 4 || crc32.Checksum(b[4:], castagnoli) != binary.BigEndian.Uint32(b) {
		return nil, fmt.Errorf("%w: header", errTable)
	}
	h := new(header)
	if err := json.Unmarshal(b[4:], h); err != nil {
		return nil, fmt.Errorf("%w: header: %v", errTable, err)
	}
	if h.Version != tableVersion || h.Rows < 0 || h.Subjects < 0 || h.Subjects > h.Rows || h.Rows > maxTableRows || len(h.Columns) > 512 {
		return nil, fmt.Errorf("%w: header of another version, or it contradicts itself", errTable)
	}
	return h, nil
}

// columnsOf finds which fields get a column, and the lists of texts.
func columnsOf(ctx context.Context, src Source) (columns []column, fields []int, err error) {
	schema := src.Schema()
	lists := make([]*lister, len(schema.Fields))
	for i := range schema.Fields {
		f := &schema.Fields[i]
		if f.Name != schema.Key && (f.Type == dictionary.Text || f.Type == dictionary.Coded) {
			lists[i] = newLister(f)
		}
	}
	err = src.Each(ctx, func(values [][]byte) error {
		for i, l := range lists {
			if l != nil && len(values[i]) > 0 {
				l.add(values[i])
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for i := range schema.Fields {
		f := &schema.Fields[i]
		c := column{Field: f.Name, shape: shape{Nullable: f.Nullable}}
		switch f.Type {
		case dictionary.Text, dictionary.Coded:
			if lists[i] == nil || lists[i].over {
				continue
			}
			c.List = lists[i].list()
		case dictionary.Integer, dictionary.Decimal, dictionary.Instant:
			c.Wide = true
		}
		columns, fields = append(columns, c), append(fields, i)
	}
	return columns, fields, nil
}

// lister collects a field's texts until there are too many.
type lister struct {
	codes []string
	seen  map[string]bool
	bytes int
	over  bool
}

func newLister(f *dictionary.Field) *lister {
	l := &lister{seen: map[string]bool{}}
	for _, c := range f.Codes {
		l.codes = append(l.codes, c.Code)
		l.add([]byte(c.Code))
	}
	return l
}

func (l *lister) add(text []byte) {
	if l.over || l.seen[string(text)] {
		return
	}
	l.seen[string(text)] = true
	if l.bytes += len(text); l.bytes > maxListedBytes || len(l.seen) > maxListed {
		l.over, l.seen = true, nil
	}
}

func (l *lister) list() []string {
	out := slices.Clone(l.codes)
	for _, c := range l.codes {
		delete(l.seen, c)
	}
	var others []string
	for t := range l.seen {
		others = append(others, t)
	}
	slices.Sort(others)
	return append(out, others...)
}

// sweep removes what other snapshots and crashes have left beside a table. Children that have a file open keep it; what
// is asked for again is made again.
func (t *table) sweep() error {
	dir := filepath.Dir(t.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("couldn't list working tables: %w", err)
	}
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); path != t.path && path != headerPath(t.path) {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}
