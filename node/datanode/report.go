package main

import (
	"context"
	"fmt"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/node/meter"
)

// reporting is what the reporting goroutine remembers of one agreement.
type reporting struct {
	backoff
	since   time.Time // of the last report, or of the node's start
	periods int64     // when the backoff began: a period that closes is reported at once
	pending *pending
}

// pending is a report whose outcome is unknown: the very same bytes go again.
type pending struct {
	sub     contracts.Submission
	totals  contracts.Hash
	opening contracts.Opening
}

const reportTimeout = 30 * time.Second

// report brings acknowledged use to the ledger until ctx ends. It never holds up serving; while the market is down it
// asks ever more rarely.
func (n *Node) report(ctx context.Context) error {
	if n.provider == nil {
		return nil
	}
	t := time.NewTicker(min(n.cfg.report, firstPause))
	defer t.Stop()
	all := map[contracts.ID]*reporting{}
	for {
		deals, err := n.deals()
		if err != nil {
			n.log.ErrorContext(ctx, "couldn't read the followed state", "err", err)
		}
		for _, d := range deals {
			if s := n.serving(d.id); s != nil && ctx.Err() == nil {
				if all[d.id] == nil {
					all[d.id] = &reporting{since: n.now()}
				}
				n.reportDeal(ctx, s, d, all[d.id])
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.toReport:
		case <-t.C:
		}
	}
}

func (n *Node) reportDeal(ctx context.Context, s *served, d *deal, r *reporting) {
	now := n.now()
	if !r.ready(now) && r.periods == d.agreement.Periods {
		return
	}
	once, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	done, err := n.reportOnce(once, s, d, r)
	what := "report of agreement " + string(d.id)
	switch {
	case err == nil:
		if done {
			r.since = now
		}
		r.backoff = backoff{}
		n.trouble(what, "")
	case ctx.Err() != nil: // the node ends
	default:
		if r.periods != d.agreement.Periods {
			r.fails = 0
		}
		r.failed(now)
		n.log.WarnContext(ctx, "couldn't report usage, trying again", "agreement", d.id, "at", r.at, "err", err)
		n.trouble(what, err.Error())
	}
	r.periods = d.agreement.Periods
}

// reportOnce makes the report that is due: the final one of a closed period as soon as the consumer has acknowledged
// exactly its CLOSE, and between period ends an interim one now and then.
func (n *Node) reportOnce(ctx context.Context, s *served, d *deal, r *reporting) (done bool, err error) {
	if r.pending != nil {
		return true, n.submitReport(ctx, d, r)
	}
	st := s.log.State()
	for i, p := range d.periods {
		if p.Report != nil {
			continue
		}
		number := int64(i + 1)
		if number > s.closed.Load() {
			return false, nil
		}
		leaf, err := s.log.ClosePeriod(ctx, number)
		if err != nil {
			return false, fmt.Errorf("couldn't find the close of period %d: %w", number, err)
		}
		if st.Acked <= leaf.Seq {
			return false, nil // the consumer's acknowledgement is awaited
		}
		report, err := s.log.Report(number)
		if err != nil {
			return false, err
		}
		return true, n.prepareReport(ctx, d, r, number, true, report)
	}
	switch {
	case n.now().Sub(r.since) < n.cfg.report || d.agreement.State != contracts.AgreementActive || st.Acked == 0:
		return false, nil
	case d.usage != nil && (st.Epoch < d.usage.Epoch || st.Epoch == d.usage.Epoch && st.Acked <= d.usage.Size):
		return false, nil
	}
	report, err := s.log.Report(0)
	if err != nil {
		return false, err
	}
	return true, n.prepareReport(ctx, d, r, d.agreement.Periods+1, false, report)
}

// prepareReport signs a report as this node's machine, and submits it.
func (n *Node) prepareReport(ctx context.Context, d *deal, r *reporting, period int64, final bool, x *meter.Report) error {
	c, o := signing.Commit(contracts.TagUsage, random32(), x.Totals)
	opens := []contracts.Opening{o}
	if d.usage != nil {
		before, err := n.openings.get(ctx, contracts.TagUsage, d.usage.Totals)
		if err != nil {
			return err
		}
		opens = append(opens, before)
	}
	sub, _, err := n.sign(ctx, "usage.report", contracts.UsageReport{
		Agreement: d.id, Period: period, Final: final, Epoch: x.Epoch, Size: x.Size, Root: x.Root, Totals: c,
		Ack:    contracts.Signed{Key: d.consumer.receipt, Sig: x.ConsumerSig[:]},
		Report: contracts.Signed{Key: ed25519Key(n.keys.Receipt), Sig: x.ProviderSig[:]},
	}, opens...)
	if err != nil {
		return err
	}
	r.pending = &pending{sub, c, o}
	n.log.InfoContext(ctx, "reporting usage", "agreement", d.id, "period", period, "final", final, "size", x.Size)
	return n.submitReport(ctx, d, r)
}

func (n *Node) submitReport(ctx context.Context, d *deal, r *reporting) error {
	_, err := n.market.submit(ctx, r.pending.sub)
	if err != nil {
		if final(err) {
			r.pending = nil // what is followed next says what is to be reported
		}
		return fmt.Errorf("usage.report: %w", err)
	}
	err = n.openings.store(r.pending.totals, r.pending.opening)
	r.pending = nil
	return err
}
