package fabric_test

import (
	"testing"

	"github.com/bund-exchange/bund/ledger/fabric"
	"github.com/bund-exchange/bund/ledger/ledgertest"
)

func TestFirst(t *testing.T) {
	n := running(t)
	p := n.Profile()
	l := open(t, fabric.Config{Network: p, Dir: t.TempDir(), Openings: forgetful{}})
	defer l.Close()
	m := ledgertest.NewMarket(p.Ledger, l, 1)
	if err := m.Open(); err != nil {
		t.Fatal(err)
	}
	if err := m.Trade(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", l.Health())
}
