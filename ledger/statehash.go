package ledger

import (
	"crypto/sha256"
	"hash"
	"strconv"
)

// StateHash computes the hash of a ledger's state: SHA-256 over a tag and, for every key in ascending order,
// <length>:<key><length>:<value> with decimal lengths. It is equal on all ledgers that accepted the same commands at the same times.
type StateHash struct {
	h   hash.Hash
	buf *[]byte
}

// NewStateHash begins with no keys.
func NewStateHash() StateHash {
	h := sha256.New()
	h.Write([]byte("bund/state/v1\x00"))
	return StateHash{h, new([]byte)}
}

// Add takes the next key, which must be above all before it.
func (s StateHash) Add(key string, value []byte) {
	b := append(strconv.AppendInt((*s.buf)[:0], int64(len(key)), 10), ':')
	b = append(b, key...)
	b = append(strconv.AppendInt(b, int64(len(value)), 10), ':')
	b = append(b, value...)
	s.h.Write(b)
	*s.buf = b
}

// Sum gives the hash of what was added.
func (s StateHash) Sum() [32]byte { return [32]byte(s.h.Sum(nil)) }
