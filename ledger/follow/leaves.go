package follow

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/ledger/publish"
)

// bundleLeaves is how many leaf hashes stand under one key.
const bundleLeaves = 256

func bundleKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// addLeaves keeps the hashes of leaves from position begin on. A file that was begun by a program that kept none has no
// place for them, and stays without.
func addLeaves(b *bolt.Bucket, begin uint64, leaves [][]byte) error {
	for len(leaves) > 0 {
		key := bundleKey(begin / bundleLeaves)
		at := begin % bundleLeaves
		hashes := bytes.Clone(b.Get(key))
		if uint64(len(hashes)) != 32*at {
			return nil
		}
		n := min(uint64(len(leaves)), bundleLeaves-at)
		for _, l := range leaves[:n] {
			hashes = append(hashes, publish.LeafHash(l)...)
		}
		if err := b.Put(key, hashes); err != nil {
			return err
		}
		begin, leaves = begin+n, leaves[n:]
	}
	return nil
}

// root is the root of the tree of the first size leaves.
func (s *store) root(size uint64) (root [32]byte, err error) {
	r := publish.Factory.NewEmptyRange(0)
	err = s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLeaves)
		for n := uint64(0); r.End() < size; n++ {
			hashes := b.Get(bundleKey(n))
			want := min(bundleLeaves, size-r.End())
			if uint64(len(hashes)) < 32*want {
				return fmt.Errorf("only the first %d leaves are kept", r.End())
			}
			for i := range want {
				if err := r.Append(bytes.Clone(hashes[32*i:32*i+32]), nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return root, fmt.Errorf("couldn't compute the root of %d followed entries: %w", size, err)
	}
	return rootOf(r), nil
}
