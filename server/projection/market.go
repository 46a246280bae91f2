package projection

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
)

// Market is what proj holds of the market itself: a State of genesis, rulebook, clock and calendars, and nothing else.
type Market struct {
	Venue contracts.ID
	Rules *contracts.Rulebook
	Last  contracts.Millis // time of the last projected entry

	records map[string][]byte
}

// Get implements contracts.State.
func (m *Market) Get(key string) ([]byte, error) { return m.records[key], nil }

// Now is the time that the next entry would get, by a wall clock that says wall: on a scripted ledger, the scripted
// time. Commands made by the market's own jobs begin to be valid then.
func (m *Market) Now(wall contracts.Millis) (contracts.Millis, error) {
	return contracts.NextTime(m, m.Last, wall)
}

// ReadMarket reads it. Before the genesis is projected, Rules is nil.
func ReadMarket(ctx context.Context, q sqlx.QueryerContext) (*Market, error) {
	m := &Market{records: map[string][]byte{}}
	rows := []struct {
		ID     string `db:"id"`
		Record string `db:"record"`
	}{}
	if err := sqlx.SelectContext(ctx, q, &rows, `SELECT id, record FROM proj.market`); err != nil {
		return nil, fmt.Errorf("couldn't read the market's records: %w", err)
	}
	for _, r := range rows {
		m.records[r.ID] = []byte(r.Record)
	}
	const last = `SELECT coalesce((SELECT time FROM proj.entries ORDER BY position DESC LIMIT 1), 0)`
	if err := sqlx.GetContext(ctx, q, &m.Last, last); err != nil {
		return nil, fmt.Errorf("couldn't read the last entry's time: %w", err)
	}
	var err error
	if m.Venue, err = contracts.VenueOf(m); err != nil {
		return nil, fmt.Errorf("couldn't read the genesis: %w", err)
	}
	if m.Rules, err = contracts.RulesOf(m); err != nil {
		return nil, fmt.Errorf("couldn't read the rulebook: %w", err)
	}
	return m, nil
}
