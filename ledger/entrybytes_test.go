package ledger_test

import (
	"testing"

	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger"
)

// TestEntryBytes: the size that endorsers reckon with is that of the entry.
func TestEntryBytes(t *testing.T) {
	s := contractstest.NewScene("bund.test/bytes", nil, 1)
	for _, line := range []string{"market", "authorised A1", "listed P1", "running D1 on=P1", "provider usage.report D1", "closed D1"} {
		if err := s.Run(line); err != nil {
			t.Fatal(err)
		}
	}
	for i, a := range s.Oracle.Applied {
		e := ledger.NewEntry(uint64(i), [32]byte{}, a.Time, a.Submission, a.Result)
		if got, want := proposal.EntryBytes(a.Submission, a.Result), len(e.Encode()); got != want {
			t.Errorf("%s: reckoned %d bytes, it has %d", a.Result.Outcome.Kind, got, want)
		}
	}
}
