package publish

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/transparency-dev/merkle/proof"

	"github.com/bund-exchange/bund/ledger"
)

// Proof is an offline-verifiable proof that a leaf is in the log: C2SP tlog-proof, file extension .tlog-proof. Extra is
// not authenticated by the proof; Bund puts the encoded entry there when the holder may read it.
type Proof struct {
	Index      uint64
	Hashes     [][32]byte // from the leaf's sibling up
	Checkpoint []byte     // signed, verbatim
	Extra      []byte     // nil = none
}

const (
	proofHeader = "c2sp.org/tlog-proof@v1"
	maxHashes   = 63
	// MaxProofBytes bounds a proof file: an entry in base64, the hashes, the checkpoint.
	MaxProofBytes = ledger.MaxEntryBytes/3*4 + 4 + maxHashes*45 + maxCheckpointBytes + 128
)

// Marshal writes the proof file.
func (p Proof) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(proofHeader + "\n")
	if len(p.Extra) > 0 {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Extra) + "\n")
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	return b.Bytes()
}

// ParseProof accepts exactly what Marshal writes. It verifies nothing; see Verify.
func ParseProof(b []byte) (Proof, error) {
	var p Proof
	if len(b) > MaxProofBytes {
		return p, fmt.Errorf("proof: %d bytes, limit %d", len(b), MaxProofBytes)
	}
	head, cp, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return p, errors.New("proof: no empty line before the checkpoint")
	}
	if len(cp) == 0 || len(cp) > maxCheckpointBytes {
		return p, errors.New("proof: checkpoint is missing or too long")
	}
	p.Checkpoint = cp
	lines := strings.Split(string(head), "\n")
	if lines[0] != proofHeader {
		return p, fmt.Errorf("proof: first line is not %s", proofHeader)
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		var err error
		text := lines[0][len("extra "):]
		if p.Extra, err = base64.StdEncoding.Strict().DecodeString(text); err != nil || len(p.Extra) == 0 || base64.StdEncoding.EncodeToString(p.Extra) != text {
			return Proof{}, errors.New("proof: extra is not base64")
		}
		lines = lines[1:]
	}
	if len(lines) == 0 {
		return Proof{}, errors.New("proof: index is missing")
	}
	text, ok := strings.CutPrefix(lines[0], "index ")
	if !ok {
		return Proof{}, errors.New("proof: index is missing")
	}
	var err error
	if p.Index, err = parseDecimal(text); err != nil {
		return Proof{}, fmt.Errorf("proof: index: %w", err)
	}
	if len(lines)-1 > maxHashes {
		return Proof{}, fmt.Errorf("proof: more than %d hashes", maxHashes)
	}
	for i, l := range lines[1:] {
		h, err := parseHash(l)
		if err != nil {
			return Proof{}, fmt.Errorf("proof: hash %d: %w", i+1, err)
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// Proven is what a verified proof says: the leaf was in the log at this head.
type Proven struct {
	Head
	SeenAt    time.Time // quorum-th newest cosignature
	Witnessed bool      // a quorum of witnesses has seen the head. Without it only the log's word stands
}

// Verify checks that leaf is at p.Index in the checkpoint's tree, offline. The caller decides what an unwitnessed
// proof is worth.
func (p Proof) Verify(policy Policy, leaf []byte) (Proven, error) {
	h, err := policy.Open(p.Checkpoint)
	if err != nil {
		return Proven{}, err
	}
	hashes := make([][]byte, len(p.Hashes))
	for i := range p.Hashes {
		hashes[i] = p.Hashes[i][:]
	}
	if err := proof.VerifyInclusion(hasher, p.Index, h.Size, hasher.HashLeaf(leaf), hashes, h.Root[:]); err != nil {
		return Proven{}, fmt.Errorf("the leaf isn't at %d of the checkpoint's tree: %w", p.Index, err)
	}
	v := Proven{Head: h}
	v.SeenAt, v.Witnessed = h.FreshAt(policy.Quorum, time.Unix(1<<40, 0))
	return v, nil
}

// VerifyEntry checks an encoded entry: that it is the one at p.Index.
func (p Proof) VerifyEntry(policy Policy, encoded []byte) (*ledger.Entry, Proven, error) {
	e, err := ledger.DecodeEntry(encoded)
	if err != nil {
		return nil, Proven{}, err
	}
	if e.Position != p.Index {
		return nil, Proven{}, fmt.Errorf("entry %d with a proof of %d", e.Position, p.Index)
	}
	v, err := p.Verify(policy, ledger.Leaf(encoded, e))
	return e, v, err
}

// VerifyConsistency checks that the tree of size to extends the tree of size from.
func VerifyConsistency(from, to uint64, hashes [][]byte, fromRoot, toRoot [32]byte) error {
	if from == 0 {
		if len(hashes) > 0 {
			return errors.New("a proof from size 0 is empty")
		}
		return nil
	}
	return proof.VerifyConsistency(hasher, from, to, hashes, fromRoot[:], toRoot[:])
}
