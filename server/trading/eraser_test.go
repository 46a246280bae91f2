package trading_test

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/trading"
)

func TestErasuresAreCarriedOut(t *testing.T) {
	m, _ := begin(t)
	d, err := m.Agree(m.Listed(), contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	m.Must(err)
	openings := trading.Openings{DB: m.DB}
	eraser := &trading.Eraser{DB: m.DB, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	reads := func(who string, r projection.Reader, want bool) {
		t.Helper()
		_, err := openings.Get(ctx, r, d.Offer.Terms)
		if (err == nil) != want || err != nil && !errors.Is(err, projection.ErrNotFound) {
			t.Errorf("%s reads the terms: %v", who, err)
		}
	}
	buyer, provider := projection.Reader{Member: m.Buyer.ID}, projection.Reader{Member: m.Provider.ID}
	erase := func(a *contractstest.Actor, c contracts.Hash) {
		t.Helper()
		m.Must(m.Do(a.ID, "erasure.record", contracts.ErasureRecord{Commitments: []contracts.Hash{c}, Reason: "test"}, nil, a.Maker))
		m.Project()
		m.Must(eraser.RunOnce(ctx))
		m.Must(eraser.RunOnce(ctx))
	}
	reads("the buyer", buyer, true)
	reads("a stranger", projection.Reader{Member: m.Custodian.ID}, false)
	// A party's erasure is of its own copy.
	erase(m.Buyer, d.Offer.Terms)
	reads("the buyer who erased it", buyer, false)
	reads("the provider", provider, true)
	reads("the regulator", projection.Reader{Member: m.Regulator.ID, Supervises: true}, true)
	// The venue's is of this one.
	other, err := m.Agree(m.Listed(), contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	m.Must(err)
	erase(m.Venue, other.Offer.Terms)
	if _, err := openings.Find(ctx, other.Offer.Terms); !errors.Is(err, projection.ErrNotFound) {
		t.Errorf("terms that the venue erased: %v", err)
	}
	// A stranger has none to erase.
	third, err := m.Agree(m.Listed(), contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	m.Must(err)
	err = m.Do(m.Custodian.ID, "erasure.record", contracts.ErasureRecord{Commitments: []contracts.Hash{third.Offer.Terms}, Reason: "test"}, nil, m.Custodian.Maker)
	if r := new(contracts.Refusal); !errors.As(err, &r) || r.Code != "erasure.unknown" {
		t.Errorf("a stranger's erasure: %v", err)
	}
	if k, err := openings.Find(ctx, third.Offer.Terms); err != nil || len(k.Audience) != 2 {
		t.Errorf("terms that a stranger says are erased: %v", err)
	}
}
