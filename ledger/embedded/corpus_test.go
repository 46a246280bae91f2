package embedded_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/embedded"
)

// corpusLedger lets the rule corpus play on a ledger, and set its wall clock.
type corpusLedger struct {
	*embedded.Ledger
	wall *atomic.Int64
}

func (l corpusLedger) Submit(ctx context.Context, sub contracts.Submission) error {
	_, err := l.Ledger.Submit(ctx, sub)
	return err
}

func (l corpusLedger) Get(key string) (value []byte, err error) {
	err = l.View(func(_ uint64, st contracts.State) error {
		v, err := st.Get(key)
		value = bytes.Clone(v)
		return err
	})
	return value, err
}

func (l corpusLedger) SetWall(t contracts.Millis) { l.wall.Store(int64(t)) }

type forgetful struct{}

func (forgetful) Put(context.Context, []ledger.Opening) error { return nil }

// TestCorpus plays the rule corpus: the same answers and the same state as the rules in memory.
func TestCorpus(t *testing.T) {
	contractstest.RunCorpus(t, "../../contracts/testdata", func(t *testing.T, id string) contractstest.Executor {
		wall := &atomic.Int64{}
		wall.Store(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
		l, err := embedded.Open(embedded.Config{Dir: t.TempDir(), LedgerID: id, Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Openings: forgetful{},
			Now: func() time.Time { return time.UnixMilli(wall.Load()) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return corpusLedger{l, wall}
	})
}
