// Command projectionbench measures a rebuild of the projection: 100,000 entries of a busy market, with the tables of
// every capability. It starts a PostgreSQL of its own unless DATABASE_URL names an empty database.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/trading"
)

func main() {
	entries := flag.Int("entries", 100_000, "on the ledger")
	flag.Parse()
	if err := run(context.Background(), *entries); err != nil {
		fmt.Fprintln(os.Stderr, "projectionbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, entries int) error {
	dir, err := os.MkdirTemp("", "projectionbench")
	if err != nil {
		return fmt.Errorf("couldn't make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := pg.Open(ctx, pg.Config{URL: os.Getenv("DATABASE_URL"), Dir: filepath.Join(dir, "pg"), Log: quiet})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := pg.Migrate(ctx, db.DB, quiet); err != nil {
		return err
	}
	began := time.Now()
	tape, err := record(entries)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d entries of %d kinds in %.0f s, %d cores\n", len(tape.encoded), len(tape.kinds), time.Since(began).Seconds(), runtime.NumCPU())
	p, err := projection.New(db.DB, tape, catalog.Schema(), trading.Schema())
	if err != nil {
		return err
	}
	began = time.Now()
	if err := p.Rebuild(ctx); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	if got := p.Projected(); got != uint64(len(tape.encoded)) {
		return fmt.Errorf("%d entries were projected", got)
	}
	fmt.Printf("figure projection.rebuild_s %.2f s\nfigure projection.entries_per_s %.0f 1/s\n", took, float64(len(tape.encoded))/took)
	return nil
}

// tape is a ledger in memory, read as a real one is: decoded from its bytes each time.
type tape struct {
	encoded [][]byte
	kinds   map[string]bool
}

const ledgerID = "bund.bench/projection"

// record makes entries by the rules until there are enough: trades of one product, each from negotiation to settlement
// with consents and interim reports, as a market in business has them.
func record(n int) (*tape, error) {
	t := &tape{kinds: map[string]bool{}}
	pure := contractstest.NewPure(ledgerID)
	m := contractstest.NewMarket(ledgerID, pure, 1)
	if err := m.Begin(); err != nil {
		return nil, err
	}
	auth, err := m.Authorize()
	if err != nil {
		return nil, err
	}
	var l *contractstest.Listing
	for i := 0; len(pure.Applied) < n; i++ {
		if i%100 == 0 { // each time a further product
			f := m.Facts(auth)
			f.Title = fmt.Sprintf("纳税经营指标 %d", i)
			if l, err = m.List(f); err != nil {
				return nil, fmt.Errorf("couldn't list: %w", err)
			}
		}
		if err := trade(m, l); err != nil {
			return nil, fmt.Errorf("couldn't trade: %w", err)
		}
	}
	var prev [32]byte
	for i, a := range pure.Applied[:n] {
		b := ledger.NewEntry(uint64(i), prev, a.Time, a.Submission, a.Result).Encode()
		prev = ledger.Hash(b)
		t.encoded = append(t.encoded, b)
		t.kinds[a.Result.Outcome.Kind] = true
	}
	return t, nil
}

func trade(m *contractstest.Market, l *contractstest.Listing) error {
	d, err := m.Agree(l, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	if err != nil {
		return err
	}
	if err := errors.Join(m.Deposit(d, 1_000_000), m.Activate(d)); err != nil {
		return err
	}
	for i := range 20 {
		if _, _, err := m.Consent(l, contracts.SyntheticCreditCode(uint32(i)), policy.PreLoan); err != nil {
			return err
		}
	}
	totals := func(calls int64) contracts.Totals {
		return contracts.Totals{Calls: calls, Units: calls, Micro: contracts.MicroYuan(calls) * 800_000}
	}
	for i := range int64(10) {
		if err := m.Report(d, 1, false, 10*(i+1), totals(10*(i+1))); err != nil {
			return err
		}
	}
	if err := m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine); err != nil {
		return err
	}
	if err := m.Report(d, 1, true, 101, totals(100)); err != nil {
		return err
	}
	accept := contracts.AcceptanceRecord{Agreement: d.Agreement, Period: 1, Report: contracts.HashOf("bench/acceptance")}
	if err := m.Do(m.Buyer.ID, "acceptance.record", accept, nil, m.Buyer.Two()...); err != nil {
		return err
	}
	return m.Settle(d, 1, 308_000+3_080)
}

func (t *tape) Entries(_ context.Context, from uint64, limit int) (out []*ledger.Stored, err error) {
	for i := from; i < uint64(len(t.encoded)) && len(out) < limit; i++ {
		e, err := ledger.DecodeEntry(t.encoded[i])
		if err != nil {
			return nil, err
		}
		out = append(out, &ledger.Stored{Entry: e, Encoded: t.encoded[i], Hash: ledger.Hash(t.encoded[i])})
	}
	return out, nil
}

func (t *tape) Height(context.Context) (uint64, error) { return uint64(len(t.encoded)), nil }

func (t *tape) Wait(context.Context, uint64) error {
	return errors.New("nothing is added to a tape")
}
