package blockaudit

import (
	"cmp"
	"slices"

	"github.com/hyperledger/fabric-protos-go/ledger/rwset/kvrwset"
)

// version is where a key was written last: block, and transaction within it.
type version struct{ block, tx uint64 }

func versionOf(v *kvrwset.Version) *version {
	if v == nil {
		return nil
	}
	return &version{v.BlockNum, v.TxNum}
}

func same(a, b *version) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// place is a key of a namespace; of private data, the hash of a key of a collection.
type place struct{ namespace, collection, key string }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.namespace, q.namespace), cmp.Compare(p.collection, q.collection), cmp.Compare(p.key, q.key))
}

// state is what the blocks so far have written: of every key its version, of lifecycle's keys also the value.
type state struct {
	versions map[place]version
	values   map[place][]byte
}

func newState() *state { return &state{map[place]version{}, map[place][]byte{}} }

func (s *state) version(p place) *version {
	if v, ok := s.versions[p]; ok {
		return &v
	}
	return nil
}

// write is one change of a transaction that became valid; a nil value deletes.
type write struct {
	value []byte
	at    version
}

// updates are the changes of a block, the last one of each key.
type updates map[place]write

// apply makes a block's changes those of the state.
func (s *state) apply(u updates) {
	for p, w := range u {
		switch {
		case w.value == nil:
			delete(s.versions, p)
			delete(s.values, p)
		default:
			s.versions[p] = w.at
			if p.namespace == lifecycleNamespace && p.collection == "" {
				s.values[p] = w.value
			}
		}
	}
}

// find gives the keys of a range that are there after u, in order. An empty end has no bound.
func (s *state) find(u updates, namespace, start, end string) (found []place) {
	in := func(p place) bool {
		return p.namespace == namespace && p.collection == "" && p.key >= start && (end == "" || p.key < end)
	}
	for p := range s.versions {
		if _, changed := u[p]; !changed && in(p) {
			found = append(found, p)
		}
	}
	for p, w := range u {
		if w.value != nil && in(p) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, place.compare)
	return found
}
