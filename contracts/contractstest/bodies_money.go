package contractstest

import (
	"fmt"
	"reflect"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
)

// Commands about use, money, disputes, supervision and evidence.
var moneyBodies = map[string]builder{
	"period.close": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, a, _, err := s.agreement(l)
		if err != nil {
			return nil, err
		}
		return &act{body: &contracts.PeriodClose{Agreement: id, Number: a.Periods + 1, Month: contracts.PeriodOf(min(s.M.Now, a.To-1))}}, nil
	},
	// usage.report D1 calls=200 [final=true]: 200 billed calls more than the last report, at the period's price; or
	// totals.calls=, totals.units=, totals.micro= outright. ack= and report= name the keys that sign.
	"usage.report": usageReport,

	"movement.deposit": movement("deposit"), "movement.refund": movement("refund"),
	"movement.payout": movement("payout"), "movement.collection": movement("collection"),

	"settlement.settle": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, a, _, err := s.agreement(l)
		if err != nil {
			return nil, err
		}
		b := &contracts.SettlementSettle{Agreement: id, Period: 1}
		var cs []contracts.Hash
		if x, err := read[contracts.Settled](s, contracts.KeySettled(id)); err == nil {
			b.Period = x.Period + 1
			cs = append(cs, x.Totals)
		}
		if w := l.take("period", ""); w != "" {
			if b.Period, err = atoi(w); err != nil {
				return nil, err
			}
		}
		if p, err := read[contracts.ClosedPeriod](s, contracts.KeyPeriod(id, b.Period)); err == nil {
			cs = append(cs, p.Terms)
			if p.Report != nil {
				cs = append(cs, p.Report.Totals)
			}
		}
		opens := s.opens(cs...)
		if l.take("escrow", "yes") == "yes" && a.Billing == contracts.Prepaid {
			opens = append(opens, s.opens(s.balance(id))...)
		}
		if l.take("debt", "yes") == "yes" && a.Billing == contracts.Postpaid {
			opens = append(opens, s.opens(s.debt(id))...)
		}
		return &act{body: b, opens: opens}, nil
	},
	"certificate.issue": about(func(id contracts.ID, _ string) any { return &contracts.CertificateIssue{Agreement: id, Period: 1} }),

	"freeze.order": about(freezeOrder), "freeze.lift": about(freezeOrder),
	"dispute.open": about(func(id contracts.ID, _ string) any {
		return &contracts.DisputeOpen{Agreement: id, Evidence: contracts.HashOf("test/evidence")}
	}),
	"dispute.decide": about(func(id contracts.ID, _ string) any {
		return &contracts.DisputeDecide{Agreement: id, Decision: contracts.HashOf("test/decision")}
	}),
	// correction.open K1 on=P1
	"correction.open": func(s *Scene, _ *Actor, l *line) (*act, error) {
		on, err := s.id(l.take("on", "P1.product"))
		return &act{body: &contracts.CorrectionOpen{Product: on, Locator: contracts.HashOf("test/locator"), Evidence: contracts.HashOf("test/evidence")},
			after: s.bind(l.name(), "correction")}, err
	},
	"correction.decide": about(func(id contracts.ID, _ string) any {
		return &contracts.CorrectionDecide{Correction: id, Outcome: "corrected"}
	}),

	"export.decide": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, err := s.id(l.take("on", "provider"))
		return &act{body: &contracts.ExportDecide{Member: id, Inputs: contracts.HashOf("test/inputs"), Rules: "CBDT-2024-1", Route: "EXEMPT"}, after: s.bind(l.name(), "export")}, err
	},
	// erasure.record of=D1: of the terms of a deal; escrow=D1: of its balance; or commitments=…
	"erasure.record": func(s *Scene, _ *Actor, l *line) (*act, error) {
		b := &contracts.ErasureRecord{Reason: "the subject asked for it"}
		if of := l.take("of", ""); of != "" {
			id, err := s.id(of)
			if err != nil {
				return nil, err
			}
			a, err := read[contracts.Agreement](s, contracts.KeyAgreement(id))
			if err != nil {
				return nil, err
			}
			b.Commitments = append(b.Commitments, a.Terms)
		}
		if of := l.take("escrow", ""); of != "" {
			id, err := s.id(of)
			if err != nil {
				return nil, err
			}
			b.Commitments = append(b.Commitments, s.balance(id))
		}
		if w := l.take("count", ""); w != "" {
			n, err := atoi(w)
			if err != nil {
				return nil, err
			}
			for i := range n {
				b.Commitments = append(b.Commitments, contracts.HashOf("test/erased", fmt.Append(nil, i)))
			}
		}
		return &act{body: b}, nil
	},
	"snapshot.record": func(s *Scene, _ *Actor, _ *line) (*act, error) {
		return &act{body: &contracts.SnapshotRecord{Entries: int64(len(s.Oracle.Applied)), StateHash: s.Oracle.Hash()}}, nil
	},
	"reads.anchor": func(s *Scene, _ *Actor, _ *line) (*act, error) {
		n := int64(len(s.Oracle.Applied))
		return &act{body: &contracts.ReadsAnchor{Count: n, Head: contracts.HashOf("test/reads", fmt.Append(nil, n))}}, nil
	},
	"loss.accept": func(s *Scene, _ *Actor, _ *line) (*act, error) {
		n := int64(len(s.Oracle.Applied))
		l, err := contracts.EpochOf(s.Oracle)
		if err != nil {
			return nil, err
		}
		return &act{body: &contracts.LossAccept{CosignedSize: n + 20, RestoredSize: n, Kept: contracts.HashOf("test/kept", fmt.Append(nil, n)), Epoch: l + 1,
			Reason: "restored from last night's backup"}}, nil
	},
}

func freezeOrder(id contracts.ID, why string) any {
	return &contracts.FreezeOrder{Target: id, Order: contracts.HashOf("test/order"), Reason: why}
}

// balance is the commitment to an agreement's escrow, "" without one.
func (s *Scene) balance(agreement contracts.ID) contracts.Hash {
	e, err := read[contracts.Escrow](s, contracts.KeyEscrow(agreement))
	if err != nil {
		return ""
	}
	return e.Balance
}

// debt is the commitment to what a postpaid buyer owes, "" without one.
func (s *Scene) debt(agreement contracts.ID) contracts.Hash {
	d, err := read[contracts.Debt](s, contracts.KeyDebt(agreement))
	if err != nil {
		return ""
	}
	return d.Owed
}

// movement: movement.deposit D1 amount=1000000 [ref=JP1] [period=1]. Without an amount it is what the settlement says.
func movement(typ string) builder {
	return func(s *Scene, a *Actor, l *line) (*act, error) {
		id, err := s.need(l)
		if err != nil {
			return nil, err
		}
		b := &contracts.MovementRecord{Agreement: id}
		v := contracts.MovementValue{Amount: 1_000_000, Reference: l.take("ref", fmt.Sprintf("JP-%s-%d", a.ID, len(s.Oracle.Applied))), ValueDate: "2026-03-10"}
		var opens []contracts.Opening
		switch typ {
		case "payout", "collection":
			if b.Period, err = atoi(l.take("period", "1")); err != nil {
				return nil, err
			}
			if st, err := read[contracts.Settlement](s, contracts.KeySettlement(id, b.Period)); err == nil {
				value, err := opened[contracts.SettlementValue](s, st.Value)
				if err != nil {
					return nil, err
				}
				opens = s.opens(st.Value)
				v.Amount = value.ProviderNet
				if typ == "collection" {
					v.Amount = value.BuyerTotal
					if l.take("debt", "yes") == "yes" {
						opens = append(opens, s.opens(s.debt(id))...)
					}
				}
			}
		default:
			opens = s.opens(s.balance(id))
		}
		if w := l.take("amount", ""); w != "" {
			n, err := atoi(w)
			if err != nil {
				return nil, err
			}
			v.Amount = contracts.Fen(n)
		}
		b.RefTag = contracts.HashOf("test/ref", []byte(v.Reference))
		c, o := s.commit(l, contracts.TagMovement, v)
		b.Value = c
		return &act{body: b, opens: append([]contracts.Opening{o}, opens...)}, nil
	}
}

func usageReport(s *Scene, _ *Actor, l *line) (*act, error) {
	id, a, _, err := s.agreement(l)
	if err != nil {
		return nil, err
	}
	b := &contracts.UsageReport{Agreement: id, Period: a.Periods + 1, Final: l.take("final", "") == "true", Epoch: 1}
	terms := a.Terms
	if b.Final {
		b.Period = a.Periods
		if p, err := read[contracts.ClosedPeriod](s, contracts.KeyPeriod(id, b.Period)); err == nil {
			terms = p.Terms
		}
	}
	var totals contracts.Totals
	var opens []contracts.Opening
	if u, err := read[contracts.Usage](s, contracts.KeyUsage(id)); err == nil {
		before, err := opened[contracts.Totals](s, u.Totals)
		if err != nil {
			return nil, err
		}
		totals, b.Size, b.Epoch, opens = *before, u.Size, u.Epoch, s.opens(u.Totals)
	}
	calls, err := atoi(l.take("calls", "0"))
	if err != nil {
		return nil, err
	}
	if t, err := opened[contracts.Terms](s, terms); err == nil {
		totals.Micro += t.UnitPrice * contracts.MicroYuan(calls)
	}
	totals.Calls, totals.Units, b.Size = totals.Calls+calls, totals.Units+calls, b.Size+calls
	if b.Final {
		b.Size++ // the CLOSE leaf
	}
	for _, o := range l.under("totals") {
		if err := s.override(reflect.ValueOf(&totals), o.key, o.value); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct {
		key string
		to  *int64
	}{{"size", &b.Size}, {"epoch", &b.Epoch}, {"period", &b.Period}} {
		if w := l.take(f.key, ""); w != "" {
			if *f.to, err = atoi(w); err != nil {
				return nil, err
			}
		}
	}
	c, o := signing.Commit(contracts.TagUsage, s.M.Random(), totals)
	b.Totals, b.Root = c, contracts.HashOf("test/root", fmt.Append(nil, b.Size))
	st := contracts.Statement{Agreement: id, Epoch: b.Epoch, Size: b.Size, Root: b.Root, Totals: totals}
	ack, err := s.key(nil, l.take("ack", "bank.receipt"))
	if err != nil {
		return nil, err
	}
	report, err := s.key(nil, l.take("report", "provider.receipt"))
	if err != nil {
		return nil, err
	}
	b.Ack, b.Report = ack.Signed(st.SignedBytes(contracts.TagAck)), report.Signed(st.SignedBytes(contracts.TagReport))
	if l.take("swap", "") == "true" {
		b.Ack, b.Report = ack.Signed(st.SignedBytes(contracts.TagReport)), report.Signed(st.SignedBytes(contracts.TagAck))
	}
	return &act{body: b, opens: append([]contracts.Opening{o}, opens...)}, nil
}
