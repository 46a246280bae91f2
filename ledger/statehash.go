package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// StateHash computes the hash of a ledger's state: SHA-256 over a tag and every key and value, each with its length, in
// ascending order of key. It is equal on all ledgers that accepted the same commands at the same times.
type StateHash struct{ h hash.Hash }

// NewStateHash begins with no keys.
func NewStateHash() StateHash {
	h := sha256.New()
	h.Write([]byte("bund/state/v1\x00"))
	return StateHash{h}
}

// Add takes the next key, which must be above all before it.
func (s StateHash) Add(key string, value []byte) {
	var n [8]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(key)))
	binary.BigEndian.PutUint32(n[4:], uint32(len(value)))
	s.h.Write(n[:])
	s.h.Write([]byte(key))
	s.h.Write(value)
}

// Sum gives the hash of what was added.
func (s StateHash) Sum() [32]byte { return [32]byte(s.h.Sum(nil)) }
