package contracts_test

import (
	"errors"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
)

// without is a State from which a key was taken.
type without struct {
	contracts.State
	key string
}

func (w without) Get(key string) ([]byte, error) {
	if key == w.key {
		return nil, nil
	}
	return w.State.Get(key)
}

// A state that lost its rulebook is no market's: the rules fail over it, and neither refuse nor crash.
func TestStateWithoutRulebook(t *testing.T) {
	pure := contractstest.NewPure("bund.test/1")
	m := contractstest.NewMarket("bund.test/1", pure, 1)
	if err := m.Begin(); err != nil {
		t.Fatal(err)
	}
	last := pure.Applied[len(pure.Applied)-1]
	cmd, err := contracts.Decode(last.Submission)
	if err != nil {
		t.Fatal(err)
	}
	forged := without{without{pure.State, "rulebook"}, contracts.KeyCommand(cmd.ID)}
	for name, ask := range map[string]func() error{
		"Apply": func() error {
			_, err := contracts.Apply(forged, contracts.Env{Ledger: "bund.test/1", Now: last.Time}, cmd)
			return err
		},
		"MayUse": func() error {
			_, _, err := contracts.MayUse(forged, last.Time, contracts.Use{Peer: m.Buyer.ID})
			return err
		},
	} {
		if r := new(contracts.Refusal); ask() == nil || errors.As(ask(), &r) {
			t.Errorf("%s over a state without a rulebook: %v, want a failure", name, ask())
		}
	}
}
