package clearing

import (
	"context"
	"errors"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// funds watches what has accrued against escrow or credit line: it warns at the rulebook's percentages, holds a grant
// whose grace is used up, and releases one that was topped up. The node that serves the grant stops by itself at escrow
// plus grace; the hold says so to everybody.
func (c *Clerk) funds(ctx context.Context, m *projection.Market, now contracts.Millis) error {
	ts, err := c.trades(ctx, `g.state IN ('active', 'payment_hold') AND u.id IS NOT NULL`)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range ts {
		if c.quiet(t.subject) {
			continue
		}
		if err := c.watch(ctx, m, now, t); err != nil && !errors.Is(err, errErased) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// quiet reports whether an agreement's money was looked at, found in order, and hasn't changed since. A grant that was
// warned of last is looked at every time: its grace runs out by time alone.
func (c *Clerk) quiet(on subject) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest, ok := c.inOrder[on.ID]
	return ok && newest == on.Newest
}

func (c *Clerk) found(on subject, inOrder bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inOrder == nil {
		c.inOrder = map[contracts.ID]int64{}
	}
	if inOrder {
		c.inOrder[on.ID] = on.Newest
	} else {
		delete(c.inOrder, on.ID)
	}
}

func (c *Clerk) watch(ctx context.Context, m *projection.Market, now contracts.Millis, t trade) error {
	r, err := t.records()
	if err != nil {
		return err
	}
	p := &purse{from: c.Openings}
	s, err := standing(ctx, p, r)
	if err != nil {
		return err
	}
	kind, body := s.next(t.ID, r.grant, m.Rules.WarnPercents, now)
	c.found(t.subject, kind == "" && !s.waiting(r.grant, m.Rules.WarnPercents))
	if kind == "" || c.waits(kind, t.subject, now) {
		return nil
	}
	_, err = c.do(ctx, m, now, t.subject, kind, body, p)
	return err
}

// account is how an agreement stands.
type account struct {
	accrued contracts.Fen // reported and not settled
	limit   contracts.Fen // what it counts against
	terms   *contracts.Terms
}

// standing opens what the rules open for the same question.
func standing(ctx context.Context, p *purse, r records) (account, error) {
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
	balance := &contracts.EscrowValue{}
	if r.agreement.Billing == contracts.Prepaid && r.escrow != nil {
		if balance, err = open[contracts.EscrowValue](ctx, p, r.escrow.Balance); err != nil {
			return account{}, err
		}
	}
	const microPerFen = 10_000
	accrued := contracts.Fen((reported.Micro - settled.Micro + microPerFen/2) / microPerFen)
	return account{accrued: accrued, limit: terms.Limit(balance.Balance), terms: terms}, nil
}

// next is the command that an account calls for, kind "" for none. The ledger decides again.
func (a account) next(id contracts.ID, g *contracts.Grant, percents []int64, now contracts.Millis) (kind string, body any) {
	last := percents[len(percents)-1]
	if g.State == contracts.GrantOnHold {
		if !a.reached(percents[0]) {
			return "grant.release", contracts.GrantRelease{Agreement: id}
		}
		return "", nil
	}
	var warn int64
	for _, p := range percents {
		if p > g.Warned && a.reached(p) {
			warn = p
		}
	}
	switch {
	case warn > 0:
		return "grant.warn", contracts.GrantWarn{Agreement: id, Percent: warn}
	case g.Warned < last:
		return "", nil
	case a.accrued >= a.limit+a.terms.GraceAmount, now >= g.WarnedAt.Add(a.terms.GraceDays*86400) && a.reached(last):
		return "grant.hold", contracts.GrantHold{Agreement: id}
	}
	return "", nil
}

// waiting reports whether something may become due by time alone.
func (a account) waiting(g *contracts.Grant, percents []int64) bool {
	return g.State == contracts.GrantActive && g.Warned >= percents[len(percents)-1]
}

func (a account) reached(percent int64) bool { return a.accrued*100 >= a.limit*contracts.Fen(percent) }
