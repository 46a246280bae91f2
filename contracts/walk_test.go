package contracts_test

import (
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
)

// The shortest whole trade: admission to certificate, by rules alone.
func TestWalk(t *testing.T) {
	pure := contractstest.NewPure("bund.test/1")
	m := contractstest.NewMarket("bund.test/1", pure, 1)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.Begin())
	auth, err := m.Authorize()
	must(err)
	l, err := m.List(m.Facts(auth))
	must(err)
	d, err := m.Agree(l, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	must(err)
	must(m.Deposit(d, 1_000_000))
	must(m.Activate(d))
	consent, key, err := m.Consent(l, "91310115MA1K00007Q", policy.PreLoan)
	must(err)
	use := contracts.Use{Agreement: d.Agreement, Peer: m.Buyer.ID, Node: m.Provider.Node, Operation: policy.Query, Purpose: policy.PreLoan,
		Fields: contractstest.Fields[:1], Region: "CN-31", Consent: consent, Subject: contracts.Subject(key, "91310115MA1K00007Q")}
	_, c, err := contracts.MayUse(pure.State, m.Now, use)
	must(err)
	if c == nil || c.Buyer != m.Buyer.ID {
		t.Fatalf("consent %+v", c)
	}
	// 400 billed calls at ¥0.80: ¥320.00 and the flat fee of ¥3,000.00.
	must(m.Report(d, 1, false, 200, contracts.Totals{Calls: 200, Units: 200, Micro: 160_000_000}))
	must(m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine))
	must(m.Report(d, 1, true, 401, contracts.Totals{Calls: 400, Units: 400, Micro: 320_000_000}))
	must(m.Do(m.Buyer.ID, "acceptance.record", contracts.AcceptanceRecord{Agreement: d.Agreement, Period: 1, Report: contracts.HashOf("test/acceptance")}, nil, m.Buyer.Two()...))
	must(m.Settle(d, 1, 332_000+3_320))
	b, _ := pure.Get(contracts.KeySettlement(d.Agreement, 1))
	s, err := contracts.Read[contracts.Settlement](b)
	must(err)
	kept := pure.Openings[s.Value]
	v, err := contracts.Read[contracts.SettlementValue](kept.Opening.Value)
	must(err)
	if v.Usage != 32_000 || v.Flat != 300_000 || v.BuyerTotal != 335_320 || v.ProviderNet != 332_000-6_640 {
		t.Fatalf("settlement %+v", v)
	}
	var debit, credit contracts.Fen
	for _, p := range v.Postings {
		debit, credit = debit+p.Debit, credit+p.Credit
	}
	if debit != credit || debit == 0 {
		t.Fatalf("postings %+v", v.Postings)
	}
	must(m.Move("movement.payout", d, 1, v.ProviderNet, kept.Opening))
	must(m.Do(m.Venue.ID, "certificate.issue", contracts.CertificateIssue{Agreement: d.Agreement, Period: 1}, nil, m.Venue.Two()...))
	t.Logf("%d entries, %d keys, state %s", len(pure.Applied), len(pure.Keys()), pure.Hash())
}
