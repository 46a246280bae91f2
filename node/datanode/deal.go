package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/follow"
)

// deal is an agreement as the followed state has it at one position: what both nodes derive their metering from.
type deal struct {
	id        contracts.ID
	agreement *contracts.Agreement
	grant     *contracts.Grant
	usage     *contracts.Usage
	escrow    *contracts.Escrow
	debt      *contracts.Debt
	settled   *contracts.Settled
	periods   []*contracts.ClosedPeriod // from 1
	shares    []party                   // provider's nodes in service that serve it
	consumer  party                     // buyer's node that uses it
}

// party is a node in service with its receipt key.
type party struct {
	node    contracts.ID
	url     string
	receipt contracts.PublicKey
	since   contracts.Millis
}

// server gives the provider's node that serves the deal to a consumer: the first that the grant names and that is in
// service.
func (d *deal) server() party {
	if len(d.shares) == 0 {
		return party{}
	}
	return d.shares[0]
}

// ended reports whether nothing more will be used, reported or acknowledged.
func (d *deal) ended() bool {
	if d.agreement.State == contracts.AgreementActive || len(d.periods) == 0 {
		return false
	}
	last := d.periods[len(d.periods)-1]
	return last != nil && last.Report != nil && last.Closed >= d.agreement.To
}

// deals lists the agreements that this member is a party of, in order of id. The same position gives the same list.
func (n *Node) deals() (out []*deal, err error) {
	n.follower.View(func(v follow.View) {
		nodes := partiesOf(v)
		for _, w := range v.Scan("agreement/", 1_000_000) {
			id := contracts.ID(w.Key[len("agreement/"):])
			d, e := readDeal(v, id, w.Value, nodes)
			if e != nil {
				err = errors.Join(err, fmt.Errorf("couldn't read agreement %s: %w", id, e))
			} else if d != nil && (d.agreement.Provider == n.cfg.Member || d.agreement.Buyer == n.cfg.Member) {
				out = append(out, d)
			}
		}
	})
	return out, err
}

// partiesOf gives every member's nodes in service, longest in service first.
func partiesOf(v follow.View) map[contracts.ID][]party {
	nodes := map[contracts.ID][]party{}
	for _, w := range v.Scan("node/", 1_000_000) {
		n, err := contracts.Read[contracts.Node](w.Value)
		if err != nil || n.Retired != 0 {
			continue
		}
		if k := read[contracts.Key](v, contracts.KeyKey(n.ReceiptKey)); k != nil {
			nodes[n.Member] = append(nodes[n.Member], party{contracts.ID(w.Key[len("node/"):]), n.URL, k.Key, n.Since})
		}
	}
	for _, ps := range nodes {
		slices.SortFunc(ps, func(a, b party) int { return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.node, b.node)) })
	}
	return nodes
}

func readDeal(v follow.View, id contracts.ID, value []byte, nodes map[contracts.ID][]party) (*deal, error) {
	a, err := contracts.Read[contracts.Agreement](value)
	if err != nil {
		return nil, err
	}
	b, ok := v.Get(contracts.KeyGrant(id))
	if !ok {
		return nil, nil
	}
	g, err := contracts.Read[contracts.Grant](b)
	if err != nil {
		return nil, err
	}
	d := &deal{id: id, agreement: a, grant: g}
	d.usage = read[contracts.Usage](v, contracts.KeyUsage(id))
	d.escrow = read[contracts.Escrow](v, contracts.KeyEscrow(id))
	d.debt = read[contracts.Debt](v, contracts.KeyDebt(id))
	d.settled = read[contracts.Settled](v, contracts.KeySettled(id))
	for n := int64(1); n <= a.Periods; n++ {
		p := read[contracts.ClosedPeriod](v, contracts.KeyPeriod(id, n))
		if p == nil {
			return nil, fmt.Errorf("period %d is not there", n)
		}
		d.periods = append(d.periods, p)
	}
	for _, s := range g.Nodes {
		if i := slices.IndexFunc(nodes[a.Provider], func(p party) bool { return p.node == s.Node }); i >= 0 {
			d.shares = append(d.shares, nodes[a.Provider][i])
		}
	}
	if ns := nodes[a.Buyer]; len(ns) > 0 {
		d.consumer = ns[0]
	}
	return d, nil
}

// print is everything that the receipts' terms of a deal depend on.
type print struct {
	terms, balance, debt, settled contracts.Hash
	periods, quota                int64
	server, consumer              party
}

// seenFrom gives the deal's print at one provider node.
func (d *deal) seenFrom(server party) print {
	p := print{terms: d.agreement.Terms, periods: d.agreement.Periods, quota: d.quota(server.node), server: server, consumer: d.consumer}
	if d.escrow != nil {
		p.balance = d.escrow.Balance
	}
	if d.debt != nil {
		p.debt = d.debt.Owed
	}
	if d.settled != nil {
		p.settled = d.settled.Totals
	}
	return p
}

// quota is how many billed calls a node may serve: its share, and no more than the policy allows, which the gate also
// counts but can't reserve.
func (d *deal) quota(node contracts.ID) int64 {
	q := d.grant.Share(node)
	if m := d.grant.Policy.MaxCalls; m != 0 {
		q = min(q, m)
	}
	return q
}
