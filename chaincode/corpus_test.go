package main

import (
	"testing"

	"github.com/bund-exchange/bund/contracts/contractstest"
)

// TestCorpus plays the rule corpus on both definitions: the same answers and the same state as the rules in memory.
func TestCorpus(t *testing.T) {
	c := contractstest.RunCorpus(t, "../contracts/testdata", func(t *testing.T, id string) contractstest.Executor {
		x := newExecutor(newChannel(t, id))
		t.Cleanup(func() {
			if x.trips > 16 {
				t.Errorf("a command takes %d messages between peer and chaincode", x.trips)
			}
			if x.ch.logs.Len() > 0 {
				t.Errorf("the log says %s", x.ch.logs)
			}
		})
		return x
	})
	if len(c.Accepted) < 60 {
		t.Errorf("only %d kinds were accepted", len(c.Accepted))
	}
}
