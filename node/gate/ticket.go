package gate

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
)

// TicketStaleSec is how old the state may be on which a consent service signs a ticket. The agreement's own bound is held
// by the provider's node.
const TicketStaleSec = 60

// AdmitTickets decides about tickets of a consent service, all or none, as Admit does about calls: a revocation that was
// announced stops one at once. The pass holds a use of each consent. After a refusal at is the place of the one refused.
func (g *Gate) AdmitTickets(ctx context.Context, us []contracts.Use) (p *Pass, table *contracts.LookupTable, at int, err error) {
	err = g.fresh(ctx, func() (position uint64, maxStaleSec int64, err error) {
		p, table = &Pass{gate: g}, nil
		now := contracts.Millis(g.Now().UnixMilli())
		position, err = g.Follower.Read(func(st contracts.State) error {
			return g.Early.Both(st, func(st contracts.State) error {
				first := table == nil
				for i, u := range us {
					at = i
					l, consent, err := contracts.MayTicket(g.Records.Over(st), now, u)
					if err != nil {
						return err
					}
					if table = l; first {
						p.bounds = append(p.bounds, bound{u.Consent, consent.MaxCalls})
					}
				}
				return nil
			})
		})
		return position, TicketStaleSec, err
	})
	if err != nil {
		return nil, nil, at, err
	}
	return p, table, 0, nil
}
