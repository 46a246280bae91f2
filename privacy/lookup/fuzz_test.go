package lookup

import (
	"bytes"
	"testing"

	"github.com/bund-exchange/bund/contracts/canon"
)

func FuzzParseRequest(f *testing.F) {
	w := newWorld(f, 2, Plan{})
	q, err := NewQuery(w.c, ids(0, 1))
	ok(f, err)
	f.Add(q.Request().Bytes())
	f.Add([]byte(requestMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRequest(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.Bytes(), b) || r.Len() < 1 || r.Len() > MaxIDs {
			t.Fatalf("%x decodes to another request", b)
		}
		for i := range r.Len() {
			e, err := DecodeElement(r.Element(i))
			if err == nil && (e.IsIdentity() || !bytes.Equal(appendElement(nil, e), r.Element(i))) {
				t.Fatalf("%x is no element's one form", r.Element(i))
			}
		}
	})
}

func FuzzFinalize(f *testing.F) {
	w := newWorld(f, 2, Plan{})
	q, err := NewQuery(w.c, ids(0, 1))
	ok(f, err)
	answer, err := w.e.Evaluate(f.Context(), q.Request())
	ok(f, err)
	f.Add(answer)
	f.Add(answer[:len(answer)-proofBytes])
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := q.Finalize(t.Context(), b)
		if err != nil {
			return
		}
		as, err := e.Open(w.table.Head(), w.table)
		if err != nil || !bytes.Equal(as[0].Value, value(0)) || !bytes.Equal(as[1].Value, value(1)) {
			t.Fatalf("an accepted answer opens %v %v", as, err)
		}
	})
}

func FuzzParseQuery(f *testing.F) {
	w := newWorld(f, 2, Plan{})
	q, err := NewQuery(w.c, ids(0, 1))
	ok(f, err)
	f.Add(q.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := ParseQuery(b, w.c); err == nil && !bytes.Equal(q.Bytes(), b) {
			t.Fatalf("%x decodes to another query", b)
		}
	})
}

func FuzzParseEpochKey(f *testing.F) {
	k, err := NewEpochKey(3, 5)
	ok(f, err)
	f.Add(k.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseEpochKey(b); err == nil && !bytes.Equal(k.Bytes(), b) {
			t.Fatalf("%x decodes to another key", b)
		}
	})
}

func FuzzOpenBucket(f *testing.F) {
	w := newWorld(f, 40, Plan{Cohort: 4})
	honest := map[uint32][]byte{}
	for i := range w.table.Head().Buckets() {
		msg, err := w.table.Bucket(i)
		ok(f, err)
		honest[i] = msg
		f.Add(msg, i)
	}
	proof, err := w.table.HeadProof()
	ok(f, err)
	f.Add(proof, uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, number uint32) {
		if _, err := OpenBucket(b, w.c, number); err == nil && !bytes.Equal(b, honest[number]) {
			t.Fatalf("bucket %d has a second form", number)
		}
		if _, err := OpenHead(b, w.c); err == nil && !bytes.Equal(b, proof) {
			t.Fatal("the head has a second proof")
		}
	})
}

func FuzzOpenTable(f *testing.F) {
	w := newWorld(f, 5, Plan{})
	f.Add(w.bytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := OpenTable(t.Context(), bytes.NewReader(b), int64(len(b)), w.c); err == nil && !bytes.Equal(b, w.bytes) {
			t.Fatal("a second table has the committed root")
		}
	})
}

func FuzzParseHead(f *testing.F) {
	w := newWorld(f, 5, Plan{Cohort: 2})
	f.Add(w.table.headBytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHead(b); err == nil && !bytes.Equal(canon.Marshal(*h), b) {
			t.Fatalf("%q decodes to another head", b)
		}
	})
}
