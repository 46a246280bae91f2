package evidence

import (
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/publish"
)

// Trust is what an auditor knows from elsewhere, out of band.
type Trust struct {
	Ledger  string
	Genesis [32]byte // hash of entry 0
	Policy  publish.Policy
}

// TrustOf reads it from a trust-root file's content.
func TrustOf(t follow.TrustRoot) (Trust, error) {
	p, err := t.Policy()
	return Trust{Ledger: t.Ledger, Genesis: t.Genesis.Bytes(), Policy: p}, err
}
