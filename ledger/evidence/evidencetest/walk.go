package evidencetest

import (
	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
)

// Trade is a ledger with a prepaid trade from admission to certificate, and a postpaid one to its last payment.
type Trade struct {
	*Ledger
	Market            *contractstest.Market
	Prepaid, Postpaid *contractstest.Deal
}

// NewTrade walks both trades on l.
func NewTrade(l *Ledger) (*Trade, error) {
	w := &Trade{Ledger: l, Market: contractstest.NewMarket(l.ID, l, 1)}
	for _, step := range []func() error{w.open, w.prepaid, w.postpaid} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *Trade) open() error {
	m := w.Market
	if err := m.Begin(); err != nil {
		return err
	}
	auth, err := m.Authorize()
	if err != nil {
		return err
	}
	l, err := m.List(m.Facts(auth))
	if err != nil {
		return err
	}
	if _, _, err := m.Consent(l, "91310115MA1K00007Q", policy.PreLoan); err != nil {
		return err
	}
	if w.Prepaid, err = m.Agree(l, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms()); err != nil {
		return err
	}
	w.Postpaid, err = m.Agree(l, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Postpaid())
	return err
}

// settle closes the first period of a deal over n calls at ¥0.80, settles it, and gives what the ledger computed.
func (w *Trade) settle(d *contractstest.Deal, n int64) (*contracts.SettlementValue, *contracts.Opening, error) {
	m := w.Market
	gross := contracts.Fen(n*80) + contractstest.Terms().FlatFee
	for _, step := range []func() error{
		func() error {
			return m.Report(d, 1, false, n/2, contracts.Totals{Calls: n / 2, Units: n / 2, Micro: contracts.MicroYuan(n / 2 * 800_000)})
		},
		func() error {
			return m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine)
		},
		func() error {
			return m.Report(d, 1, true, n+1, contracts.Totals{Calls: n, Units: n, Micro: contracts.MicroYuan(n * 800_000)})
		},
		func() error {
			return m.Do(m.Buyer.ID, "acceptance.record", contracts.AcceptanceRecord{Agreement: d.Agreement, Period: 1, Report: contracts.HashOf("test/acceptance")}, nil, m.Buyer.Two()...)
		},
		func() error { return m.Settle(d, 1, gross+gross/100) },
	} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	b, _ := w.Get(contracts.KeySettlement(d.Agreement, 1))
	s, err := contracts.Read[contracts.Settlement](b)
	if err != nil {
		return nil, nil, err
	}
	k, ok := w.Openings[s.Value]
	if !ok {
		return nil, nil, errNoTrade
	}
	v, err := contracts.Read[contracts.SettlementValue](k.Opening.Value)
	return v, &k.Opening, err
}

func (w *Trade) prepaid() error {
	m, d := w.Market, w.Prepaid
	if err := m.Deposit(d, 1_000_000); err != nil {
		return err
	}
	if err := m.Activate(d); err != nil {
		return err
	}
	v, o, err := w.settle(d, 400)
	if err != nil {
		return err
	}
	if err := m.Move("movement.payout", d, 1, v.ProviderNet, *o); err != nil {
		return err
	}
	return m.Do(m.Venue.ID, "certificate.issue", contracts.CertificateIssue{Agreement: d.Agreement, Period: 1}, nil, m.Venue.Two()...)
}

func (w *Trade) postpaid() error {
	m, d := w.Market, w.Postpaid
	v, o, err := w.settle(d, 200)
	if err != nil {
		return err
	}
	if err := m.Move("movement.collection", d, 1, v.BuyerTotal, *o); err != nil {
		return err
	}
	if err := m.Move("movement.payout", d, 1, v.ProviderNet, *o); err != nil {
		return err
	}
	err = m.Do(m.Provider.ID, "agreement.terminate", contracts.AgreementTerminate{Agreement: w.Prepaid.Agreement, Effective: m.Now, Reason: "both agree"}, nil,
		append(m.Provider.Two(), m.Buyer.Two()...)...)
	if err != nil {
		return err
	}
	left, err := contracts.Read[contracts.EscrowValue](w.Prepaid.Escrow.Value)
	if err != nil {
		return err
	}
	return m.Move("movement.refund", w.Prepaid, 0, left.Balance)
}

// Erase records the erasure of commitments and forgets the openings.
func (w *Trade) Erase(cs ...contracts.Hash) error {
	for _, c := range cs {
		delete(w.Openings, c)
	}
	return w.Market.Do(w.Market.Venue.ID, "erasure.record", contracts.ErasureRecord{Commitments: cs, Reason: "对象请求"}, nil, w.Market.Venue.Maker)
}
