package fabric

import (
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

func TestOver(t *testing.T) {
	s, err := openStore(filepath.Join(t.TempDir(), "entries.db"), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var m mark
	const deadline = contracts.Millis(1_800_000_000_000)
	for i, x := range []struct {
		begins contracts.Millis // of another epoch
		over   bool
	}{
		{deadline - 1, false},
		{deadline + 1, false},
		{deadline + skewsMillis, false}, // its clock may be behind
		{deadline + skewsMillis + 1, false},
		{deadline + skewsMillis + 2, true}, // and this kills what named the last one before
	} {
		d := &derived{Derived: &blocks.Derived{Number: uint64(i), Epochs: []blocks.Epoch{{N: uint64(i + 1), Time: x.begins}}}}
		if m, _, err = s.take(m, []*derived{d}); err != nil {
			t.Fatal(err)
		}
		err := s.db.View(func(tx *bolt.Tx) error {
			if over := overAt(tx, deadline); over != x.over {
				t.Errorf("epoch %d began at %+d: over %v", i+1, int64(x.begins-deadline), over)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
