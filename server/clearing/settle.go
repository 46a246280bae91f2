package clearing

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
)

// settle settles the next reported period, when the buyer has accepted it or has let the time for it pass, and no dispute
// is open.
func settle(ctx context.Context, w *work, r *records, p *purse) (due command, again contracts.Millis, err error) {
	n := r.unsettled
	if n == nil || n.Report == nil || r.dispute != nil && r.dispute.Decided == 0 {
		return due, 0, nil
	}
	terms, err := open[contracts.Terms](ctx, p, n.Terms)
	if err != nil {
		return due, 0, err
	}
	if silent := n.Report.Time.Add(terms.AcceptanceDays * 86400); n.Acceptance == nil && w.now < silent {
		return due, silent, nil
	}
	reported, err := open[contracts.Totals](ctx, p, n.Report.Totals)
	if err != nil {
		return due, 0, err
	}
	before := &contracts.Totals{}
	if r.settled != nil {
		if before, err = open[contracts.Totals](ctx, p, r.settled.Totals); err != nil {
			return due, 0, err
		}
	}
	// Where nothing is due neither escrow nor debt is touched, and their openings must not come along.
	owed := inFen(reported.Micro - before.Micro)
	if n.Flat {
		owed += terms.FlatFee
	}
	if owed > 0 {
		touched := debt
		if r.agreement.Billing == contracts.Prepaid {
			touched = balance
		}
		if _, err := touched(ctx, p, r); err != nil {
			return due, 0, err
		}
	}
	return command{"settlement.settle", contracts.SettlementSettle{Agreement: r.id, Period: n.Number}}, 0, nil
}
