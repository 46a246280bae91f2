package lookup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Row is one row of a table: an id, which is there once, and what is known of it.
type Row struct {
	ID    []byte
	Value []byte
}

// Plan says how a table is made.
type Plan struct {
	Version contracts.ID
	Dataset contracts.Hash // digest of the dataset snapshot that the rows are of

	// Cohort is how many records a bucket has at least; 0: the table is given as a whole only.
	Cohort int64
	// RecordBytes is the length to which every row is padded. A row may be RowBytes(RecordBytes) long.
	RecordBytes int64

	MemoryBytes int              // of records that are sorted at once; 64 MiB when 0
	Workers     int              // that evaluate; one per processor when 0
	Progress    func(rows int64) // called now and then with the rows evaluated so far. Optional
}

// RecordBytesFor gives a RecordBytes for rows of up to n bytes: rounded up, so that it doesn't tell the longest row.
func RecordBytesFor(n int) int64 { return max(MinRecordBytes, int64(n+lengthBytes+63)/64*64) }

// Spool lends BuildTable scratch space for sealed records. What is written is gone when the build has ended.
type Spool interface {
	Create() (Scratch, error)
}

// Scratch is written once from the beginning, then read. BuildTable closes it.
type Scratch interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// blockRows is how many rows are evaluated between two looks at the context, sixteen to a worker's turn.
const (
	blockRows = 1024
	turnRows  = 16
)

// BuildTable evaluates and seals rows and writes the table to w. Memory is bounded by the plan; the rest is on the
// spool. The table of one key is built anew, with another salt, if a build didn't end: no record key seals two rows.
// What it gives is to be put on the ledger before the table or the key is used.
func BuildTable(ctx context.Context, key *EpochKey, p Plan, rows iter.Seq2[Row, error], spool Spool, w io.Writer) (*Commitment, error) {
	b := &builder{plan: p, key: key, spool: spool}
	defer b.close()
	b.head = Head{Cohort: p.Cohort, Base: Base{Dataset: p.Dataset, Epoch: key.Epoch, PublicKey: key.Public(), RecordBytes: p.RecordBytes,
		Suite: contracts.LookupSuite, Version: p.Version}}
	rand.Read(b.head.Salt[:])
	if p.RecordBytes < MinRecordBytes || p.RecordBytes > MaxRecordBytes || p.Cohort < 0 {
		return nil, refuse(Malformed, "the plan is out of bounds")
	}
	b.base = b.head.digest()
	b.run = newRun(b.head.recordSize(), p.MemoryBytes)
	if err := b.fill(ctx, rows); err != nil {
		return nil, err
	}
	if err := b.spill(); err != nil {
		return nil, err
	}
	if b.head.Rows < 1 || b.head.Rows < p.Cohort {
		return nil, refuse(TooFew, "the table has %d rows, and a cohort of %d", b.head.Rows, p.Cohort)
	}
	b.head.PrefixBits = b.counts.bits(p.Cohort)
	return b.write(ctx, w)
}

type builder struct {
	plan   Plan
	key    *EpochKey
	spool  Spool
	head   Head
	base   [32]byte
	run    *run
	runs   []spilled
	counts prefixCounts
}

type spilled struct {
	Scratch
	bytes int64
}

func (b *builder) close() {
	for _, r := range b.runs {
		r.Close()
	}
}

// fill reads all rows, a block at a time.
func (b *builder) fill(ctx context.Context, rows iter.Seq2[Row, error]) error {
	block := make([]Row, 0, blockRows)
	flush := func() error {
		if err := b.evaluate(ctx, block); err != nil {
			return err
		}
		block = block[:0]
		if b.plan.Progress != nil {
			b.plan.Progress(b.head.Rows)
		}
		return nil
	}
	for row, err := range rows {
		if err != nil {
			return fmt.Errorf("couldn't read rows: %w", err)
		}
		if len(row.Value) > int(b.plan.RecordBytes)-lengthBytes {
			return refuse(TooLong, "a row has %d bytes, and a record holds %d", len(row.Value), b.plan.RecordBytes-lengthBytes)
		}
		block = append(block, Row{bytes.Clone(row.ID), bytes.Clone(row.Value)})
		if len(block) == blockRows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(block) > 0 {
		return flush()
	}
	return ctx.Err()
}

// evaluate seals a block of rows into the run.
func (b *builder) evaluate(ctx context.Context, block []Row) error {
	if b.head.Rows+int64(len(block)) > MaxRows {
		return refuse(TooMany, "a table has %d rows at most", MaxRows)
	}
	if b.run.room() < len(block) {
		if err := b.spill(); err != nil {
			return err
		}
	}
	at := b.run.n
	b.run.n += len(block)
	err := spread(ctx, len(block), turnRows, b.plan.Workers, func(lo, hi int) error {
		for i := lo; i < hi; i++ {
			p, err := Point(block[i].ID)
			if err != nil {
				return err
			}
			y := output(block[i].ID, p.Mul(p, b.key.k))
			d := derive(y[:])
			d.seal(b.run.record(at + i)[:0], &b.base, int(b.plan.RecordBytes), block[i].Value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range block {
		b.counts.add(Tag(b.run.record(at + i)[:tagBytes]))
	}
	b.head.Rows += int64(len(block))
	return nil
}

// spill sorts the run and puts it on the spool.
func (b *builder) spill() error {
	if b.run.n == 0 {
		return nil
	}
	s, err := b.spool.Create()
	if err != nil {
		return fmt.Errorf("couldn't create scratch: %w", err)
	}
	b.runs = append(b.runs, spilled{s, int64(b.run.n) * int64(b.run.size)})
	w := bufio.NewWriterSize(s, 256<<10)
	for record := range b.run.sorted() {
		w.Write(record)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("couldn't write scratch: %w", err)
	}
	b.run.n = 0
	return nil
}

// write merges the runs behind the head and hashes what it writes.
func (b *builder) write(ctx context.Context, to io.Writer) (*Commitment, error) {
	w := bufio.NewWriterSize(to, 256<<10)
	head := canon.Marshal(b.head)
	t := newTree(false)
	t.add(head)
	w.Write(preamble(head))
	var last []byte
	n := 0
	for record, err := range mergeRuns(b.runs, b.run.size) {
		if err != nil {
			return nil, fmt.Errorf("couldn't read scratch: %w", err)
		}
		if last != nil && bytes.Equal(last, record[:tagBytes]) {
			return nil, refuse(Twice, "an id has two rows")
		}
		if n++; n%blockRows == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		last = append(last[:0], record[:tagBytes]...)
		t.add(record)
		if _, err := w.Write(record); err != nil {
			return nil, fmt.Errorf("couldn't write table: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return nil, fmt.Errorf("couldn't write table: %w", err)
	}
	return b.head.commitment(t.root()), nil
}

// prefixCounts counts records by the leading bits of their tags.
type prefixCounts struct{ n []uint32 }

func (c *prefixCounts) add(t Tag) {
	if c.n == nil {
		c.n = make([]uint32, 1<<maxPrefixBits)
	}
	c.n[t.prefix(maxPrefixBits)]++
}

// bits gives the most leading bits by which every bucket still has cohort records. Tags are uniform, so that this is a
// bit or two less than their number would allow on average.
func (c *prefixCounts) bits(cohort int64) int64 {
	if cohort == 0 {
		return 0
	}
	for bits := int64(maxPrefixBits); bits > 0; bits-- {
		least, each := uint32(math.MaxUint32), 1<<(maxPrefixBits-bits)
		for at := 0; at < len(c.n); at += each {
			sum := uint32(0)
			for _, x := range c.n[at : at+each] {
				sum += x
			}
			if least = min(least, sum); int64(least) < cohort {
				break
			}
		}
		if int64(least) >= cohort {
			return bits
		}
	}
	return 0
}
