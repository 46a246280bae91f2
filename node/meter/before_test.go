package meter

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
)

// What a call makes durable beside its leaf is so before the leaf is written. If it can't, there is no leaf, what was
// reserved is given back, the writer goes on, and the same request may come again.
func TestBeforeTheLeaf(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	w := newWorld(t, func(w *world) {
		w.pcfg = func(c *ProviderConfig) {
			c.faults.write = func(f *os.File, b []byte, off int64) error {
				note("write")
				_, err := f.WriteAt(b, off)
				return err
			}
		}
	})
	errCount := errors.New("no room for the count")
	var fails error
	terms := w.terms
	terms.Agreement = contracts.ID("0102030405060708090a0b0c0d0e0f10")
	terms.WindowCalls = 2 // a reservation that was not given back would show
	l, err := w.p.Open(t.Context(), Fixed(terms), Backend{Admit: w.admit, Execute: func(ctx context.Context, c *Call) (Result, error) {
		r, err := w.execute(ctx, c)
		r.Before = func() error { note("before"); return fails }
		return r, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	serve := func(id RequestID, want ...string) error {
		t.Helper()
		order = nil
		a, err := l.Serve(t.Context(), &Call{ID: id, Epoch: 1, Body: []byte("1")})
		if (a == nil) != (err != nil) || !slices.Equal(order, want) {
			t.Fatalf("%v after %v, want %v", err, order, want)
		}
		return err
	}
	first, second := w.requestID("1"), w.requestID("1")
	if err := serve(first, "before", "write"); err != nil {
		t.Fatal(err)
	}
	if err := serve(first); err != nil { // the answer again, counted once
		t.Fatal(err)
	}
	fails = errCount
	for range 3 {
		var r *Refusal
		if err := serve(second, "before"); !errors.Is(err, errCount) || errors.As(err, &r) {
			t.Fatalf("got %v", err)
		}
	}
	if st := l.State(); st.Size != 1 || st.Totals.Calls != 1 {
		t.Fatalf("a call without its count has a leaf: %+v", st)
	}
	fails = nil
	if err := serve(second, "before", "write"); err != nil {
		t.Fatal(err)
	}
	if st := l.State(); st.Size != 2 || st.Totals.Calls != 2 || w.p.Err() != nil {
		t.Fatalf("%+v, %v", st, w.p.Err())
	}
}
