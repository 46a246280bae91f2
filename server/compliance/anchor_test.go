package compliance_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/compliance"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
	"github.com/bund-exchange/bund/server/trading"
)

// registry is a market that anchors what its supervisors read.
type registry struct {
	*projectiontest.Market
	t        *testing.T
	reads    *compliance.Reads
	anchorer *compliance.Anchorer
}

func openRegistry(t *testing.T) *registry {
	t.Helper()
	m := projectiontest.Begin(t, func(db *sqlx.DB) ledger.Openings { return trading.Openings{DB: db} })
	m.Project()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	r := &registry{Market: m, t: t, reads: &compliance.Reads{DB: m.DB, Now: time.Now}}
	r.anchorer = &compliance.Anchorer{Reads: r.reads, Desk: &trading.Desk{DB: m.DB, Ledger: m.Ledger, Now: time.Now, Log: quiet},
		Ledger: projectiontest.LedgerID, Key: m.Venue.Machine, Now: time.Now, Log: quiet}
	return r
}

// looks lets the anchorer look twice, and checks how many rows the ledger then says there are.
func (r *registry) looks(want int64) {
	r.t.Helper()
	for range 2 {
		r.Must(r.anchorer.RunOnce(r.t.Context()))
		r.Project()
	}
	if got := r.anchored(); got.Count != want {
		r.t.Errorf("%d reads are anchored, want %d", got.Count, want)
	}
}

func (r *registry) anchored() contracts.AnchoredReads {
	r.t.Helper()
	b, err := r.Get(contracts.KeyReads)
	r.Must(err)
	if b == nil {
		return contracts.AnchoredReads{}
	}
	a, err := contracts.Read[contracts.AnchoredReads](b)
	r.Must(err)
	return *a
}

func (r *registry) chain() *compliance.Chain {
	r.t.Helper()
	c, err := r.reads.Chain(r.t.Context())
	r.Must(err)
	return c
}

func (r *registry) later(sec int64) {
	r.t.Helper()
	r.Must(r.Advance(sec))
	r.Project()
}

func TestReadsAreAnchoredHourly(t *testing.T) {
	r := openRegistry(t)
	height := r.Height()
	r.looks(0) // nothing was read
	if c := r.chain(); c.Count != 0 || c.Anchor != nil || c.Broken != "" {
		t.Errorf("an empty chain: %+v", c)
	}
	record(t, r.reads, 3)
	r.looks(3)
	if r.Height() != height+1 {
		t.Errorf("%d entries for one anchor", r.Height()-height)
	}
	c := r.chain()
	if c.Count != 3 || c.Broken != "" || c.Anchor == nil || c.Anchor.Position != height || c.Anchor.Head != c.Head || r.anchored() != c.Anchor.AnchoredReads {
		t.Errorf("the chain is %+v, its anchor %+v", c, c.Anchor)
	}
	record(t, r.reads, 2)
	r.later(3599)
	r.looks(3)
	r.later(1)
	r.looks(5)
	height = r.Height()
	r.later(7200)
	r.looks(5) // nothing new
	if r.Height() != height+1 {
		t.Error("something was anchored again")
	}
	if c := r.chain(); c.Count != 5 || c.Anchor.Count != 5 || c.Anchor.Position != height-1 || c.Broken != "" {
		t.Errorf("the chain is %+v, its anchor %+v", c, c.Anchor)
	}
}

// An anchor that is on the ledger and not projected yet is not made twice, and that it was refused is no failure.
func TestAnchoredBeforeItIsProjected(t *testing.T) {
	r := openRegistry(t)
	record(t, r.reads, 2)
	height := r.Height()
	for range 3 {
		r.Must(r.anchorer.RunOnce(t.Context()))
	}
	if r.Height() != height+1 {
		t.Errorf("%d entries", r.Height()-height)
	}
}

// losing is a desk that hears no answer to what it has submitted.
type losing struct{ compliance.Desk }

func (d losing) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	_, err := d.Desk.Submit(ctx, sub)
	return nil, errors.Join(err, ledger.ErrOutcomeUnknown)
}

func TestAnchorOfUnknownOutcome(t *testing.T) {
	r := openRegistry(t)
	record(t, r.reads, 2)
	desk := r.anchorer.Desk
	r.anchorer.Desk = losing{desk}
	if err := r.anchorer.RunOnce(t.Context()); !errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	r.anchorer.Desk = desk
	r.looks(2)
}

// A history that was written anew is whole in itself: the anchor tells, and it is not anchored in its turn.
func TestReadsWrittenAnew(t *testing.T) {
	for _, c := range []struct {
		what, sql string
		anew      int
	}{
		{"shorter", `DELETE FROM app.reads WHERE seq > 2`, 0},
		{"nothing left", `TRUNCATE app.reads`, 0},
		{"as long, with other rows", `TRUNCATE app.reads`, 3},
		{"longer, with other rows", `TRUNCATE app.reads`, 5},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := openRegistry(t)
			record(t, r.reads, 3)
			r.looks(3)
			_, err := r.DB.ExecContext(t.Context(), c.sql)
			r.Must(err)
			for range c.anew {
				r.Must(r.reads.Record(t.Context(), r.Regulator.ID, "", "entries", "another history"))
			}
			r.later(3600)
			// Every row follows from the one before: only the anchor tells.
			if got := r.chain(); !strings.Contains(got.Broken, "anchored") || got.Anchor.Count != 3 {
				t.Errorf("the chain passes: %+v", got)
			}
			height := r.Height()
			if err := r.anchorer.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "anchored") {
				t.Errorf("got %v", err)
			}
			if r.Height() != height {
				t.Error("another history was anchored")
			}
		})
	}
	t.Run("broken since", func(t *testing.T) {
		r := openRegistry(t)
		record(t, r.reads, 3)
		r.looks(3)
		record(t, r.reads, 2)
		_, err := r.DB.ExecContext(t.Context(), `UPDATE app.reads SET reason = 'another' WHERE seq = 4`)
		r.Must(err)
		r.later(3600)
		if err := r.anchorer.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "broken at 4") {
			t.Errorf("got %v", err)
		}
		if got := r.chain(); !strings.Contains(got.Broken, "broken at 4") || got.Count != 3 {
			t.Errorf("the chain is %+v", got)
		}
	})
}

// Run anchors without being asked, and ends with its context.
func TestAnchorerRuns(t *testing.T) {
	r := openRegistry(t)
	record(t, r.reads, 1)
	height := r.Height()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	r.anchorer.Every = time.Millisecond
	go func() { done <- r.anchorer.Run(ctx) }()
	r.Must(r.Ledger.Wait(t.Context(), height))
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	es, err := r.Ledger.Entries(t.Context(), height, 10)
	r.Must(err)
	if len(es) != 1 || !slices.ContainsFunc(es[0].Events, func(e contracts.Event) bool { return e.Name == "reads.anchored" }) {
		t.Errorf("%d entries", len(es))
	}
}
