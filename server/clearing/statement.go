package clearing

import (
	"context"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/server/projection"
)

// Line is one settlement of a statement.
type Line struct {
	contracts.Settlement
	Buyer    contracts.ID
	Provider contracts.ID
	Value    *contracts.SettlementValue // nil when its opening was erased
}

// Statement is what a member bought and sold in a month, as settled.
type Statement struct {
	Member contracts.ID
	Month  contracts.Period
	Lines  []Line // in order of agreement and period

	Bought    contracts.Fen // what it owes or has paid as a buyer, fees included
	Sold      contracts.Fen // what it gets as a provider, fees taken off
	BuyerFees contracts.Fen // of what it bought
	Fees      contracts.Fen // of what it sold
	Uncounted int           // lines whose value was erased; the sums lack them
}

// Statement gives a member's statement of a month to the member itself and to who supervises; to others it does not
// exist.
func (c *Clerk) Statement(ctx context.Context, r projection.Reader, member contracts.ID, month contracts.Period) (*Statement, error) {
	if !r.May(member) {
		return nil, projection.ErrNotFound
	}
	var rows []struct {
		Buyer    contracts.ID `db:"buyer"`
		Provider contracts.ID `db:"provider"`
		Record   string       `db:"record"`
	}
	err := c.DB.SelectContext(ctx, &rows, `
SELECT a.buyer, a.provider, s.record FROM proj.agreements a JOIN proj.settlements s ON s.agreement = a.id
 WHERE (a.buyer = $1 OR a.provider = $1) AND s.record::json->>'month' = $2 ORDER BY s.id`, string(member), string(month))
	if err != nil {
		return nil, fmt.Errorf("couldn't read settlements: %w", err)
	}
	out := &Statement{Member: member, Month: month}
	for _, row := range rows {
		s, err := contracts.Read[contracts.Settlement]([]byte(row.Record))
		if err != nil {
			return nil, fmt.Errorf("couldn't decode a settlement: %w", err)
		}
		l := Line{Settlement: *s, Buyer: row.Buyer, Provider: row.Provider}
		k, err := c.Openings.Find(ctx, s.Value)
		switch {
		case errors.Is(err, projection.ErrNotFound):
			out.Uncounted++
		case err != nil:
			return nil, err
		default:
			l.Value = new(contracts.SettlementValue)
			if err := canon.Unmarshal(k.Opening.Value, l.Value); err != nil {
				return nil, fmt.Errorf("couldn't decode the value of settlement %s: %w", s.Number, err)
			}
			out.add(&l)
		}
		out.Lines = append(out.Lines, l)
	}
	return out, nil
}

func (s *Statement) add(l *Line) {
	if l.Buyer == s.Member {
		s.Bought += l.Value.BuyerTotal
		s.BuyerFees += l.Value.BuyerFee
	} else {
		s.Sold += l.Value.ProviderNet
		s.Fees += l.Value.ProviderFee
	}
}
