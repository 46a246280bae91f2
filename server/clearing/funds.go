package clearing

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
)

// funds watches what has accrued against escrow or credit line: it warns at the rulebook's percentages, holds a grant
// whose grace is used up, and releases one that was topped up. The node that serves the grant stops by itself at escrow
// plus grace; the hold says so to everybody.
func funds(ctx context.Context, w *work, r *records, p *purse) (due command, again contracts.Millis, err error) {
	if r.grant == nil || r.grant.State != contracts.GrantActive && r.grant.State != contracts.GrantOnHold || r.usage == nil {
		return due, 0, nil
	}
	s, err := standing(ctx, p, r)
	if err != nil {
		return due, 0, err
	}
	due, again = s.next(r.id, r.grant, w.market.Rules.WarnPercents, w.now)
	return due, again, nil
}

// account is how an agreement stands.
type account struct {
	accrued contracts.Fen // reported and not settled, settled and not collected
	limit   contracts.Fen // what it counts against
	terms   *contracts.Terms
}

// standing opens what the rules open for the same question.
func standing(ctx context.Context, p *purse, r *records) (account, error) {
	terms, err := open[contracts.Terms](ctx, p, r.agreement.Terms)
	if err != nil {
		return account{}, err
	}
	reported, err := open[contracts.Totals](ctx, p, r.usage.Totals)
	if err != nil {
		return account{}, err
	}
	settled := &contracts.Totals{}
	if r.settled != nil {
		if settled, err = open[contracts.Totals](ctx, p, r.settled.Totals); err != nil {
			return account{}, err
		}
	}
	var held, owed contracts.Fen
	if r.agreement.Billing == contracts.Prepaid {
		held, err = balance(ctx, p, r)
	} else {
		owed, err = debt(ctx, p, r)
	}
	if err != nil {
		return account{}, err
	}
	return account{accrued: inFen(reported.Micro-settled.Micro) + owed, limit: terms.Limit(held), terms: terms}, nil
}

// inFen rounds half up, as the rules do.
func inFen(m contracts.MicroYuan) contracts.Fen {
	const microPerFen = 10_000
	return contracts.Fen((m + microPerFen/2) / microPerFen)
}

// next is the command that an account calls for, or the time when it will although nothing changes. The ledger decides
// again.
func (a account) next(id contracts.ID, g *contracts.Grant, percents []int64, now contracts.Millis) (due command, again contracts.Millis) {
	if a.accrued == 0 && a.terms.UnitPrice == 0 {
		return due, 0 // free of charge: nothing can run out
	}
	last := percents[len(percents)-1]
	if g.State == contracts.GrantOnHold {
		if !a.reached(percents[0]) {
			due = command{"grant.release", contracts.GrantRelease{Agreement: id}}
		}
		return due, 0
	}
	var warn int64
	for _, p := range percents {
		if p > g.Warned && a.reached(p) {
			warn = p
		}
	}
	over := g.WarnedAt.Add(a.terms.GraceDays * 86400)
	switch {
	case warn > 0:
		return command{"grant.warn", contracts.GrantWarn{Agreement: id, Percent: warn}}, 0
	case g.Warned < last:
		return due, 0
	case a.accrued >= a.limit+a.terms.GraceAmount, now >= over && a.reached(last):
		return command{"grant.hold", contracts.GrantHold{Agreement: id}}, 0
	case now < over && a.reached(last):
		return due, over
	}
	return due, 0
}

func (a account) reached(percent int64) bool { return a.accrued*100 >= a.limit*contracts.Fen(percent) }
