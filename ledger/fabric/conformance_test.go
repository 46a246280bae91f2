package fabric_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

var conformance atomic.Int64

func TestConformance(t *testing.T) {
	running(t)
	ledgertest.Run(t, func(t *testing.T) *ledgertest.Harness {
		t.Parallel() // it mostly waits for blocks
		cfg := channel(t, fmt.Sprintf("bund.test/conformance%d", conformance.Add(1)))
		l := open(t, cfg)
		return &ledgertest.Harness{
			ID: cfg.Network.Ledger, Ledger: l,
			StateHash: func() (uint64, [32]byte, error) { return l.StateHash() },
			Reopen: func() ledger.Ledger {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = open(t, cfg)
				return l
			},
		}
	})
}
