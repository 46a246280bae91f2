package projection_test

import (
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/server/projection"
)

type contractsRaw = canon.Raw

// prefixed keeps several nouns in one table.
type prefixed struct {
	noun string
	projection.Table[contractsRaw]
}

func (p prefixed) Fold() projection.Fold { return prefixedFold{p.noun + "/", p.Table.Fold()} }

type prefixedFold struct {
	prefix string
	projection.Fold
}

func (f prefixedFold) Add(w projection.Write) error {
	w.ID = f.prefix + w.ID
	return f.Fold.Add(w)
}
