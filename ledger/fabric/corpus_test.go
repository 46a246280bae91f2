package fabric_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/ledger/fabric"
)

// corpusLedger lets the rule corpus play on a ledger. Its clock is the machine's, and it tells no positions beforehand.
type corpusLedger struct{ *fabric.Ledger }

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

func (corpusLedger) Positionless() {}

// TestCorpus plays the rule corpus: the same answers and the same state as the rules in memory.
func TestCorpus(t *testing.T) {
	running(t)
	contractstest.RunCorpus(t, "../../contracts/testdata", func(t *testing.T, id string) contractstest.Executor {
		t.Parallel() // a script mostly waits for blocks
		return corpusLedger{open(t, channel(t, id))}
	})
}
