package clearing

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// pageOf is how many agreements are read at once.
const pageOf = 200

// agenda says which agreements to look at: those that an entry has touched, and those whose time has come. It lives in
// memory. A clerk that starts looks at every agreement once.
type agenda struct {
	next  uint64                            // entries seen; 0: none
	rules int64                             // version of the rulebook then
	times map[contracts.ID]contracts.Millis // when to look although nothing has changed
}

// knows reports whether the agenda covers all agreements: nothing but entries from a.next on and time can make
// something due. It doesn't when the rulebook has changed, or when the projection was rebuilt and is behind.
func (a *agenda) knows(next uint64, rules int64) bool {
	return a.next > 0 && a.next <= next && a.rules == rules
}

func (a *agenda) seen(next uint64, rules int64) { a.next, a.rules = next, rules }

// put sets when an agreement is looked at again; 0 for never.
func (a *agenda) put(id contracts.ID, at contracts.Millis) {
	if at == 0 {
		delete(a.times, id)
		return
	}
	if a.times == nil {
		a.times = map[contracts.ID]contracts.Millis{}
	}
	a.times[id] = at
}

func (a *agenda) soon(ids []contracts.ID) {
	for _, id := range ids {
		a.put(id, 1)
	}
}

// due gives the agreements that entries before next have touched since the last look, and those whose time has come.
func (a *agenda) due(ctx context.Context, db *sqlx.DB, next uint64, now contracts.Millis) ([]contracts.ID, error) {
	ids := map[contracts.ID]bool{}
	for id, at := range a.times {
		if at <= now {
			ids[id] = true
		}
	}
	if a.next < next {
		var touched []contracts.ID
		err := db.SelectContext(ctx, &touched, `
SELECT DISTINCT a.id FROM proj.entries e CROSS JOIN LATERAL unnest(e.objects) AS o (id) JOIN proj.agreements a ON a.id = o.id
 WHERE e.position >= $1 AND e.position < $2 AND NOT e.public`, int64(a.next), int64(next))
		if err != nil {
			return nil, fmt.Errorf("couldn't read what has changed: %w", err)
		}
		for _, id := range touched {
			ids[id] = true
		}
	}
	return slices.Sorted(maps.Keys(ids)), nil
}

// agreementsAfter gives a page of all agreements.
func agreementsAfter(ctx context.Context, db *sqlx.DB, after contracts.ID) (ids []contracts.ID, err error) {
	if err := db.SelectContext(ctx, &ids, `SELECT id FROM proj.agreements WHERE id > $1 ORDER BY id LIMIT $2`, string(after), pageOf); err != nil {
		return nil, fmt.Errorf("couldn't read agreements: %w", err)
	}
	return ids, nil
}

// sooner is the earlier of two times of which 0 is never.
func sooner(a, b contracts.Millis) contracts.Millis {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// records are what the ledger holds of an agreement, decoded. Those that aren't there are nil.
type records struct {
	id        contracts.ID
	agreement *contracts.Agreement
	grant     *contracts.Grant
	escrow    *contracts.Escrow
	debt      *contracts.Debt
	usage     *contracts.Usage
	settled   *contracts.Settled
	dispute   *contracts.Dispute
	last      *contracts.ClosedPeriod // the last closed one
	unsettled *contracts.ClosedPeriod // the one to be settled next
}

// records reads agreements' records.
func (c *Clerk) records(ctx context.Context, ids []contracts.ID) ([]*records, error) {
	var rows []struct {
		ID        contracts.ID `db:"id"`
		Agreement string       `db:"agreement"`
		Grant     string       `db:"grant_record"`
		Escrow    string       `db:"escrow"`
		Debt      string       `db:"debt"`
		Usage     string       `db:"usage"`
		Settled   string       `db:"settled"`
		Dispute   string       `db:"dispute"`
		Last      string       `db:"last"`
		Unsettled string       `db:"unsettled"`
	}
	err := c.DB.SelectContext(ctx, &rows, `
SELECT a.id, a.record AS agreement, coalesce(g.record, '') AS grant_record, coalesce(e.record, '') AS escrow, coalesce(b.record, '') AS debt, coalesce(u.record, '') AS usage,
       coalesce(s.record, '') AS settled, coalesce(d.record, '') AS dispute, coalesce(l.record, '') AS last, coalesce(n.record, '') AS unsettled
  FROM proj.agreements a
  LEFT JOIN proj.grants g ON g.id = a.id LEFT JOIN proj.escrows e ON e.id = a.id LEFT JOIN proj.debts b ON b.id = a.id LEFT JOIN proj.usages u ON u.id = a.id
  LEFT JOIN proj.settled s ON s.id = a.id LEFT JOIN proj.disputes d ON d.id = a.id
  LEFT JOIN LATERAL (SELECT record FROM proj.periods WHERE agreement = a.id ORDER BY number DESC LIMIT 1) l ON true
  LEFT JOIN proj.periods n ON n.agreement = a.id AND n.number = coalesce(s.period, 0) + 1
 WHERE a.id = ANY ($1::text[]) ORDER BY a.id`, projection.Array(ids))
	if err != nil {
		return nil, fmt.Errorf("couldn't read agreements: %w", err)
	}
	out := make([]*records, len(rows))
	for i, row := range rows {
		r := &records{id: row.ID}
		for _, err := range []error{read(row.Agreement, &r.agreement), read(row.Grant, &r.grant), read(row.Escrow, &r.escrow), read(row.Debt, &r.debt), read(row.Usage, &r.usage),
			read(row.Settled, &r.settled), read(row.Dispute, &r.dispute), read(row.Last, &r.last), read(row.Unsettled, &r.unsettled)} {
			if err != nil {
				return nil, fmt.Errorf("couldn't decode the records of agreement %s: %w", row.ID, err)
			}
		}
		out[i] = r
	}
	return out, nil
}

func read[T any](record string, to **T) (err error) {
	if record != "" {
		*to, err = contracts.Read[T]([]byte(record))
	}
	return err
}
