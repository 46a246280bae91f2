// Package projectiontest gives tests a whole small market: actors on a real embedded ledger, projected into a real
// PostgreSQL.
package projectiontest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/embedded"
	"github.com/bund-exchange/bund/server/pg/pgtest"
	"github.com/bund-exchange/bund/server/projection"
)

// LedgerID is the id of every test market's ledger.
const LedgerID = "bund.test/projection"

// Market is a market under test. Its actors submit straight to the ledger; Project brings proj up to date.
type Market struct {
	*contractstest.Market
	DB        *sqlx.DB
	Ledger    *embedded.Ledger
	Projector *projection.Projector

	t testing.TB
}

// Open opens an empty market. Openings, when given, keeps private values as marketd does; else memory does.
func Open(t testing.TB, openings func(*sqlx.DB) ledger.Openings, schemas ...projection.Schema) *Market {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	m := &Market{DB: pgtest.New(t), t: t}
	var keep ledger.Openings = &memory{}
	if openings != nil {
		keep = openings(m.DB)
	}
	var err error
	m.Ledger, err = embedded.Open(embedded.Config{Dir: t.TempDir(), LedgerID: LedgerID, Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Openings: keep, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Ledger.Close() })
	m.Projector, err = projection.New(m.DB, m.Ledger, schemas...)
	if err != nil {
		t.Fatal(err)
	}
	m.Projector.Log = quiet
	m.Market = contractstest.NewMarket(LedgerID, m, 7)
	return m
}

// Begin opens a market with its cast admitted.
func Begin(t testing.TB, openings func(*sqlx.DB) ledger.Openings, schemas ...projection.Schema) *Market {
	t.Helper()
	m := Open(t, openings, schemas...)
	m.Must(m.Market.Begin())
	return m
}

// Must ends the test when something that the market needs has failed.
func (m *Market) Must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// Submit implements contractstest.Executor.
func (m *Market) Submit(ctx context.Context, sub contracts.Submission) error {
	_, err := m.Ledger.Submit(ctx, sub)
	var r *contracts.Refusal
	if errors.As(err, &r) {
		return r
	}
	return err
}

// Get reads the ledger's state.
func (m *Market) Get(key string) (v []byte, err error) {
	err = m.Ledger.View(func(_ uint64, st contracts.State) error {
		v, err = st.Get(key)
		return err
	})
	return v, err
}

// Project brings proj up to date.
func (m *Market) Project() {
	m.t.Helper()
	ctx := context.Background()
	m.Must(m.Projector.Prepare(ctx))
	m.Must(m.Projector.RunOnce(ctx))
}

// Height is the number of entries.
func (m *Market) Height() uint64 {
	h, err := m.Ledger.Height(context.Background())
	m.Must(err)
	return h
}

// Listed lists the test product on an authorisation of its own.
func (m *Market) Listed() *contractstest.Listing {
	m.t.Helper()
	auth, err := m.Authorize()
	m.Must(err)
	l, err := m.List(m.Facts(auth))
	m.Must(err)
	return l
}

// memory keeps openings for tests that don't read them.
type memory struct {
	mu   sync.Mutex
	kept map[contracts.Hash]ledger.Opening
}

func (k *memory) Put(_ context.Context, os []ledger.Opening) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept == nil {
		k.kept = map[contracts.Hash]ledger.Opening{}
	}
	for _, o := range os {
		k.kept[o.Commitment] = o
	}
	return nil
}
