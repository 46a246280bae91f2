package lookup

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sort"

	"github.com/transparency-dev/merkle/compact"
)

// A table is, all integers big-endian:
//
//	magic
//	length u16 of the head, and the head in canonical JSON
//	record*  tag, sealed row; all of one length, in ascending order of tag
const tableMagic = "bund lookup table 1\n"

// preamble is what stands before the records.
func preamble(head []byte) []byte {
	b := append(make([]byte, 0, len(tableMagic)+2+len(head)), tableMagic...)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(head))), head...)
}

// Table is a whole table that was found to be the committed one. It is safe for concurrent use.
type Table struct {
	head      *Head
	headBytes []byte
	r         io.ReaderAt
	first     int64 // place of the first record
	tree      *tree
}

// OpenTable reads a table once and gives it if it is the committed one to its last byte. Memory is 64 bytes for 256
// records. What r holds must not change after.
func OpenTable(ctx context.Context, r io.ReaderAt, size int64, c *Commitment) (*Table, error) {
	t := &Table{r: r, tree: newTree(true)}
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<20)
	if err := t.readHead(in, c); err != nil {
		return nil, err
	}
	record := make([]byte, t.head.recordSize())
	if size != t.first+t.head.Rows*int64(len(record)) {
		return nil, refuse(TableMismatch, "the table has not the length of the committed one")
	}
	t.tree.add(t.headBytes)
	var last Tag
	for i := range t.head.Rows {
		if i%blockRows == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := io.ReadFull(in, record); err != nil {
			return nil, fmt.Errorf("couldn't read table: %w", err)
		}
		if i > 0 && bytes.Compare(last[:], record[:tagBytes]) >= 0 {
			return nil, refuse(TableMismatch, "records are not in ascending order of tag")
		}
		last = Tag(record[:tagBytes])
		t.tree.add(record)
	}
	if rootHash(t.tree.root()) != c.Root {
		return nil, refuse(TableMismatch, "the table's root is not the committed one")
	}
	return t, nil
}

func (t *Table) readHead(in io.Reader, c *Commitment) error {
	start := make([]byte, len(tableMagic)+2)
	if _, err := io.ReadFull(in, start); err != nil {
		return short(err)
	}
	n := binary.BigEndian.Uint16(start[len(tableMagic):])
	if string(start[:len(tableMagic)]) != tableMagic || n > maxHeadBytes {
		return refuse(Malformed, "this is no lookup table")
	}
	t.headBytes = make([]byte, n)
	if _, err := io.ReadFull(in, t.headBytes); err != nil {
		return short(err)
	}
	var err error
	if t.head, err = parseHead(t.headBytes); err != nil {
		return err
	}
	t.first = int64(len(start)) + int64(n)
	return t.head.of(c)
}

// short tells a table that ends too early from one that can't be read.
func short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return refuse(TableMismatch, "the table ends within its head")
	}
	return fmt.Errorf("couldn't read table: %w", err)
}

// Head is the table's.
func (t *Table) Head() *Head { return t.head }

// Size is the table's length in bytes.
func (t *Table) Size() int64 { return t.first + t.head.Rows*int64(t.head.recordSize()) }

// records reads [from, from+n).
func (t *Table) records(from, n int64) ([]byte, error) {
	size := int64(t.head.recordSize())
	b := make([]byte, n*size)
	if _, err := t.r.ReadAt(b, t.first+from*size); err != nil && !(err == io.EOF && len(b) == 0) {
		return nil, fmt.Errorf("couldn't read table: %w", err)
	}
	return b, nil
}

// search gives the place of the first record whose tag isn't below.
func (t *Table) search(tag Tag) (int64, error) {
	var failed error
	at := sort.Search(int(t.head.Rows), func(i int) bool {
		if failed != nil {
			return true
		}
		var x [tagBytes]byte
		if _, err := t.r.ReadAt(x[:], t.first+int64(i)*int64(t.head.recordSize())); err != nil {
			failed = fmt.Errorf("couldn't read table: %w", err)
		}
		return bytes.Compare(x[:], tag[:]) >= 0
	})
	return int64(at), failed
}

// Find implements Records.
func (t *Table) Find(tag Tag) ([]byte, bool, error) {
	at, err := t.search(tag)
	if err != nil || at == t.head.Rows {
		return nil, false, err
	}
	record, err := t.records(at, 1)
	if err != nil || Tag(record[:tagBytes]) != tag {
		return nil, false, err
	}
	return record, true, nil
}

// node gives the hash of a perfect subtree. Leaf 0 is the head.
func (t *Table) node(id compact.NodeID) ([]byte, error) {
	if id.Level >= keptLevel {
		return t.tree.kept[id.Level-keptLevel][id.Index], nil
	}
	from, to := id.Coverage()
	sub := ranges.NewEmptyRange(from)
	if from == 0 {
		sub.Append(leafHash(t.headBytes), nil)
		from++
	}
	b, err := t.records(int64(from)-1, int64(to-from))
	if err != nil {
		return nil, err
	}
	for size := t.head.recordSize(); len(b) > 0; b = b[size:] {
		sub.Append(leafHash(b[:size]), nil)
	}
	return sub.Hashes()[0], nil
}

// nodes appends the hashes of the perfect subtrees that cover the leaves [from, to).
func (t *Table) nodes(dst []byte, from, to uint64) ([]byte, error) {
	for _, id := range compact.RangeNodes(from, to, nil) {
		h, err := t.node(id)
		if err != nil {
			return nil, err
		}
		dst = append(dst, h...)
	}
	return dst, nil
}
