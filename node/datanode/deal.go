package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/node/meter"
)

// deal is an agreement as the followed state has it at one position: what both nodes derive their metering from.
type deal struct {
	id        contracts.ID
	agreement *contracts.Agreement
	grant     *contracts.Grant
	usage     *contracts.Usage
	escrow    *contracts.Escrow
	settled   *contracts.Settled
	periods   []*contracts.ClosedPeriod // from 1
	url       string                    // of the provider's node
	node      contracts.ID              // the provider's node that serves it, for a consumer
	receipt   struct{ provider, consumer contracts.PublicKey }
}

func readDeal(v follow.View, id contracts.ID, a *contracts.Agreement, g *contracts.Grant) *deal {
	d := &deal{id: id, agreement: a, grant: g}
	d.usage = read[contracts.Usage](v, contracts.KeyUsage(id))
	d.escrow = read[contracts.Escrow](v, contracts.KeyEscrow(id))
	d.settled = read[contracts.Settled](v, contracts.KeySettled(id))
	for n := int64(1); n <= a.Periods; n++ {
		d.periods = append(d.periods, read[contracts.ClosedPeriod](v, contracts.KeyPeriod(id, n)))
	}
	for _, s := range g.Nodes {
		if n := read[contracts.Node](v, contracts.KeyNode(s.Node)); n != nil && n.Retired == 0 {
			d.node, d.url = s.Node, n.URL
			if k := read[contracts.Key](v, contracts.KeyKey(n.ReceiptKey)); k != nil {
				d.receipt.provider = k.Key
			}
			break
		}
	}
	// A buyer has one active node; with several, the one registered with the smallest id consumes.
	for _, w := range v.Scan("node/", 1_000_000) {
		n, err := contracts.Read[contracts.Node](w.Value)
		if err != nil || n.Member != a.Buyer || n.Retired != 0 {
			continue
		}
		if k := read[contracts.Key](v, contracts.KeyKey(n.ReceiptKey)); k != nil {
			d.receipt.consumer = k.Key
			break
		}
	}
	return d
}

func read[T any](v follow.View, key string) *T {
	b, ok := v.Get(key)
	if !ok {
		return nil
	}
	t, err := contracts.Read[T](b)
	if err != nil {
		return nil
	}
	return t
}

// rate is one period's terms on the way into the receipts.
type rate struct {
	terms contracts.Terms
}

// priced opens the terms of every period so far and of the open one.
func (n *Node) priced(ctx context.Context, d *deal) ([]rate, error) {
	var out []rate
	for _, p := range d.periods {
		if p == nil {
			return nil, fmt.Errorf("agreement %s: a closed period is not followed yet", d.id)
		}
		t, _, err := openAs[contracts.Terms](ctx, n.openings, contracts.TagTerms, p.Terms)
		if err != nil {
			return nil, err
		}
		out = append(out, rate{*t})
	}
	t, _, err := openAs[contracts.Terms](ctx, n.openings, contracts.TagTerms, d.agreement.Terms)
	if err != nil {
		return nil, err
	}
	return append(out, rate{*t}), nil
}

// funds is what usage may accrue to before it stops: the escrow with what was settled for usage, less the flat fee that
// the month still owes; or the credit line with what was settled.
func (n *Node) funds(ctx context.Context, d *deal, t *contracts.Terms) (contracts.Fen, error) {
	var settled contracts.Fen
	if d.settled != nil {
		v, _, err := openAs[contracts.Totals](ctx, n.openings, contracts.TagUsage, d.settled.Totals)
		if err != nil {
			return 0, err
		}
		settled = contracts.Fen(v.Micro / 10_000)
	}
	if t.Billing == contracts.Postpaid {
		return t.CreditLine + settled, nil
	}
	if d.escrow == nil {
		return 0, nil
	}
	v, _, err := openAs[contracts.EscrowValue](ctx, n.openings, contracts.TagEscrow, d.escrow.Balance)
	if err != nil {
		return 0, err
	}
	left := v.Balance
	if d.settled == nil {
		left = max(0, left-t.FlatFee)
	}
	return left + settled, nil
}

// receiptTerms are the terms of the agreement's receipts behind the close of period n, 0 for the beginning.
func (d *deal) receiptTerms(t *contracts.Terms, quota int64, funds contracts.Fen) meter.Terms {
	return meter.Terms{
		Agreement: d.id, PriceMicro: t.UnitPrice, BillNotFound: t.BillOn == "query", WindowFen: t.WindowAmount, WindowCalls: t.WindowCalls,
		EscrowFen: funds, GraceFen: t.GraceAmount, QuotaCalls: quota, TTLSec: 600, SkewSec: 30,
		Provider: d.receipt.provider, Consumer: d.receipt.consumer,
	}
}

// schedule makes the receipts' schedule of a deal. The place of a CLOSE leaf is named by the number of its period,
// which is in the state; what is behind it is priced by the next period's terms.
func (n *Node) schedule(ctx context.Context, d *deal, node contracts.ID) (meter.Schedule, meter.Terms, error) {
	if d.receipt.provider == "" || d.receipt.consumer == "" {
		return nil, meter.Terms{}, fmt.Errorf("agreement %s: a party has no node in service", d.id)
	}
	rates, err := n.priced(ctx, d)
	if err != nil {
		return nil, meter.Terms{}, err
	}
	now := rates[len(rates)-1].terms
	funds, err := n.funds(ctx, d, &now)
	if err != nil {
		return nil, meter.Terms{}, err
	}
	quota := d.grant.Share(node)
	current := d.receiptTerms(&now, quota, funds)
	return func(period int64) (meter.Terms, bool) {
		if period < 0 || period >= int64(len(rates)) {
			return meter.Terms{}, false
		}
		return d.receiptTerms(&rates[period].terms, quota, funds), true
	}, current, nil
}

// fingerprint changes when something changes that the schedule depends on.
func (d *deal) fingerprint() string {
	var b strings.Builder
	fmt.Fprint(&b, d.agreement.Terms, d.agreement.Periods, d.grant.QuotaCalls, d.grant.Nodes, d.receipt, d.url, d.node)
	if d.escrow != nil {
		fmt.Fprint(&b, d.escrow.Balance)
	}
	if d.settled != nil {
		fmt.Fprint(&b, d.settled.Totals)
	}
	return b.String()
}
