package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/embedded"
)

// Ledger is what the market needs of the ledger that it stands on, beyond what every client may ask of one.
type Ledger interface {
	ledger.Ledger

	// View runs f on the state at a height, which is that of the entries that this process knows. f is short and does
	// not call the ledger.
	View(f func(height uint64, st contracts.State) error) error

	// Check says why the ledger takes no commands; nil when it does. Readiness asks it.
	Check(ctx context.Context) error

	// Collectors gives the ledger's metrics.
	Collectors() []prometheus.Collector

	// Close answers what was submitted and releases what the ledger holds.
	Close() error
}

// catchUpSec bounds how long a market on a network waits at its start for entries that are known to be there.
const catchUpSec = 120

// openLedger opens the ledger that the configuration names, with at least so many entries: fewer are an old backup of an
// embedded ledger, and entries that are still on their way to this replica's peer on a network.
func (m *Market) openLedger(ctx context.Context, atLeast uint64) (err error) {
	if m.cfg.Fabric == nil {
		m.ledger, err = m.openEmbedded(atLeast)
	} else {
		m.ledger, err = m.openFabric(ctx)
	}
	if err != nil {
		m.ledger = nil // an interface with a nil pointer in it is not nil
		return fmt.Errorf("couldn't open the ledger: %w", err)
	}
	if atLeast == 0 {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, catchUpSec*time.Second)
	defer cancel()
	if err := m.ledger.Wait(waiting, atLeast-1); err != nil {
		h, herr := m.ledger.Height(ctx)
		return errors.Join(fmt.Errorf("the ledger has %d entries here and %d are known: %w", h, atLeast, err), herr)
	}
	return nil
}

func (m *Market) openEmbedded(atLeast uint64) (Ledger, error) {
	return embedded.Open(embedded.Config{Dir: filepath.Join(m.cfg.Dir, "ledger"), LedgerID: m.cfg.Ledger, Key: m.cfg.promise, AtLeast: atLeast,
		Openings: m.openings, Now: m.now, Log: m.log})
}
