package contracts_test

import (
	"os"
	"testing"

	"github.com/bund-exchange/bund/contracts/contractstest"
)

// TestAuditorOverCorpus lets the auditor, who knows none of the rules, look at every script.
func TestAuditorOverCorpus(t *testing.T) {
	for _, name := range contractstest.Scripts(t, "testdata") {
		t.Run(name, func(t *testing.T) {
			script, err := os.ReadFile("testdata/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			ledger := "bund.test/" + name
			s := contractstest.NewScene(ledger, nil, 1)
			objection := s.Watch(contractstest.NewAuditor(ledger, false))
			if _, err := s.Play(string(script), false); err != nil {
				t.Fatal(err)
			}
			if err := objection(); err != nil {
				t.Error(err)
			}
		})
	}
}
