package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/node/meter"
)

// report brings acknowledged use to the ledger: the final report of a closed period as soon as the consumer has
// acknowledged exactly its CLOSE, and between period ends an interim one now and then.
func (n *Node) report(ctx context.Context, s *served, d *deal) error {
	for i, p := range d.periods {
		if p == nil || p.Report != nil {
			continue
		}
		number := int64(i + 1)
		if _, err := s.log.ClosePeriod(ctx, number); err != nil {
			return fmt.Errorf("couldn't close period %d of %s: %w", number, d.id, err)
		}
		r, err := s.log.Report(number)
		var refusal *meter.Refusal
		if errors.As(err, &refusal) {
			return nil // not acknowledged yet
		}
		if err != nil {
			return err
		}
		return n.submitReport(ctx, s, d, number, true, r)
	}
	if n.now().Sub(s.at) < n.cfg.report || d.agreement.State != contracts.AgreementActive {
		return nil
	}
	st := s.log.State()
	if st.Acked <= s.reported || d.usage != nil && st.Acked <= d.usage.Size && st.Epoch == d.usage.Epoch {
		return nil
	}
	r, err := s.log.Report(0)
	var refusal *meter.Refusal
	if errors.As(err, &refusal) {
		return nil
	}
	if err != nil {
		return err
	}
	return n.submitReport(ctx, s, d, d.agreement.Periods+1, false, r)
}

func (n *Node) submitReport(ctx context.Context, s *served, d *deal, period int64, final bool, r *meter.Report) error {
	c, o := signing.Commit(contracts.TagUsage, random32(), r.Totals)
	opens := []contracts.Opening{o}
	if d.usage != nil {
		x, err := n.openings.get(ctx, contracts.TagUsage, d.usage.Totals)
		if err != nil {
			return err
		}
		opens = append(opens, x)
	}
	_, _, err := n.command(ctx, "usage.report", contracts.UsageReport{
		Agreement: d.id, Period: period, Final: final, Epoch: r.Epoch, Size: r.Size, Root: r.Root, Totals: c,
		Ack:    contracts.Signed{Key: d.receipt.consumer, Sig: r.ConsumerSig[:]},
		Report: contracts.Signed{Key: d.receipt.provider, Sig: r.ProviderSig[:]},
	}, opens...)
	var p *problem
	if errors.As(err, &p) && p.Status < 500 {
		// The state moved on: what is followed next says what is to be reported.
		n.log.InfoContext(ctx, "the ledger refused a usage report", "agreement", d.id, "code", p.Code)
		s.at = n.now()
		return nil
	}
	if err != nil {
		return err
	}
	s.reported, s.at = r.Size, n.now()
	n.log.InfoContext(ctx, "usage reported", "agreement", d.id, "period", period, "final", final)
	return n.openings.store(c, o)
}
