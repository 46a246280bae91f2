package main

import (
	"context"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/meter"
)

// Both nodes use the same: how long a request id lives, and how far two clocks may differ.
const (
	requestTTLSec = 600
	clockSkewSec  = 30
)

// schedule makes the receipts' schedule of a deal at one provider node. A CLOSE leaf names the number of its period,
// which both nodes find in the state; what stands behind CLOSE n is priced by the terms of period n+1, and what stands
// before the first by those of period 1.
func (n *Node) schedule(ctx context.Context, d *deal, server party) (meter.Schedule, meter.Terms, error) {
	if server.receipt == "" || d.consumer.receipt == "" {
		return nil, meter.Terms{}, fmt.Errorf("agreement %s: a party has no node in service", d.id)
	}
	rates, err := n.rates(ctx, d)
	if err != nil {
		return nil, meter.Terms{}, err
	}
	now := rates[len(rates)-1]
	funds, err := n.funds(ctx, d, now)
	if err != nil {
		return nil, meter.Terms{}, err
	}
	quota := d.quota(server.node)
	at := func(t *contracts.Terms) meter.Terms {
		return meter.Terms{
			Agreement: d.id, PriceMicro: t.UnitPrice, BillNotFound: t.BillOn == "query", WindowFen: t.WindowAmount, WindowCalls: t.WindowCalls,
			EscrowFen: funds, GraceFen: t.GraceAmount, QuotaCalls: quota, TTLSec: requestTTLSec, SkewSec: clockSkewSec,
			Provider: server.receipt, Consumer: d.consumer.receipt,
		}
	}
	return func(period int64) (meter.Terms, bool) {
		if period < 0 || period >= int64(len(rates)) {
			return meter.Terms{}, false
		}
		return at(rates[period]), true
	}, at(now), nil
}

// rates opens the terms of every closed period and, last, of the open one. Terms of a period that was reported may
// have been erased since: no leaf is written there any more, and the next ones stand in for them.
func (n *Node) rates(ctx context.Context, d *deal) ([]*contracts.Terms, error) {
	var out []*contracts.Terms
	for _, p := range d.periods {
		t, err := openAs[contracts.Terms](ctx, n.openings, contracts.TagTerms, p.Terms)
		if err != nil && (p.Report == nil || !n.erased(p.Terms)) {
			return nil, err
		}
		out = append(out, t)
	}
	t, err := openAs[contracts.Terms](ctx, n.openings, contracts.TagTerms, d.agreement.Terms)
	if err != nil {
		return nil, err
	}
	out = append(out, t)
	for i := len(out) - 2; i >= 0; i-- {
		if out[i] == nil {
			out[i] = out[i+1]
		}
	}
	return out, nil
}

// funds is what usage may accrue to, without the grace, before it stops: what the rules count it against, and what was
// settled before.
func (n *Node) funds(ctx context.Context, d *deal, t *contracts.Terms) (contracts.Fen, error) {
	var balance, settled contracts.Fen
	if d.settled != nil {
		v, err := openAs[contracts.Totals](ctx, n.openings, contracts.TagUsage, d.settled.Totals)
		if err != nil {
			return 0, err
		}
		settled = contracts.Fen(v.Micro / microPerFen)
	}
	if d.agreement.Billing == contracts.Prepaid && d.escrow != nil {
		v, err := openAs[contracts.EscrowValue](ctx, n.openings, contracts.TagEscrow, d.escrow.Balance)
		if err != nil {
			return 0, err
		}
		balance = v.Balance
	}
	var owed contracts.Fen
	if d.agreement.Billing == contracts.Postpaid && d.debt != nil {
		v, err := openAs[contracts.DebtValue](ctx, n.openings, contracts.TagDebt, d.debt.Owed)
		if err != nil {
			return 0, err
		}
		owed = v.Owed
	}
	return max(0, t.Limit(balance)-owed) + settled, nil
}

const microPerFen = 10_000
