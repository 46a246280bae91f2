package lookup

import (
	"encoding/hex"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/bund-exchange/bund/contracts"
)

// The tree's leaves are the head and then the records, as they stand in the table.
var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

func leafHash(leaf []byte) []byte { return rfc6962.DefaultHasher.HashLeaf(leaf) }

func rootHash(root []byte) contracts.Hash { return contracts.Hash(hex.EncodeToString(root)) }

// keptLevel is the lowest level of nodes that a table keeps in memory: 64 bytes for each 256 records. Those below are
// hashed again from the records.
const keptLevel = 8

// tree grows leaf by leaf.
type tree struct {
	all  *compact.Range
	kept [][][]byte // nodes of perfect subtrees, by level above keptLevel and index; nil when none are kept
}

func newTree(keep bool) *tree {
	t := &tree{all: ranges.NewEmptyRange(0)}
	if keep {
		t.kept = [][][]byte{}
	}
	return t
}

func (t *tree) add(leaf []byte) {
	visit := compact.VisitFn(nil)
	if t.kept != nil {
		visit = t.keep
	}
	if err := t.all.Append(leafHash(leaf), visit); err != nil {
		panic(err) // ranges of one tree, in order
	}
}

// keep notes the nodes that a leaf completed. Those of one level come in their order.
func (t *tree) keep(id compact.NodeID, hash []byte) {
	if id.Level < keptLevel {
		return
	}
	at := int(id.Level - keptLevel)
	for len(t.kept) <= at {
		t.kept = append(t.kept, nil)
	}
	t.kept[at] = append(t.kept[at], hash)
}

func (t *tree) root() []byte {
	r, err := t.all.GetRootHash(nil)
	if err != nil {
		panic(err) // it begins at 0
	}
	return r
}
