package lookup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"
	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

// TestAgainstOracle holds lookups against a plain map, over random rows, questions, cohorts and memory: from the whole
// table and from its buckets.
func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rows := rapid.MapOfNValues(rapid.SliceOfN(rapid.Byte(), 0, 60), 1, 60, func(v []byte) string { return fmt.Sprintf("%d %x", len(v), v) }).Draw(rt, "rows")
		oracle := map[string][]byte{}
		for k, v := range rows {
			oracle[k[:min(len(k), MaxIDBytes)]] = v
		}
		order := make([]string, 0, len(oracle))
		for k := range oracle {
			order = append(order, k)
		}
		slices.Sort(order)
		cohort := rapid.Int64Range(0, int64(len(order))).Draw(rt, "cohort")
		key, err := NewEpochKey(rapid.Int64Range(1, 1<<40).Draw(rt, "epoch"), 1)
		ok(t, err)
		c, b, err := build(t, key, Plan{Cohort: cohort, Workers: rapid.IntRange(0, 3).Draw(rt, "workers")}, func(yield func(Row, error) bool) {
			for _, k := range order {
				if !yield(Row{[]byte(k), oracle[k]}, nil) {
					return
				}
			}
		})
		ok(t, err)
		table, err := OpenTable(t.Context(), bytes.NewReader(b), int64(len(b)), c)
		ok(t, err)
		e, err := NewEvaluator(key, c)
		ok(t, err)
		asked := map[string]bool{}
		var ids [][]byte
		for range rapid.IntRange(1, 12).Draw(rt, "asked") {
			x := rapid.OneOf(rapid.SampledFrom(order), rapid.StringN(1, 16, MaxIDBytes)).Draw(rt, "id")
			if !asked[x] {
				asked[x] = true
				ids = append(ids, []byte(x))
			}
		}
		q, err := NewQuery(c, ids)
		ok(t, err)
		q, err = ParseQuery(q.Bytes(), c) // as kept until the answer has come
		ok(t, err)
		msg, err := e.Evaluate(t.Context(), overTheWire(t, q.Request()))
		ok(t, err)
		ev, err := q.Finalize(t.Context(), msg)
		ok(t, err)
		check := func(way string, h *Head, records Records) {
			as, err := ev.Open(h, records)
			ok(t, err)
			for i, a := range as {
				want, found := oracle[string(ids[i])]
				if !bytes.Equal(a.ID, ids[i]) || a.Found != found || !bytes.Equal(a.Value, want) {
					rt.Fatalf("%s: %q gives %v %q, want %v %q", way, ids[i], a.Found, a.Value, found, want)
				}
			}
		}
		check("whole table", table.Head(), table)
		if cohort == 0 {
			return
		}
		proof, err := table.HeadProof()
		ok(t, err)
		h, err := OpenHead(proof, c)
		ok(t, err)
		bs := Buckets{}
		for _, n := range ev.Buckets(h) {
			msg, err := table.Bucket(n)
			ok(t, err)
			bs[n], err = OpenBucket(msg, c, n)
			ok(t, err)
			if int64(bs[n].Len()) < cohort {
				rt.Fatalf("a bucket of %d, the cohort is %d", bs[n].Len(), cohort)
			}
		}
		check("buckets", h, bs)
	})
}

// TestAgainstCircl holds our batch against circl's own client and full evaluation.
func TestAgainstCircl(t *testing.T) {
	w := newWorld(t, 1, Plan{})
	sk := new(oprf.PrivateKey)
	ok(t, sk.UnmarshalBinary(oprf.SuiteRistretto255, appendScalar(nil, w.key.k)))
	server := oprf.NewVerifiableServer(oprf.SuiteRistretto255, sk)
	var in [][]byte
	for i := range 600 { // three proofs, the last of them short
		in = append(in, id(i))
	}
	ev := w.evaluated(t, in)
	for _, i := range []int{0, 1, 255, 256, 257, 511, 512, 599} {
		want, err := server.FullEvaluate(in[i])
		ok(t, err)
		if !bytes.Equal(ev.outputs[i][:], want) {
			t.Errorf("id %d: %x, want %x", i, ev.outputs[i], want)
		}
	}
}

func TestInvert(t *testing.T) {
	for _, n := range []int{0, 1, 2, 17} {
		xs := make([]group.Scalar, n)
		for i := range xs {
			xs[i] = r255.RandomNonZeroScalar(nil)
		}
		for i, got := range invert(xs) {
			if want := r255.NewScalar().Inv(xs[i]); !got.IsEqual(want) {
				t.Errorf("%d of %d", i, n)
			}
		}
	}
}

// TestProviderSeesNothing gives two ids the same blinded point: the whole of what the provider gets, does and answers is
// the same to the byte. For any two ids there are blinds that do this; here the points' logarithms are known, so that
// both can be had.
func TestProviderSeesNothing(t *testing.T) {
	w := newWorld(t, 3, Plan{})
	transcript := func(id []byte, log, blind group.Scalar) []byte {
		q := &Query{commitment: w.c, ids: [][]byte{id}, blinds: []group.Scalar{blind}}
		ok(t, q.blind([]group.Element{r255.NewElement().MulGen(log)}))
		e := *w.e
		e.nonce = func() group.Scalar { return r255.NewScalar().SetUint64(7) }
		req := q.Request().Bytes()
		got, err := ParseRequest(req)
		ok(t, err)
		answer, err := e.Evaluate(t.Context(), got)
		ok(t, err)
		return append(req, answer...)
	}
	for range 8 {
		x, y, r := r255.RandomNonZeroScalar(nil), r255.RandomNonZeroScalar(nil), r255.RandomNonZeroScalar(nil)
		other := r255.NewScalar().Mul(r, r255.NewScalar().Mul(x, r255.NewScalar().Inv(y))) // other·y = r·x
		a, b := transcript(id(1), x, r), transcript(id(2), y, other)
		if !bytes.Equal(a, b) {
			t.Fatal("the provider's transcript depends on the id")
		}
		if bytes.Equal(a, transcript(id(1), x, other)) {
			t.Fatal("another blind leaves the transcript as it was")
		}
	}
}

// TestProof refuses every answer that is not the committed key's, of this request, in its order.
func TestProof(t *testing.T) {
	w, n := newWorld(t, 4, Plan{}), ProofIDs+3
	var in [][]byte
	for i := range n {
		in = append(in, id(i))
	}
	q, err := NewQuery(w.c, in)
	ok(t, err)
	good, err := w.e.Evaluate(t.Context(), q.Request())
	ok(t, err)
	again, err := w.e.Evaluate(t.Context(), q.Request())
	ok(t, err)
	if _, err := q.Finalize(t.Context(), again); err != nil {
		t.Errorf("answered again: %v", err)
	}
	second, err := NewEpochKey(w.key.Epoch, w.key.Created)
	ok(t, err)
	if _, err := NewEvaluator(second, w.c); !refused(err, WrongKey) {
		t.Errorf("a second key for the epoch: %v", err)
	}
	tagging := *w.e
	tagging.key = second
	secondAnswer, err := tagging.Evaluate(t.Context(), q.Request())
	ok(t, err)
	otherQuery, err := NewQuery(w.c, in)
	ok(t, err)
	replayed, err := w.e.Evaluate(t.Context(), otherQuery.Request())
	ok(t, err)
	few, err := NewQuery(w.c, in[:2])
	ok(t, err)
	fewAnswer, err := w.e.Evaluate(t.Context(), few.Request())
	ok(t, err)

	edit := func(f func(a *response)) []byte {
		a, err := parseResponse(bytes.Clone(good))
		ok(t, err)
		f(a)
		return a.bytes()
	}
	swap := func(b []byte, i, j, size int) {
		x := bytes.Clone(b[i*size : (i+1)*size])
		copy(b[i*size:], b[j*size:(j+1)*size])
		copy(b[j*size:], x)
	}
	for name, answer := range map[string][]byte{
		"a second key for the epoch":        secondAnswer,
		"the answer to another request":     replayed,
		"fewer evaluations":                 fewAnswer,
		"two in the wrong order":            edit(func(a *response) { swap(a.elements, 0, 1, ElementBytes) }),
		"two in the wrong order, far apart": edit(func(a *response) { swap(a.elements, 0, n-1, ElementBytes) }),
		"the other chunk's proof":           edit(func(a *response) { swap(a.proofs, 0, 1, proofBytes) }),
		"the last chunk with the other key": edit(func(a *response) { copy(a.elements[ProofIDs*32:], secondAnswer[len(responseMagic)+4+ProofIDs*32:]) }),
		"one element with the other key":    edit(func(a *response) { copy(a.elements[5*32:6*32], secondAnswer[len(responseMagic)+4+5*32:]) }),
		"the request itself":                edit(func(a *response) { copy(a.elements, q.request.elements) }),
		"a proof of zeros":                  edit(func(a *response) { clear(a.proofs[:proofBytes]) }),
		"a proof that is not canonical": edit(func(a *response) { // the group's order
			copy(a.proofs, unhex(t, "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010"))
		}),
	} {
		if _, err := q.Finalize(t.Context(), answer); !refused(err, BadProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, at := range []int{len(responseMagic) + 4 + n*ElementBytes, len(good) - 1} {
		forged := bytes.Clone(good)
		forged[at] ^= 1
		if _, err := q.Finalize(t.Context(), forged); !refused(err, BadProof) {
			t.Errorf("a changed proof: %v", err)
		}
	}
	for name, answer := range map[string][]byte{"nothing": nil, "short": good[:len(good)-1], "longer": append(bytes.Clone(good), 0), "a request": q.Request().Bytes()} {
		if _, err := q.Finalize(t.Context(), answer); !refused(err, Malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := q.Finalize(t.Context(), good); err != nil {
		t.Fatal(err)
	}
}

func TestQueries(t *testing.T) {
	w := newWorld(t, 1, Plan{})
	many := make([][]byte, MaxIDs+1)
	for i := range many {
		many[i] = id(i)
	}
	for name, x := range map[string]struct {
		ids  [][]byte
		code contracts.Code
	}{
		"none": {nil, Malformed}, "an empty id": {[][]byte{{}}, Malformed}, "a long id": {[][]byte{make([]byte, MaxIDBytes+1)}, Malformed},
		"one twice": {ids(1, 2, 1), Twice}, "too many": {many, TooMany},
	} {
		if _, err := NewQuery(w.c, x.ids); !refused(err, x.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	q, err := NewQuery(w.c, ids(1, 2))
	ok(t, err)
	good := q.Request().Bytes()
	over := bytes.Clone(good[:len(requestMagic)+32])
	over = append(over, 0, 0, 0x20, 0x01)
	over = append(over, make([]byte, (MaxIDs+1)*ElementBytes)...)
	if _, err := ParseRequest(over); !refused(err, TooMany) {
		t.Errorf("more than the cap: %v", err)
	}
	for name, b := range map[string][]byte{"nothing": nil, "short": good[:len(good)-1], "longer": append(bytes.Clone(good), 0),
		"no elements": append(bytes.Clone(good[:len(requestMagic)+32]), 0, 0, 0, 0), "another magic": append([]byte("x"), good[1:]...)} {
		if _, err := ParseRequest(b); !refused(err, Malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, err := NewQuery(w.c, ids(1, 2))
	ok(t, err)
	if bytes.Equal(a.Request().Bytes(), good) {
		t.Error("the same ids give the same request")
	}
}

// TestEpochs refuses what belongs to another epoch or table.
func TestEpochs(t *testing.T) {
	w, next := newWorld(t, 3, Plan{}), newWorldOf(t, 2, 3, Plan{})
	q, err := NewQuery(w.c, ids(1))
	ok(t, err)
	if _, err := next.e.Evaluate(t.Context(), q.Request()); !refused(err, OtherTable) {
		t.Errorf("a request of the epoch before: %v", err)
	}
	if _, err := NewEvaluator(w.key, next.c); !refused(err, WrongKey) {
		t.Errorf("the key of the epoch before: %v", err)
	}
	if _, err := OpenTable(t.Context(), bytes.NewReader(w.bytes), int64(len(w.bytes)), next.c); !refused(err, TableMismatch) {
		t.Errorf("the table of the epoch before: %v", err)
	}
	if _, err := w.evaluated(t, ids(1)).Open(next.table.Head(), next.table); !refused(err, TableMismatch) {
		t.Errorf("opened with the table of another epoch: %v", err)
	}
	if _, err := ParseQuery(q.Bytes(), next.c); !refused(err, OtherTable) {
		t.Errorf("the query kept of another epoch: %v", err)
	}
	// What an id gives in one epoch finds nothing in the next.
	if _, found, err := next.table.Find(w.evaluated(t, ids(1)).derived[0].tag); found || err != nil {
		t.Errorf("%v %v", found, err)
	}
	same := *w.c
	same.Root = next.c.Root
	e, err := NewEvaluator(w.key, &same)
	ok(t, err)
	if _, err := e.Evaluate(t.Context(), q.Request()); !refused(err, OtherTable) {
		t.Errorf("another table of the same key: %v", err)
	}
}

func TestBuildRefusals(t *testing.T) {
	key, err := NewEpochKey(1, 0)
	ok(t, err)
	list := func(rows ...Row) iter.Seq2[Row, error] {
		return func(yield func(Row, error) bool) {
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
	for name, x := range map[string]struct {
		p    Plan
		rows iter.Seq2[Row, error]
		code contracts.Code
	}{
		"no rows":               {Plan{}, list(), TooFew},
		"fewer than the cohort": {Plan{Cohort: 5}, rowsOf(4), TooFew},
		"an id twice":           {Plan{}, list(Row{id(1), nil}, Row{id(2), nil}, Row{id(1), value(1)}), Twice},
		"an empty id":           {Plan{}, list(Row{nil, nil}), Malformed},
		"a row too long":        {Plan{RecordBytes: 64}, list(Row{id(1), make([]byte, 61)}), TooLong},
		"small records":         {Plan{RecordBytes: 31}, rowsOf(1), Malformed},
		"huge records":          {Plan{RecordBytes: MaxRecordBytes + 1}, rowsOf(1), Malformed},
		"negative cohort":       {Plan{Cohort: -1}, rowsOf(1), Malformed},
	} {
		if _, _, err := build(t, key, x.p, x.rows); !refused(err, x.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := build(t, key, Plan{RecordBytes: 64}, list(Row{id(1), make([]byte, 60)})); err != nil {
		t.Errorf("the longest row: %v", err)
	}
	broken := errors.New("the source broke")
	if _, _, err := build(t, key, Plan{}, func(yield func(Row, error) bool) { _ = yield(Row{id(1), nil}, nil) && yield(Row{}, broken) }); !errors.Is(err, broken) {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := BuildTable(ctx, key, Plan{RecordBytes: 64}, rowsOf(1), new(memory), io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	full := errors.New("the disk is full")
	if _, err := BuildTable(t.Context(), key, Plan{RecordBytes: 64}, rowsOf(1), &memory{fail: full}, io.Discard); !errors.Is(err, full) {
		t.Error(err)
	}
	if _, err := BuildTable(t.Context(), key, Plan{RecordBytes: 64}, rowsOf(1), new(memory), failing{full}); !errors.Is(err, full) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestBuild makes the same table whatever the memory, but for the salt, and reports progress.
func TestBuild(t *testing.T) {
	key, err := NewEpochKey(1, 0)
	ok(t, err)
	const n = 2*blockRows + 77
	var tags [][]byte
	for _, bytesOfMemory := range []int{1, 1 << 20} {
		m, last := new(memory), int64(0)
		var out bytes.Buffer
		c, err := BuildTable(t.Context(), key, Plan{Version: "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", Dataset: contracts.HashOf("x"), RecordBytes: 64, Cohort: 50,
			MemoryBytes: bytesOfMemory, Progress: func(rows int64) { last = max(last, rows) }}, rowsOf(n), m, &out)
		ok(t, err)
		if last != n || c.Rows != n {
			t.Errorf("progress to %d of %d rows", last, c.Rows)
		}
		if many := m.created > 1; many != (bytesOfMemory == 1) {
			t.Errorf("%d runs", m.created)
		}
		table, err := OpenTable(t.Context(), bytes.NewReader(out.Bytes()), int64(out.Len()), c)
		ok(t, err)
		if table.Size() != int64(out.Len()) || table.Head().Buckets() < 16 || table.Head().Buckets() > n/50 {
			t.Errorf("size %d, buckets %d", table.Size(), table.Head().Buckets())
		}
		all, err := table.records(0, n)
		ok(t, err)
		var of []byte
		for i := range n {
			of = append(of, all[i*table.Head().recordSize():][:tagBytes]...)
		}
		tags = append(tags, of)
	}
	if !bytes.Equal(tags[0], tags[1]) {
		t.Error("tags depend on the memory")
	}
	// The same rows under the same key are sealed otherwise each time: no key seals twice.
	a, b := newWorld(t, 1, Plan{}), new(world)
	b.c, b.bytes, err = build(t, a.key, Plan{}, rowsOf(1))
	ok(t, err)
	if bytes.Equal(a.bytes[len(a.bytes)-40:], b.bytes[len(b.bytes)-40:]) {
		t.Error("sealed alike twice")
	}
}

// TestTableTampered refuses a table that differs from the committed one in any byte, or in its length.
func TestTableTampered(t *testing.T) {
	w := newWorld(t, 5, Plan{Cohort: 2})
	open := func(b []byte) error {
		_, err := OpenTable(t.Context(), bytes.NewReader(b), int64(len(b)), w.c)
		return err
	}
	for at := range w.bytes {
		b := bytes.Clone(w.bytes)
		b[at] ^= 1 << rand.IntN(8)
		if err := open(b); !refused(err, TableMismatch) && !refused(err, Malformed) {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
	size := w.table.Head().recordSize()
	for name, b := range map[string][]byte{
		"nothing": nil, "cut within the head": w.bytes[:len(tableMagic)+40], "the head alone": w.bytes[:w.table.first],
		"a record less": w.bytes[:len(w.bytes)-size], "a byte less": w.bytes[:len(w.bytes)-1], "a byte more": append(bytes.Clone(w.bytes), 0),
		"a record more":         append(bytes.Clone(w.bytes), w.bytes[len(w.bytes)-size:]...),
		"records swapped":       slices.Concat(w.bytes[:w.table.first], w.bytes[len(w.bytes)-size:], w.bytes[int(w.table.first)+size:len(w.bytes)-size], w.bytes[w.table.first:int(w.table.first)+size]),
		"another's of the same": newWorld(t, 5, Plan{Cohort: 2}).bytes,
	} {
		if err := open(b); !refused(err, TableMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A failing disk is no refusal.
	broken := errors.New("the disk broke")
	if _, err := OpenTable(t.Context(), readerAt{broken}, int64(len(w.bytes)), w.c); !errors.Is(err, broken) || errors.As(err, new(*contracts.Refusal)) {
		t.Error(err)
	}
}

type readerAt struct{ err error }

func (r readerAt) ReadAt([]byte, int64) (int, error) { return 0, r.err }

// TestRecords refuses records that a committed table shouldn't hold: sealed for another tag, or padded with something.
func TestRecords(t *testing.T) {
	w := newWorld(t, 2, Plan{})
	ev := w.evaluated(t, ids(0, 1))
	base := w.table.Head().digest()
	d := &ev.derived[0]
	record := d.seal(nil, &base, 64, value(0))
	if v, err := d.open(&base, record); err != nil || !bytes.Equal(v, value(0)) {
		t.Fatal(v, err)
	}
	if _, err := ev.derived[1].open(&base, record); !refused(err, BadRecord) {
		t.Errorf("another id's: %v", err)
	}
	other := base
	other[0] ^= 1
	if _, err := d.open(&other, record); !refused(err, BadRecord) {
		t.Errorf("another table's: %v", err)
	}
	for name, plain := range map[string][]byte{"a length past the end": {0, 0, 0, 61}, "padding that isn't zero": {0, 0, 0, 1, 7, 7}, "a huge length": {255, 255, 255, 255}} {
		p := make([]byte, 64)
		copy(p, plain)
		sealed := d.aead(&base).Seal(bytes.Clone(d.tag[:]), fixedNonce[:], p, bound(&base, d.tag))
		if _, err := d.open(&base, sealed); !refused(err, BadRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBuckets refuses a bucket that is not whole, not of the committed table, or too small.
func TestBuckets(t *testing.T) {
	const n = 700 // above the level of kept nodes
	w := newWorld(t, n, Plan{Cohort: 20})
	h := w.table.Head()
	if h.Buckets() < 8 {
		t.Fatalf("%d buckets", h.Buckets())
	}
	seen := 0
	for i := range h.Buckets() {
		msg, err := w.table.Bucket(i)
		ok(t, err)
		b, err := OpenBucket(msg, w.c, i)
		ok(t, err)
		seen += b.Len()
	}
	if seen != n {
		t.Fatalf("the buckets hold %d records", seen)
	}
	if _, err := w.table.Bucket(h.Buckets()); !refused(err, Malformed) {
		t.Error(err)
	}
	if _, err := newWorld(t, 3, Plan{}).table.Bucket(0); !refused(err, Malformed) {
		t.Errorf("a bucket of a table without: %v", err)
	}
	msg, err := w.table.Bucket(3)
	ok(t, err)
	for at := 0; at < len(msg); at += 1 + rand.IntN(7) {
		b := bytes.Clone(msg)
		b[at] ^= 1 << rand.IntN(8)
		if _, err := OpenBucket(b, w.c, 3); !refused(err, TableMismatch) && !refused(err, Malformed) {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
	if _, err := OpenBucket(msg, w.c, 2); !refused(err, TableMismatch) {
		t.Errorf("another bucket: %v", err)
	}
	// Honest proofs of too little: without the neighbour, without the first or last record, of nothing.
	from, err := w.table.search(firstTag(3, h.PrefixBits))
	ok(t, err)
	to, err := w.table.search(firstTag(4, h.PrefixBits))
	ok(t, err)
	for name, r := range map[string][2]int64{"no neighbour before": {from, to + 1}, "no neighbour behind": {from - 1, to}, "the first left out": {from + 1, to + 1},
		"the last left out": {from - 1, to - 1}, "nothing": {from, from}, "a part": {from + 2, to - 2}, "two neighbours before": {from - 2, to + 1}} {
		msg, err := w.table.part(3, r[0], r[1])
		ok(t, err)
		if _, err := OpenBucket(msg, w.c, 3); !refused(err, TableMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A provider that lies about its buckets: the committed head says fewer records are a bucket than the cohort.
	lie := *h
	lie.PrefixBits = 10
	b := &Bucket{head: &lie, number: 3, from: 1, records: nil}
	if err := b.whole(); !refused(err, TableMismatch) {
		t.Errorf("an empty bucket: %v", err)
	}
	few, err := w.table.records(from, 2)
	ok(t, err)
	lie = *h
	lie.PrefixBits, lie.Rows = 0, 2
	if err := (&Bucket{head: &lie, records: few}).whole(); !refused(err, TableMismatch) {
		t.Errorf("a small bucket: %v", err)
	}
	// A head alone, and not.
	proof, err := w.table.HeadProof()
	ok(t, err)
	if got, err := OpenHead(proof, w.c); err != nil || got.Salt != h.Salt {
		t.Error(err)
	}
	if _, err := OpenHead(msg, w.c); !refused(err, Malformed) {
		t.Errorf("a bucket for a head: %v", err)
	}
	if _, err := OpenBucket(proof, w.c, 0); !refused(err, TableMismatch) {
		t.Errorf("a head for a bucket: %v", err)
	}
	// What was not fetched is no NOT_FOUND.
	ev := w.evaluated(t, ids(1, 2, 3, 4, 5, 6, 7, 8))
	at := ev.Buckets(h)[0]
	msg, err = w.table.Bucket(at)
	ok(t, err)
	one, err := OpenBucket(msg, w.c, at)
	ok(t, err)
	for name, r := range map[string]Records{"none": Buckets{}, "some": Buckets{at: one}, "one": one} {
		if _, err := ev.Open(h, r); err == nil {
			t.Errorf("%s of the buckets were enough", name)
		}
	}
}

func TestEpochKeys(t *testing.T) {
	k, err := NewEpochKey(7, 1_772_000_000_000)
	ok(t, err)
	got, err := ParseEpochKey(k.Bytes())
	ok(t, err)
	if got.Epoch != 7 || got.Created != k.Created || !bytes.Equal(got.Public(), k.Public()) {
		t.Errorf("%+v", got)
	}
	for _, x := range []struct {
		epoch   int64
		created contracts.Millis
	}{{0, 1}, {-1, 1}, {1, -1}} {
		if _, err := NewEpochKey(x.epoch, x.created); !refused(err, Malformed) {
			t.Errorf("%+v: %v", x, err)
		}
	}
	b := k.Bytes()
	zero := bytes.Clone(b)
	clear(zero[len(zero)-ScalarBytes:])
	high := bytes.Clone(b)
	high[len(high)-1] |= 0x80
	for name, b := range map[string][]byte{"zero": zero, "not reduced": high, "short": b[:len(b)-1], "longer": append(bytes.Clone(b), 0), "another magic": append([]byte("x"), b[1:]...)} {
		if _, err := ParseEpochKey(b); !refused(err, Malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCommitments goes to the ledger's form and back.
func TestCommitments(t *testing.T) {
	w := newWorld(t, 3, Plan{Cohort: 2})
	l := w.c.Commit("11111111111111111111111111111111", "")
	ok(t, l.Check())
	on := &contracts.LookupTable{Node: l.Node, Epoch: l.Epoch, Suite: l.Suite, PublicKey: l.PublicKey, Root: l.Root, Rows: l.Rows, Dataset: l.Dataset, Cohort: l.Cohort}
	got, err := ReadCommitment(w.c.Version, on)
	ok(t, err)
	if got.digest() != w.c.digest() {
		t.Errorf("%+v, want %+v", got, w.c)
	}
	for name, edit := range map[string]func(*contracts.LookupTable){"suite": func(t *contracts.LookupTable) { t.Suite = "P256-SHA256" }, "epoch": func(t *contracts.LookupTable) { t.Epoch = 0 },
		"rows": func(t *contracts.LookupTable) { t.Rows = 0 }, "cohort": func(t *contracts.LookupTable) { t.Cohort = 4 }, "key": func(t *contracts.LookupTable) { t.PublicKey = make([]byte, 32) }} {
		bad := *on
		edit(&bad)
		if _, err := ReadCommitment(w.c.Version, &bad); !refused(err, Malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
