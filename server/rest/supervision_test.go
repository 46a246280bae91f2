package rest

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/compliance"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
	"github.com/bund-exchange/bund/server/trading"
)

// A regulator holds the chain of reads against the ledger; asking for it is a read like any other.
func TestReadsChain(t *testing.T) {
	m := begun(t)
	reads := &compliance.Reads{DB: m.DB, Now: time.Now}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	anchorer := &compliance.Anchorer{Reads: reads, Desk: &trading.Desk{DB: m.DB, Ledger: m.Ledger, Now: time.Now, Log: quiet},
		Ledger: projectiontest.LedgerID, Key: m.Venue.Machine, Now: time.Now, Log: quiet}
	s := serve(t, m, func(c *Config) { c.Domain = Domain{DB: m.DB, Reads: reads, Now: time.Now} })
	regulator := s.machine(s.Regulator.ID)
	const path = "/supervision/reads?reason=inspection"
	var first, second, third api.ReadsChain
	regulator.ask("GET", path, nil).into(t, 200, &first)
	if first.Count != 1 || !first.Whole || first.Anchor != nil {
		t.Errorf("got %+v", first)
	}
	position := int64(m.Height())
	m.Must(anchorer.RunOnce(t.Context()))
	m.Project()
	regulator.ask("GET", path, nil).into(t, 200, &second)
	if second.Count != 2 || !second.Whole || second.Anchor == nil || second.Anchor.Count != 1 || string(second.Anchor.Head) != first.Head || second.Anchor.Position != position {
		t.Errorf("got %+v after %+v", second, first)
	}
	if _, err := m.DB.ExecContext(t.Context(), `DELETE FROM app.reads`); err != nil {
		t.Fatal(err)
	}
	regulator.ask("GET", path, nil).into(t, 200, &third)
	if third.Whole || third.Detail == nil || third.Anchor == nil {
		t.Errorf("a chain written anew: %+v", third)
	}
	for _, id := range []*visitor{s.machine(s.Venue.ID), s.machine(s.Buyer.ID)} {
		id.ask("GET", path, nil).problem(t, 403, "forbidden")
	}
	s.visitor().ask("GET", path, nil).problem(t, 401, "session.required")
	regulator.ask("GET", "/supervision/reads", nil).problem(t, 400, "invalid_request")
}
