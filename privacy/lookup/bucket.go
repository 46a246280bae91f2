package lookup

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/transparency-dev/merkle/compact"

	"github.com/bund-exchange/bund/contracts"
)

// A bucket's message is, all integers big-endian:
//
//	magic, number u32 of the bucket
//	length u16 of the head, and the head
//	place u32 of the first record, count u32, the records
//	hash*  of the perfect subtrees between the head and the first record, then of those behind the last
//
// The records are those of the bucket and, where there is one, the record before and the one behind: they show that the
// bucket is whole. The message of no records, of bucket 0, shows the head alone.
const bucketMagic = "bund lookup bucket 1\n"

// Bucket holds the records whose tags begin with the same bits, found to be those of the committed table.
type Bucket struct {
	head    *Head
	number  uint32
	from    uint64 // place of the first record
	records []byte
}

// HeadProof gives the head with the proof that it is the committed table's.
func (t *Table) HeadProof() ([]byte, error) { return t.part(0, 0, 0) }

// Bucket gives a bucket's message. A table without a cohort has none.
func (t *Table) Bucket(number uint32) ([]byte, error) {
	if number >= t.head.Buckets() {
		return nil, refuse(Malformed, "the table has %d buckets", t.head.Buckets())
	}
	from, err := t.search(firstTag(number, t.head.PrefixBits))
	if err != nil {
		return nil, err
	}
	to := t.head.Rows
	if number+1 < t.head.Buckets() {
		if to, err = t.search(firstTag(number+1, t.head.PrefixBits)); err != nil {
			return nil, err
		}
	}
	return t.part(number, max(0, from-1), min(t.head.Rows, to+1))
}

func firstTag(number uint32, bits int64) (t Tag) {
	if bits > 0 {
		binary.BigEndian.PutUint32(t[:], number<<(32-bits))
	}
	return t
}

// part is the message of the records [from, to).
func (t *Table) part(number uint32, from, to int64) ([]byte, error) {
	b := binary.BigEndian.AppendUint32([]byte(bucketMagic), number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(t.headBytes)))
	b = append(b, t.headBytes...)
	b = binary.BigEndian.AppendUint32(b, uint32(from))
	b = binary.BigEndian.AppendUint32(b, uint32(to-from))
	records, err := t.records(from, to-from)
	if err != nil {
		return nil, err
	}
	b = append(b, records...)
	if b, err = t.nodes(b, 1, uint64(from)+1); err != nil {
		return nil, err
	}
	return t.nodes(b, uint64(to)+1, uint64(t.head.Rows)+1)
}

// OpenHead gives the head of the committed table from the message that shows it.
func OpenHead(msg []byte, c *Commitment) (*Head, error) {
	b, err := openPart(msg, c)
	if err != nil {
		return nil, err
	}
	if b.number != 0 || len(b.records) != 0 {
		return nil, refuse(Malformed, "a message of the head holds no records")
	}
	return b.head, nil
}

// OpenBucket gives a bucket of the committed table, whole and of at least the committed cohort.
func OpenBucket(msg []byte, c *Commitment, number uint32) (*Bucket, error) {
	b, err := openPart(msg, c)
	if err != nil {
		return nil, err
	}
	if b.number != number {
		return nil, refuse(TableMismatch, "this is another bucket")
	}
	if err := b.whole(); err != nil {
		return nil, err
	}
	return b, nil
}

// openPart checks the message against the committed root.
func openPart(msg []byte, c *Commitment) (*Bucket, error) {
	r := reader{b: msg}
	if string(r.take(len(bucketMagic))) != bucketMagic {
		return nil, refuse(Malformed, "this is no bucket of a lookup table")
	}
	b := &Bucket{number: uint32(r.uint(4))}
	headBytes := r.take(int(r.uint(2)))
	if r.short {
		return nil, refuse(Malformed, "the message is short")
	}
	var err error
	if b.head, err = parseHead(headBytes); err != nil {
		return nil, err
	}
	if err := b.head.of(c); err != nil {
		return nil, err
	}
	from, n := r.uint(4), r.uint(4)
	b.from = from
	rows, size := uint64(b.head.Rows), uint64(b.head.recordSize())
	if r.short || from+n > rows {
		return nil, refuse(Malformed, "records are out of bounds")
	}
	b.records = r.take(int(n * size))
	left := r.hashes(compact.RangeSize(1, from+1))
	right := r.hashes(compact.RangeSize(from+n+1, rows+1))
	if r.short || len(r.b) != 0 {
		return nil, refuse(Malformed, "the message has not the length that it states")
	}
	if !b.proven(headBytes, left, right, from, n, c.Root) {
		return nil, refuse(TableMismatch, "the bucket is not of the committed table")
	}
	return b, nil
}

// proven rebuilds the root from the head, the records and the hashes of all else.
func (b *Bucket) proven(head []byte, left, right [][]byte, from, n uint64, root contracts.Hash) bool {
	t := newTree(false)
	t.add(head)
	before, err := ranges.NewRange(1, from+1, left)
	if err != nil || t.all.AppendRange(before, nil) != nil {
		return false
	}
	size := b.head.recordSize()
	for i := range int(n) {
		t.add(b.records[i*size : (i+1)*size])
	}
	behind, err := ranges.NewRange(from+n+1, uint64(b.head.Rows)+1, right)
	if err != nil || t.all.AppendRange(behind, nil) != nil {
		return false
	}
	return rootHash(t.root()) == root
}

// whole takes the neighbours away and refuses a bucket that may lack records, or is smaller than the cohort.
func (b *Bucket) whole() error {
	size := b.head.recordSize()
	n := len(b.records) / size
	prefix := func(i int) uint32 { return b.head.Bucket(Tag(b.records[i*size:][:tagBytes])) }
	lo, hi := 0, n
	if n > 0 && prefix(0) < b.number {
		lo = 1
	} else if b.from > 0 {
		return refuse(TableMismatch, "records before these may be the bucket's")
	}
	if n > lo && prefix(n-1) > b.number {
		hi--
	} else if b.from+uint64(n) < uint64(b.head.Rows) {
		return refuse(TableMismatch, "records behind these may be the bucket's")
	}
	for i := lo; i < hi; i++ {
		if prefix(i) != b.number || i > lo && bytes.Compare(b.records[(i-1)*size:][:tagBytes], b.records[i*size:][:tagBytes]) >= 0 {
			return refuse(TableMismatch, "records are not this bucket's, in ascending order of tag")
		}
	}
	if int64(hi-lo) < b.head.Cohort {
		return refuse(TableMismatch, "the bucket has %d records, fewer than the committed cohort", hi-lo)
	}
	b.records = b.records[lo*size : hi*size]
	return nil
}

// Len is how many records the bucket has.
func (b *Bucket) Len() int { return len(b.records) / b.head.recordSize() }

// Find implements Records, for tags of this bucket.
func (b *Bucket) Find(tag Tag) ([]byte, bool, error) {
	if b.head.Bucket(tag) != b.number {
		return nil, false, fmt.Errorf("couldn't find a record: its bucket is %d, not %d", b.head.Bucket(tag), b.number)
	}
	size := b.head.recordSize()
	at := sort.Search(b.Len(), func(i int) bool { return bytes.Compare(b.records[i*size:][:tagBytes], tag[:]) >= 0 })
	if at == b.Len() {
		return nil, false, nil
	}
	record := b.records[at*size : (at+1)*size]
	return record, Tag(record[:tagBytes]) == tag, nil
}

// Buckets are several, by number.
type Buckets map[uint32]*Bucket

// Find implements Records.
func (bs Buckets) Find(tag Tag) ([]byte, bool, error) {
	for _, b := range bs {
		at, ok := bs[b.head.Bucket(tag)]
		if !ok {
			break
		}
		return at.Find(tag)
	}
	return nil, false, fmt.Errorf("couldn't find a record: its bucket was not fetched")
}
