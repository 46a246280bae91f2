package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/meter"
)

// served is one agreement that this node serves.
type served struct {
	id       contracts.ID
	buyer    contracts.ID
	log      *meter.Log
	handler  http.Handler
	schedule atomic.Pointer[meter.Schedule]
	print    print
	closed   atomic.Int64 // periods whose CLOSE is written

	unreported atomic.Bool // a closed period lacks its final report
}

// tendServed opens the agreement's log, keeps its terms, and writes the CLOSE of each closed period.
func (n *Node) tendServed(ctx context.Context, d *deal, own party) error {
	s, p := n.serving(d.id), d.seenFrom(own)
	if s == nil || s.print != p {
		schedule, terms, err := n.schedule(ctx, d, own)
		if err != nil {
			return err
		}
		if s != nil {
			s.schedule.Store(&schedule)
			n.amended(ctx, d, s.log.Amend(terms))
		} else if s, err = n.openServed(ctx, d, &schedule); err != nil {
			return err
		}
		s.print = p
	}
	s.unreported.Store(slices.ContainsFunc(d.periods, func(p *contracts.ClosedPeriod) bool { return p.Report == nil }))
	for i := int(s.closed.Load()); i < len(d.periods); i++ {
		number := int64(i + 1)
		if d.periods[i].Report == nil {
			if _, err := s.log.ClosePeriod(ctx, number); err != nil {
				return fmt.Errorf("couldn't close period %d of %s: %w", number, d.id, err)
			}
		}
		s.closed.Store(number)
	}
	return nil
}

func (n *Node) openServed(ctx context.Context, d *deal, schedule *meter.Schedule) (*served, error) {
	s := &served{id: d.id, buyer: d.agreement.Buyer}
	s.schedule.Store(schedule)
	var err error
	s.log, err = n.provider.Open(ctx, func(p int64) (meter.Terms, bool) { return (*s.schedule.Load())(p) },
		meter.Backend{Admit: n.admit(s), Execute: n.execute})
	if err != nil {
		return nil, err
	}
	s.handler = s.log.Handler()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.served[d.id] = s
	return s, nil
}

func (n *Node) serving(id contracts.ID) *served {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.served[id]
}

// admit is the gate before anything is reserved. A failure of the gate is reported by execute: it is no refusal.
func (n *Node) admit(s *served) func(context.Context, *meter.Call) *meter.Refusal {
	return func(ctx context.Context, c *meter.Call) *meter.Refusal {
		x := slotOf(ctx)
		x.id = s.id
		var r *contracts.Refusal
		if x.pass, x.err = n.gate.Admit(ctx, s.id, x.from, s.log.State().Totals.Calls, c.Body); errors.As(x.err, &r) {
			return &meter.Refusal{Code: r.Code, Detail: r.Detail}
		}
		if x.err == nil {
			c.Units = x.pass.Request.Asked()
		}
		return nil
	}
}
