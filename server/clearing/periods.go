package clearing

import (
	"context"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// A period belongs to the month in which it is closed, so the clerk closes in the last minutes of a month, and what it
// missed then as soon as it can.
const closingSec = 10 * 60

// closeFrom is when the closing of the month begins that holds t, or, before that, when that of the month before began.
func closeFrom(t contracts.Millis) contracts.Millis {
	p := contracts.PeriodOf(t)
	if from := p.End().Add(-closingSec); t >= from {
		return from
	}
	return p.Start().Add(-closingSec)
}

// closeDue reports whether a period is to be closed: of an agreement that has ended, when its last one was closed
// before the end; of a running one, when it was there at the last closing and nothing was closed since.
func closeDue(a *contracts.Agreement, began, closed, now contracts.Millis) bool {
	if a.State != contracts.AgreementActive {
		return a.Periods == 0 || closed < a.To
	}
	from := closeFrom(now)
	return began < from && closed < from
}

// openPeriod is an agreement whose open period may have to be closed.
type openPeriod struct {
	subject
	Agreement   string `db:"agreement"`
	Negotiation string `db:"negotiation"`
	Last        string `db:"last"` // the last closed period, "" before the first
}

// closePeriods closes what is due. A period whose predecessor has no final report yet waits for it. Between two months'
// ends only agreements that have changed are looked at.
func (c *Clerk) closePeriods(ctx context.Context, m *projection.Market, now contracts.Millis) error {
	from := closeFrom(now)
	c.mu.Lock()
	since := int64(-1)
	if c.closing.from == from {
		since = c.closing.since
	}
	c.mu.Unlock()
	next, err := c.projected(ctx)
	if err != nil {
		return err
	}
	var ps []openPeriod
	err = c.DB.SelectContext(ctx, &ps, `
SELECT a.id, a.record AS agreement, n.record AS negotiation, coalesce(p.record, '') AS last, greatest(a.position, coalesce(p.position, 0)) AS newest
  FROM proj.agreements a JOIN proj.negotiations n ON n.id = a.record::json->>'negotiation'
  LEFT JOIN LATERAL (SELECT record, position FROM proj.periods p WHERE p.agreement = a.id ORDER BY number DESC LIMIT 1) p ON true
 WHERE greatest(a.position, coalesce(p.position, 0)) > $1 ORDER BY a.id`, since)
	if err != nil {
		return fmt.Errorf("couldn't read periods: %w", err)
	}
	again := false // something is left that time alone may make due
	var errs []error
	for _, p := range ps {
		later, err := c.closeOne(ctx, m, now, p)
		if err != nil {
			errs = append(errs, err)
		}
		again = again || later || err != nil
	}
	if !again {
		c.mu.Lock()
		c.closing.from, c.closing.since = from, int64(next)-1
		c.mu.Unlock()
	}
	return errors.Join(errs...)
}

// closeOne reports whether the period must be looked at again although nothing changes.
func (c *Clerk) closeOne(ctx context.Context, m *projection.Market, now contracts.Millis, p openPeriod) (again bool, err error) {
	var a *contracts.Agreement
	var n *contracts.Negotiation
	var last *contracts.ClosedPeriod
	if err := errors.Join(read(p.Agreement, &a), read(p.Negotiation, &n), read(p.Last, &last)); err != nil {
		return false, fmt.Errorf("couldn't decode the records of agreement %s: %w", p.ID, err)
	}
	var closed contracts.Millis
	if last != nil {
		closed = last.Closed
	}
	if !closeDue(a, max(a.From, n.Since), closed, now) || last != nil && last.Report == nil {
		return false, nil
	}
	if c.waits("period.close", p.subject, now) {
		return true, nil
	}
	code, err := c.do(ctx, m, now, p.subject, "period.close", contracts.PeriodClose{Agreement: p.ID, Number: a.Periods + 1}, &purse{})
	return code != "", err
}
