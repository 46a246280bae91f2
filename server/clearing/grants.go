package clearing

import (
	"context"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// trade is what the jobs about a grant's money read of an agreement.
type trade struct {
	subject
	Agreement string `db:"agreement"`
	Grant     string `db:"grant_record"`
	Escrow    string `db:"escrow"`  // "" when nothing was deposited
	Usage     string `db:"usage"`   // "" when nothing was reported
	Settled   string `db:"settled"` // "" when nothing was settled
}

func (c *Clerk) trades(ctx context.Context, where string, args ...any) ([]trade, error) {
	var out []trade
	err := c.DB.SelectContext(ctx, &out, `
SELECT a.id, a.record AS agreement, g.record AS grant_record, coalesce(e.record, '') AS escrow, coalesce(u.record, '') AS usage,
       coalesce(s.record, '') AS settled,
       greatest(a.position, g.position, coalesce(e.position, 0), coalesce(u.position, 0), coalesce(s.position, 0)) AS newest
  FROM proj.grants g JOIN proj.agreements a ON a.id = g.id
  LEFT JOIN proj.escrows e ON e.id = g.id LEFT JOIN proj.usages u ON u.id = g.id LEFT JOIN proj.settled s ON s.id = g.id
 WHERE `+where+` ORDER BY a.id`, args...)
	if err != nil {
		return nil, fmt.Errorf("couldn't read grants: %w", err)
	}
	return out, nil
}

// records are a trade's records, decoded; those that aren't there are nil.
type records struct {
	agreement *contracts.Agreement
	grant     *contracts.Grant
	escrow    *contracts.Escrow
	usage     *contracts.Usage
	settled   *contracts.Settled
}

func read[T any](record string, to **T) error {
	if record == "" {
		return nil
	}
	v, err := contracts.Read[T]([]byte(record))
	*to = v
	return err
}

func (t *trade) records() (r records, err error) {
	err = errors.Join(read(t.Agreement, &r.agreement), read(t.Grant, &r.grant), read(t.Escrow, &r.escrow), read(t.Usage, &r.usage),
		read(t.Settled, &r.settled))
	if err != nil {
		err = fmt.Errorf("couldn't decode the records of agreement %s: %w", t.ID, err)
	}
	return r, err
}

// activate starts prepaid grants whose money is in.
func (c *Clerk) activate(ctx context.Context, m *projection.Market, now contracts.Millis) error {
	ts, err := c.trades(ctx, `g.state = 'pending' AND a.state = 'active' AND e.id IS NOT NULL`)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range ts {
		if c.waits("grant.activate", t.subject, now) {
			continue
		}
		if err := c.activateOne(ctx, m, now, t); err != nil && !errors.Is(err, errErased) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Clerk) activateOne(ctx context.Context, m *projection.Market, now contracts.Millis, t trade) error {
	r, err := t.records()
	if err != nil {
		return err
	}
	p := &purse{from: c.Openings}
	terms, err := open[contracts.Terms](ctx, p, r.agreement.Terms)
	if err != nil {
		return err
	}
	escrow, err := open[contracts.EscrowValue](ctx, p, r.escrow.Balance)
	if err != nil {
		return err
	}
	if escrow.Balance < terms.Escrow {
		return nil
	}
	_, err = c.do(ctx, m, now, t.subject, "grant.activate", contracts.GrantActivate{Agreement: t.ID}, p)
	return err
}

// expire ends agreements whose term is over.
func (c *Clerk) expire(ctx context.Context, m *projection.Market, now contracts.Millis) error {
	var due []subject
	const over = `SELECT id, position AS newest FROM proj.agreements WHERE state = 'active' AND ends <= $1 ORDER BY ends, id`
	if err := c.DB.SelectContext(ctx, &due, over, int64(now)); err != nil {
		return fmt.Errorf("couldn't read agreements: %w", err)
	}
	var errs []error
	for _, on := range due {
		if c.waits("agreement.expire", on, now) {
			continue
		}
		if _, err := c.do(ctx, m, now, on, "agreement.expire", contracts.AgreementExpire{Agreement: on.ID}, &purse{}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
