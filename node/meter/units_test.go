package meter

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// ask asks for several units with one call.
func (w *world) ask(units int64, nonce Nonce) (*Answer, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 200*time.Millisecond)
	defer cancel()
	return w.c.CallFor(ctx, nonce, fmt.Appendf(nil, `"%d companies"`, units), units)
}

// A call after a hundred companies is one leaf of a hundred units, for a consumer that forgot what it asked, too.
func TestUnits(t *testing.T) {
	w := newWorld(t)
	w.must(3, "one company")
	if _, err := w.ask(100, NewNonce(time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ask(7, NewNonce(time.Now())); err != nil {
		t.Fatal(err)
	}
	w.restartConsumer()
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	want := contracts.Totals{Calls: 5, Units: 110, Micro: 110 * priceMicro}
	if p, c := w.l.State(), w.c.State(); p.Totals != want || c.Totals != want || c.Acked != 5 || len(w.c.Objections()) != 0 {
		t.Fatalf("provider %+v, consumer %+v, objections %v", p, c, w.c.Objections())
	}
}

// The same nonce with other units is another request.
func TestUnitsOfOneNonce(t *testing.T) {
	w := newWorld(t)
	n := NewNonce(time.Now())
	if _, err := w.ask(2, n); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ask(2, n); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if _, err := w.ask(3, n); !refused(err, IDReused) {
		t.Errorf("got %v", err)
	}
	if got := w.l.State().Totals.Units; got != 2 {
		t.Errorf("%d units are billed, want 2", got)
	}
}

// Quota, window and the bound of one call hold for units, before anything is executed.
func TestUnitsAreReserved(t *testing.T) {
	for _, x := range []struct {
		name  string
		terms func(*Terms)
		units int64
		want  contracts.Code
	}{
		{"quota", func(x *Terms) { x.QuotaCalls = 12 }, 10, QuotaExceeded},
		{"escrow", func(x *Terms) { x.EscrowFen = 3 }, 10, EscrowExhausted},
		{"window for ever too small", func(x *Terms) { x.WindowFen = 1 }, 4, TooManyUnits},
		{"overflow", func(x *Terms) { x.PriceMicro, x.WindowFen = 1<<52, 1<<43 }, MaxUnits, TooManyUnits},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, func(w *world) { x.terms(&w.terms) })
			if x.name != "overflow" {
				w.must(3, "one company")
			}
			ran := w.execs.Load()
			if _, err := w.ask(x.units, NewNonce(time.Now())); !refused(err, x.want) {
				t.Errorf("got %v, want %s", err, x.want)
			}
			if w.execs.Load() != ran {
				t.Error("it was executed")
			}
		})
	}
	w := newWorld(t)
	for _, units := range []int64{0, -1, MaxUnits + 1} {
		if _, err := w.ask(units, NewNonce(time.Now())); err == nil || errors.As(err, new(*Refusal)) {
			t.Errorf("%d units: got %v", units, err)
		}
	}
}
