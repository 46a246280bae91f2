package ledger

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/bund-exchange/bund/contracts"
)

// Promise is the operator's word that an entry stands at a position. One signature covers a batch: it is over the
// RFC 6962 root of the batch's {position, hash, time}, and Path leads from this one to that root. An operator who drops
// or changes the entry later is convicted by it. A repeated command is promised the same position, hash and time, in
// another batch.
type Promise struct {
	Position uint64
	Hash     [32]byte         // of the entry, see Hash
	Time     contracts.Millis // of the entry
	Index    uint64           // among the promises signed together
	Size     uint64           // of the batch; 0 on a ledger that signs no promises
	Path     [][32]byte       // from the leaf up
	Sig      []byte           // ed25519
}

const (
	promiseVersion = 1
	maxPromisePath = 32
)

func (p *Promise) leaf() []byte {
	b := append(make([]byte, 0, 80), "bund/promise/leaf/v1\x00"...)
	b = binary.BigEndian.AppendUint64(b, p.Position)
	b = append(b, p.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Time))
	return rfc6962.DefaultHasher.HashLeaf(b)
}

func promisedBytes(ledgerID string, size uint64, root []byte) []byte {
	b := append(make([]byte, 0, 80+len(ledgerID)), "bund/promise/v1\x00"...)
	b = putBytes(b, []byte(ledgerID))
	b = binary.BigEndian.AppendUint64(b, size)
	return append(b, root...)
}

// SignPromises completes Position, Hash and Time of one batch's promises with one signature.
func SignPromises(key ed25519.PrivateKey, ledgerID string, batch []*Promise) {
	if len(batch) == 0 {
		return
	}
	level := make([][]byte, len(batch))
	for i, p := range batch {
		p.Index, p.Size, p.Path = uint64(i), uint64(len(batch)), nil
		level[i] = p.leaf()
	}
	// A node without a sibling moves up as it is: the tree is RFC 6962's.
	for shift := 0; len(level) > 1; shift++ {
		for _, p := range batch {
			if s := (p.Index >> shift) ^ 1; s < uint64(len(level)) {
				p.Path = append(p.Path, [32]byte(level[s]))
			}
		}
		up := make([][]byte, 0, (len(level)+1)/2)
		for i := 0; i+1 < len(level); i += 2 {
			up = append(up, rfc6962.DefaultHasher.HashChildren(level[i], level[i+1]))
		}
		if len(level)%2 == 1 {
			up = append(up, level[len(level)-1])
		}
		level = up
	}
	sig := ed25519.Sign(key, promisedBytes(ledgerID, uint64(len(batch)), level[0]))
	for _, p := range batch {
		p.Sig = sig
	}
}

// Verify checks the promise against the key that the ledger's operator signs with.
func (p *Promise) Verify(operator ed25519.PublicKey, ledgerID string) error {
	if len(operator) != ed25519.PublicKeySize {
		return errors.New("promise: the operator's key is malformed")
	}
	path := make([][]byte, len(p.Path))
	for i := range p.Path {
		path[i] = p.Path[i][:]
	}
	root, err := proof.RootFromInclusionProof(rfc6962.DefaultHasher, p.Index, p.Size, p.leaf(), path)
	if err != nil {
		return fmt.Errorf("promise: path doesn't fit: %w", err)
	}
	if !ed25519.Verify(operator, promisedBytes(ledgerID, p.Size, root), p.Sig) {
		return errors.New("promise: the signature doesn't verify")
	}
	return nil
}

// Kept reports whether the encoded entry is the one that was promised.
func (p *Promise) Kept(encoded []byte) error {
	e, err := DecodeEntry(encoded)
	if err != nil {
		return err
	}
	if h := Hash(encoded); e.Position != p.Position || e.Time != p.Time || !bytes.Equal(h[:], p.Hash[:]) {
		return fmt.Errorf("promise: another entry stands at %d", p.Position)
	}
	return nil
}

// Encode writes the one encoding of p.
func (p *Promise) Encode() []byte {
	b := []byte{promiseVersion}
	b = binary.BigEndian.AppendUint64(b, p.Position)
	b = append(b, p.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Time))
	b = binary.BigEndian.AppendUint64(b, p.Index)
	b = binary.BigEndian.AppendUint64(b, p.Size)
	b = putCount(b, len(p.Path))
	for _, h := range p.Path {
		b = append(b, h[:]...)
	}
	return putBytes(b, p.Sig)
}

// DecodePromise accepts only bytes that Encode writes.
func DecodePromise(b []byte) (*Promise, error) {
	r := reader{b: b}
	if v := r.byte("version"); r.err == nil && v != promiseVersion {
		return nil, fmt.Errorf("promise: version %d is unknown", v)
	}
	p := &Promise{Position: r.u64("position")}
	copy(p.Hash[:], r.take(32, "hash"))
	p.Time = contracts.Millis(r.u64("time"))
	p.Index = r.u64("index")
	p.Size = r.u64("size")
	n := r.count("path")
	if n > maxPromisePath {
		return nil, fmt.Errorf("promise: a path of %d hashes", n)
	}
	for range n {
		if h := r.take(32, "path"); h != nil {
			p.Path = append(p.Path, [32]byte(h))
		}
	}
	p.Sig = r.bytes("signature")
	if r.err == nil && len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	if r.err != nil {
		return nil, fmt.Errorf("promise: %w", r.err)
	}
	return p, nil
}
