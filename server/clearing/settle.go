package clearing

import (
	"context"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// reported is the next period of an agreement to be settled: closed, with its final report.
type reported struct {
	trade
	Number int64  `db:"number"`
	Period string `db:"period"`
}

// settle settles reported periods, one of an agreement at a time, when the buyer has accepted or has let the time for it
// pass, and no dispute is open.
func (c *Clerk) settle(ctx context.Context, m *projection.Market, now contracts.Millis) error {
	var rs []reported
	err := c.DB.SelectContext(ctx, &rs, `
SELECT a.id, p.number, p.record AS period, a.record AS agreement, coalesce(e.record, '') AS escrow, coalesce(s.record, '') AS settled,
       greatest(a.position, p.position, coalesce(e.position, 0), coalesce(s.position, 0), coalesce(d.position, 0)) AS newest
  FROM proj.periods p JOIN proj.agreements a ON a.id = p.agreement
  LEFT JOIN proj.settled s ON s.id = a.id LEFT JOIN proj.escrows e ON e.id = a.id LEFT JOIN proj.disputes d ON d.id = a.id
 WHERE p.reported AND p.number = coalesce(s.period, 0) + 1 AND coalesce(d.decided, 1) <> 0
 ORDER BY a.id`)
	if err != nil {
		return fmt.Errorf("couldn't read reported periods: %w", err)
	}
	var errs []error
	for _, r := range rs {
		if c.waits("settlement.settle", r.subject, now) {
			continue
		}
		if err := c.settleOne(ctx, m, now, r); err != nil && !errors.Is(err, errErased) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Clerk) settleOne(ctx context.Context, m *projection.Market, now contracts.Millis, r reported) error {
	rec, err := r.records()
	if err != nil {
		return err
	}
	var period *contracts.ClosedPeriod
	if err := read(r.Period, &period); err != nil {
		return fmt.Errorf("couldn't decode period %d of agreement %s: %w", r.Number, r.ID, err)
	}
	p := &purse{from: c.Openings}
	terms, err := open[contracts.Terms](ctx, p, period.Terms)
	if err != nil {
		return err
	}
	if rec.agreement.Accepted == 0 && now < period.Report.Time.Add(terms.AcceptanceDays*86400) {
		return nil
	}
	if _, err := open[contracts.Totals](ctx, p, period.Report.Totals); err != nil {
		return err
	}
	if rec.settled != nil {
		if _, err := open[contracts.Totals](ctx, p, rec.settled.Totals); err != nil {
			return err
		}
	}
	body := contracts.SettlementSettle{Agreement: r.ID, Period: r.Number}
	free := *p
	if rec.agreement.Billing == contracts.Prepaid && rec.escrow != nil {
		if _, err := open[contracts.EscrowValue](ctx, p, rec.escrow.Balance); err != nil {
			return err
		}
	}
	code, err := c.do(ctx, m, now, r.subject, "settlement.settle", body, p)
	if code == "opening.unneeded" {
		// Nothing was used and nothing is due: the escrow isn't touched, and its opening must not come along.
		_, err = c.do(ctx, m, now, r.subject, "settlement.settle", body, &free)
	}
	return err
}
