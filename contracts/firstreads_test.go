package contracts_test

import (
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
)

type noting struct {
	contracts.State
	read map[string]bool
}

func (n noting) Get(key string) ([]byte, error) {
	n.read[key] = true
	return n.State.Get(key)
}

// TestFirstReads: what a State fetches at first, every accepted command reads.
func TestFirstReads(t *testing.T) {
	for _, file := range []string{"tour", "settlement"} {
		before := contractstest.NewState()
		for _, a := range play(t, file).Oracle.Applied {
			cmd, err := contracts.Decode(a.Submission)
			if err != nil {
				t.Fatal(err)
			}
			st := noting{before, map[string]bool{}}
			if _, err := contracts.EntryTime(st, cmd, 0, a.Time.Add(1<<30)); err != nil {
				t.Fatal(err)
			}
			if _, err := contracts.Apply(st, contracts.Env{Ledger: "bund.test/" + file, Now: a.Time, Position: -1}, cmd); err != nil {
				t.Fatal(err)
			}
			for _, k := range cmd.FirstReads() {
				if !st.read[k] {
					t.Errorf("%s doesn't read %s", cmd.Kind, k)
				}
			}
			if err := before.Merge(a.Result.Writes); err != nil {
				t.Fatal(err)
			}
		}
	}
}
