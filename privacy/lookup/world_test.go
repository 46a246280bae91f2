package lookup

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/bund-exchange/bund/contracts"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(err error, code contracts.Code) bool {
	var r *contracts.Refusal
	return errors.As(err, &r) && r.Code == code
}

// memory is a spool that counts what it lent and what came back.
type memory struct {
	open, created int
	fail          error
}

type memoryFile struct {
	*bytes.Reader
	buf bytes.Buffer
	m   *memory
}

func (m *memory) Create() (Scratch, error) {
	if m.fail != nil {
		return nil, m.fail
	}
	m.open++
	m.created++
	return &memoryFile{m: m}, nil
}

func (f *memoryFile) Write(b []byte) (int, error) { return f.buf.Write(b) }

func (f *memoryFile) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(f.buf.Bytes()).ReadAt(b, at)
}

func (f *memoryFile) Close() error { f.m.open--; return nil }

func id(n int) []byte { return []byte(contracts.SyntheticCreditCode(uint32(n))) }

func ids(ns ...int) (out [][]byte) {
	for _, n := range ns {
		out = append(out, id(n))
	}
	return out
}

func value(n int) []byte { return fmt.Appendf(nil, "tax_score=%d", n) }

func rowsOf(n int) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for i := range n {
			if !yield(Row{id(i), value(i)}, nil) {
				return
			}
		}
	}
}

// world is a provider with a committed table of rows 0 … n−1.
type world struct {
	key   *EpochKey
	c     *Commitment
	bytes []byte
	table *Table
	e     *Evaluator
}

func build(t testing.TB, key *EpochKey, p Plan, rows iter.Seq2[Row, error]) (*Commitment, []byte, error) {
	t.Helper()
	p.Version, p.Dataset = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", contracts.HashOf("test/dataset")
	if p.RecordBytes == 0 {
		p.RecordBytes = 64
	}
	var out bytes.Buffer
	m := new(memory)
	c, err := BuildTable(t.Context(), key, p, rows, m, &out)
	if m.open != 0 {
		t.Errorf("%d scratch files are left", m.open)
	}
	return c, out.Bytes(), err
}

func newWorld(t testing.TB, n int, p Plan) *world {
	t.Helper()
	return newWorldOf(t, 1, n, p)
}

func newWorldOf(t testing.TB, epoch int64, n int, p Plan) *world {
	t.Helper()
	w := new(world)
	var err error
	w.key, err = NewEpochKey(epoch, 1_772_000_000_000)
	ok(t, err)
	w.c, w.bytes, err = build(t, w.key, p, rowsOf(n))
	ok(t, err)
	ok(t, w.c.Check())
	w.table, err = OpenTable(t.Context(), bytes.NewReader(w.bytes), int64(len(w.bytes)), w.c)
	ok(t, err)
	w.e, err = NewEvaluator(w.key, w.c)
	ok(t, err)
	return w
}

// evaluated asks about ids, over the wire.
func (w *world) evaluated(t testing.TB, ids [][]byte) *Evaluated {
	t.Helper()
	q, err := NewQuery(w.c, ids)
	ok(t, err)
	answer, err := w.e.Evaluate(t.Context(), overTheWire(t, q.Request()))
	ok(t, err)
	e, err := q.Finalize(t.Context(), answer)
	ok(t, err)
	return e
}

func overTheWire(t testing.TB, r *Request) *Request {
	t.Helper()
	got, err := ParseRequest(r.Bytes())
	ok(t, err)
	return got
}
