package blockaudit

import (
	"fmt"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go/peer"
)

// readWriteSet is what a transaction read and wrote in one namespace.
type readWriteSet struct {
	namespace   string
	keys        *kvrwset.KVRWSet
	collections []collectionSet
}

type collectionSet struct {
	name   string
	hashed *kvrwset.HashedRWSet
}

func parseReadWriteSets(b []byte) ([]readWriteSet, error) {
	var all rwset.TxReadWriteSet
	if err := proto.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("the read-write set is malformed: %w", err)
	}
	var out []readWriteSet
	for _, ns := range all.NsRwset {
		x := readWriteSet{namespace: ns.GetNamespace(), keys: &kvrwset.KVRWSet{}}
		if err := proto.Unmarshal(ns.GetRwset(), x.keys); err != nil {
			return nil, fmt.Errorf("the read-write set of %s is malformed: %w", clip(x.namespace), err)
		}
		for _, c := range ns.GetCollectionHashedRwset() {
			y := collectionSet{name: c.GetCollectionName(), hashed: &kvrwset.HashedRWSet{}}
			if err := proto.Unmarshal(c.GetHashedRwset(), y.hashed); err != nil {
				return nil, fmt.Errorf("the read-write set of the collection %s is malformed: %w", clip(y.name), err)
			}
			x.collections = append(x.collections, y)
		}
		out = append(out, x)
	}
	return out, nil
}

// writes reports whether anything is written.
func (x *readWriteSet) writes() bool {
	if len(x.keys.Writes)+len(x.keys.MetadataWrites) > 0 {
		return true
	}
	for _, c := range x.collections {
		if len(c.hashed.HashedWrites)+len(c.hashed.MetadataWrites) > 0 {
			return true
		}
	}
	return false
}

// metadata reports whether metadata of keys is written, such as an endorsement policy of a key's own.
func (x *readWriteSet) metadata() bool {
	if len(x.keys.MetadataWrites) > 0 {
		return true
	}
	for _, c := range x.collections {
		if len(c.hashed.MetadataWrites) > 0 {
			return true
		}
	}
	return false
}

// conflict holds what a transaction read against the state before its block and the changes of valid transactions before
// it in the block. ok is false where that can't be told.
func (s *state) conflict(sets []readWriteSet, u updates) (flag peer.TxValidationCode, ok bool) {
	current := func(p place, read *kvrwset.Version) bool {
		if _, changed := u[p]; changed {
			return false // whatever was read, it was before the block
		}
		return same(s.version(p), versionOf(read))
	}
	for _, x := range sets {
		for _, r := range x.keys.Reads {
			if !current(place{x.namespace, "", r.GetKey()}, r.GetVersion()) {
				return peer.TxValidationCode_MVCC_READ_CONFLICT, true
			}
		}
		for _, q := range x.keys.RangeQueriesInfo {
			if q.GetReadsMerkleHashes() != nil {
				return 0, false
			}
			if !s.unchanged(x.namespace, q, u) {
				return peer.TxValidationCode_PHANTOM_READ_CONFLICT, true
			}
		}
		for _, c := range x.collections {
			for _, r := range c.hashed.HashedReads {
				if !current(place{x.namespace, c.name, string(r.GetKeyHash())}, r.GetVersion()) {
					return peer.TxValidationCode_MVCC_READ_CONFLICT, true
				}
			}
		}
	}
	return peer.TxValidationCode_VALID, true
}

// unchanged runs a range query again.
func (s *state) unchanged(namespace string, q *kvrwset.RangeQueryInfo, u updates) bool {
	now := s.find(u, namespace, q.GetStartKey(), q.GetEndKey())
	if end := (place{namespace, "", q.GetEndKey()}); !q.GetItrExhausted() { // the end is the last key that was read
		w, changed := u[end]
		if changed && w.value != nil || !changed && s.version(end) != nil {
			now = append(now, end)
		}
	}
	reads := q.GetRawReads().GetKvReads()
	if len(reads) != len(now) {
		return false
	}
	for i, r := range reads {
		v := s.version(now[i])
		if w, changed := u[now[i]]; changed {
			v = &w.at
		}
		if r.GetKey() != now[i].key || !same(v, versionOf(r.GetVersion())) {
			return false
		}
	}
	return true
}

// add notes what a valid transaction wrote.
func (u updates) add(sets []readWriteSet, at version) {
	put := func(p place, value []byte, deleted bool) {
		if deleted || len(value) == 0 {
			value = nil
		}
		u[p] = write{value, at}
	}
	for _, x := range sets {
		for _, w := range x.keys.Writes {
			put(place{x.namespace, "", w.GetKey()}, w.GetValue(), w.GetIsDelete())
		}
		for _, c := range x.collections {
			for _, w := range c.hashed.HashedWrites {
				put(place{x.namespace, c.name, string(w.GetKeyHash())}, w.GetValueHash(), w.GetIsDelete() || string(w.GetValueHash()) == emptyHash)
			}
		}
	}
}
