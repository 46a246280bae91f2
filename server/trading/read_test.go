package trading_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
	"github.com/bund-exchange/bund/server/trading"
)

// traded is a market with one trade from negotiation to certificate.
func traded(t *testing.T) (*projectiontest.Market, *trading.Book, *contractstest.Deal) {
	t.Helper()
	m, _ := begin(t)
	d, err := m.Agree(m.Listed(), contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	m.Must(err)
	m.Must(m.Deposit(d, 1_000_000))
	m.Must(m.Activate(d))
	m.Must(m.Report(d, 1, false, 100, contracts.Totals{Calls: 100, Units: 100, Micro: 80_000_000}))
	m.Must(m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine))
	m.Must(m.Report(d, 1, true, 401, contracts.Totals{Calls: 400, Units: 400, Micro: 320_000_000}))
	m.Must(m.Do(m.Buyer.ID, "acceptance.record", contracts.AcceptanceRecord{Agreement: d.Agreement, Period: 1, Report: contracts.HashOf("test/acceptance")}, nil, m.Buyer.Two()...))
	m.Must(m.Settle(d, 1, 332_000+3_320))
	m.Must(m.Do(m.Venue.ID, "certificate.issue", contracts.CertificateIssue{Agreement: d.Agreement, Period: 1}, nil, m.Venue.Two()...))
	m.Project()
	return m, &trading.Book{DB: m.DB, Openings: trading.Openings{DB: m.DB}}, d
}

// Parties, venue and regulators read a trade; to everybody else, known or not, it does not exist.
func TestWhoReadsATrade(t *testing.T) {
	m, book, d := traded(t)
	for _, x := range []struct {
		who string
		r   projection.Reader
		may bool
	}{
		{"the buyer", projection.Reader{Member: m.Buyer.ID}, true},
		{"the provider", projection.Reader{Member: m.Provider.ID}, true},
		{"the regulator", projection.Reader{Member: m.Regulator.ID, Supervises: true}, true},
		{"the custodian", projection.Reader{Member: m.Custodian.ID}, false},
		{"a law firm", projection.Reader{Member: m.LawFirm.ID}, false},
		{"nobody", projection.Reader{}, false},
	} {
		var errs []error
		_, err := book.Negotiation(ctx, x.r, d.Negotiation)
		errs = append(errs, err)
		_, err = book.Draft(ctx, x.r, d.Negotiation)
		errs = append(errs, err)
		_, _, err = book.Agreement(ctx, x.r, d.Agreement)
		errs = append(errs, err)
		_, err = book.Statement(ctx, x.r, d.Agreement)
		errs = append(errs, err)
		_, err = book.Certificates(ctx, x.r, d.Agreement)
		errs = append(errs, err)
		_, err = book.Openings.Get(ctx, x.r, d.Offer.Terms)
		errs = append(errs, err)
		for i, err := range errs {
			if (err == nil) != x.may || err != nil && !errors.Is(err, projection.ErrNotFound) {
				t.Errorf("%s, question %d: %v", x.who, i, err)
			}
		}
		ns, err := book.Negotiations(ctx, x.r, projection.PageOf{})
		m.Must(err)
		as, err := book.Agreements(ctx, x.r, projection.PageOf{})
		m.Must(err)
		if got := len(ns.Items) + len(as.Items); got != map[bool]int{true: 2, false: 0}[x.may] {
			t.Errorf("%s has %d negotiations and agreements", x.who, got)
		}
	}
}

func TestTradeAsRead(t *testing.T) {
	m, book, d := traded(t)
	r := projection.Reader{Member: m.Buyer.ID}
	a, related, err := book.Agreement(ctx, r, d.Agreement)
	m.Must(err)
	if a.Value.State != contracts.AgreementActive {
		t.Errorf("the agreement is %+v", a.Value)
	}
	for noun, key := range map[string]string{"grant": contracts.KeyGrant(d.Agreement), "usage": contracts.KeyUsage(d.Agreement), "escrow": contracts.KeyEscrow(d.Agreement),
		"settled": contracts.KeySettled(d.Agreement)} {
		state, err := m.Get(key)
		m.Must(err)
		if string(related[noun]) != string(state) {
			t.Errorf("the %s is %s instead of %s", noun, related[noun], state)
		}
	}
	state, err := m.Get(contracts.KeyPeriod(d.Agreement, 1))
	m.Must(err)
	if string(related["periods"]) != "["+string(state)+"]" {
		t.Errorf("the periods are %s", related["periods"])
	}
	c, err := book.Draft(ctx, r, d.Negotiation)
	m.Must(err)
	if c.Digest != a.Value.Digest || !strings.Contains(c.Text, "数据提供合同") || !strings.Contains(c.Text, m.Buyer.App.Name) {
		t.Errorf("the contract that both signed has the digest %s, the draft %s:\n%s", a.Value.Digest, c.Digest, c.Text)
	}
	lines, err := book.Statement(ctx, r, d.Agreement)
	m.Must(err)
	if len(lines) != 1 {
		t.Fatalf("%d settlements", len(lines))
	}
	var v contracts.SettlementValue
	m.Must(canon.Unmarshal(lines[0].Value, &v))
	if v.Calls != 400 || v.BuyerTotal != 335_320 {
		t.Errorf("the settlement is %+v", v)
	}
	cs, err := book.Certificates(ctx, r, d.Agreement)
	m.Must(err)
	if len(cs) != 1 || !contracts.ValidSerial(cs[0].Value.Number) || cs[0].Value.Size != 401 {
		t.Errorf("certificates: %+v", cs)
	}
}

// Every opening that the ledger was given is kept, and is what its commitment says.
func TestOpeningsAreKept(t *testing.T) {
	m, book, d := traded(t)
	kept := map[contracts.Hash]bool{}
	m.Must(book.Openings.All(ctx, func(k contracts.KeptOpening) error {
		kept[k.Commitment] = true
		if k.Opening.Commitment(k.Tag) != k.Commitment {
			t.Errorf("an opening of %s doesn't open %s", k.Tag, k.Commitment)
		}
		for _, id := range k.Audience {
			if id != m.Buyer.ID && id != m.Provider.ID && id != m.Custodian.ID {
				t.Errorf("an opening of %s is for %s", k.Tag, id)
			}
		}
		return nil
	}))
	e, err := contracts.Read[contracts.Escrow](func() []byte { b, err := m.Get(contracts.KeyEscrow(d.Agreement)); m.Must(err); return b }())
	m.Must(err)
	s, err := contracts.Read[contracts.Settlement](func() []byte { b, err := m.Get(contracts.KeySettlement(d.Agreement, 1)); m.Must(err); return b }())
	m.Must(err)
	for name, c := range map[string]contracts.Hash{"terms": d.Offer.Terms, "escrow": e.Balance, "settlement": s.Value} {
		if !kept[c] {
			t.Errorf("the opening of the %s is not kept", name)
		}
	}
}
