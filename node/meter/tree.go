package meter

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/bund-exchange/bund/contracts"
)

var ranges = &compact.RangeFactory{Hash: hashChildren}

// hashChildren is RFC 6962's SHA-256(1 ‖ left ‖ right), with one allocation where the library has three.
func hashChildren(left, right []byte) []byte {
	var b [1 + 32 + 32]byte
	b[0] = rfc6962.RFC6962NodeHashPrefix
	copy(b[1:], left)
	copy(b[33:], right)
	h := sha256.Sum256(b[:])
	return h[:]
}

// hashLeaf is RFC 6962's leaf hash, SHA-256(0 ‖ leaf).
func hashLeaf(leaf []byte) []byte {
	var b [1 + LeafSize]byte
	copy(b[1:], leaf)
	h := sha256.Sum256(b[:])
	return h[:]
}

func cloneRange(r *compact.Range) *compact.Range {
	return mustRange(r.End(), append([][]byte(nil), r.Hashes()...))
}

// mustRange is for hashes that were counted: NewRange fails only on a wrong number of them.
func mustRange(size uint64, hashes [][]byte) *compact.Range {
	r, err := ranges.NewRange(0, size, hashes)
	if err != nil {
		panic(err)
	}
	return r
}

func extendRange(r *compact.Range, hash []byte) {
	if err := r.Append(hash, nil); err != nil {
		panic(err) // only ranges of different trees can't be joined
	}
}

func rootOf(r *compact.Range) contracts.Hash {
	if r.End() == 0 {
		return contracts.Hash(hex.EncodeToString(rfc6962.DefaultHasher.EmptyRoot()))
	}
	b, err := r.GetRootHash(nil)
	if err != nil {
		panic(err) // the range begins at 0
	}
	return contracts.Hash(hex.EncodeToString(b))
}

// appendRange writes the hashes of r; their number follows from its size, which is stored elsewhere.
func appendRange(b []byte, r *compact.Range) []byte {
	for _, h := range r.Hashes() {
		b = append(b, h...)
	}
	return b
}

func readRange(size int64, b []byte) (*compact.Range, error) {
	if size < 0 || len(b) != bits.OnesCount64(uint64(size))*32 {
		return nil, fmt.Errorf("couldn't read compact range of size %d from %d bytes", size, len(b))
	}
	hs := make([][]byte, 0, len(b)/32)
	for ; len(b) > 0; b = b[32:] {
		hs = append(hs, append([]byte(nil), b[:32]...))
	}
	return ranges.NewRange(0, uint64(size), hs)
}

// prove makes the inclusion proof of leaf seq in the log of size leaves, reading each leaf once, and the log's root.
func prove(seq, size int64, leaf func(int64) ([]byte, error)) (path [][]byte, root contracts.Hash, err error) {
	if seq < 0 || seq >= size {
		return nil, "", fmt.Errorf("couldn't prove leaf %d: the log has %d", seq, size)
	}
	need, err := proof.Inclusion(uint64(seq), uint64(size))
	if err != nil {
		return nil, "", fmt.Errorf("couldn't prove leaf %d: %w", seq, err)
	}
	at := map[compact.NodeID]int{}
	for i, id := range need.IDs {
		at[id] = i
	}
	hs := make([][]byte, len(need.IDs))
	keep := func(id compact.NodeID, h []byte) {
		if i, ok := at[id]; ok {
			hs[i] = h
		}
	}
	r := ranges.NewEmptyRange(0)
	for q := range size {
		raw, err := leaf(q)
		if err != nil {
			return nil, "", fmt.Errorf("couldn't read leaf %d: %w", q, err)
		}
		h := hashLeaf(raw)
		keep(compact.NewNodeID(0, uint64(q)), h)
		if err := r.Append(h, keep); err != nil {
			return nil, "", err
		}
	}
	path, err = need.Rehash(hs, hashChildren)
	return path, rootOf(r), err
}

func verifyInclusion(leaf []byte, seq, size int64, path [][]byte, root contracts.Hash) error {
	if seq < 0 || size <= seq || len(leaf) != LeafSize {
		return errors.New("leaf is not in the log")
	}
	r := root.Bytes()
	return proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(seq), uint64(size), hashLeaf(leaf), path, r[:])
}
