package meter

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Signed is a statement about a log at one size, with a signature whose tag says what is said: a Head (TagHead, the
// provider's), an acknowledgement (TagAck, the consumer's), or half of a usage report.
type Signed struct {
	contracts.Statement
	Sig [64]byte
}

// SignedSize is the length of every encoded Signed.
const SignedSize = 16 + 8 + 8 + 32 + 24 + 64

func sign(s contracts.Statement, tag string, key ed25519.PrivateKey) Signed {
	return Signed{s, [64]byte(ed25519.Sign(key, s.SignedBytes(tag)))}
}

// Verify reports whether k signed this statement under tag.
func (s *Signed) Verify(tag string, k contracts.PublicKey) bool {
	return k.Verify(s.SignedBytes(tag), s.Sig[:])
}

// Encode gives the one encoding: the statement's fields as signed, without the tag, then the signature.
func (s *Signed) Encode() []byte { return s.append(make([]byte, 0, SignedSize)) }

func (s *Signed) append(b []byte) []byte {
	id, root := s.Agreement.Bytes(), s.Root.Bytes()
	b = append(b, id[:]...)
	b = be(b, s.Epoch, s.Size)
	b = append(b, root[:]...)
	b = be(b, s.Totals.Calls, s.Totals.Units, int64(s.Totals.Micro))
	return append(b, s.Sig[:]...)
}

// DecodeSigned reads an encoded Signed. It doesn't verify the signature.
func DecodeSigned(b []byte) (s Signed, err error) {
	if len(b) != SignedSize {
		return s, fmt.Errorf("couldn't decode statement: want %d bytes, got %d", SignedSize, len(b))
	}
	c := cursor(b)
	var id [16]byte
	var root Digest
	c.bytes(id[:])
	s.Epoch, s.Size = c.int(), c.int()
	c.bytes(root[:])
	s.Totals = contracts.Totals{Calls: c.int(), Units: c.int(), Micro: contracts.MicroYuan(c.int())}
	c.bytes(s.Sig[:])
	if s.Epoch < 1 || s.Size < 0 || s.Totals.Check() != nil {
		return Signed{}, errors.New("couldn't decode statement: epoch, size or totals out of range")
	}
	s.Agreement, s.Root = contracts.ID(hex.EncodeToString(id[:])), contracts.Hash(hex.EncodeToString(root[:]))
	return s, nil
}

// Receipt travels with an answer in the Bund-Receipt header: the answer's leaf and a signed head that covers it.
type Receipt struct {
	Leaf []byte // encoded
	Head []byte // encoded Signed under TagHead
}

const receiptSize = LeafSize + SignedSize

// receiptChars is the length of the header's value.
const receiptChars = (receiptSize*8 + 5) / 6

var strictStd = base64.RawStdEncoding.Strict()

// String is the header's value.
func (r Receipt) String() string {
	var b [receiptSize]byte
	copy(b[copy(b[:], r.Leaf):], r.Head)
	var text [receiptChars]byte
	base64.RawStdEncoding.Encode(text[:], b[:])
	return string(text[:])
}

// ParseReceipt reads the header's value. Leaf and head are of the right length, and not yet decoded.
func ParseReceipt(s string) (Receipt, error) {
	b, err := parseFixed(s, receiptSize)
	if err != nil {
		return Receipt{}, fmt.Errorf("couldn't read receipt: %w", err)
	}
	return Receipt{Leaf: b[:LeafSize:LeafSize], Head: b[LeafSize:]}, nil
}

func parseFixed(s string, n int) ([]byte, error) {
	if len(s) != base64.RawStdEncoding.EncodedLen(n) {
		return nil, fmt.Errorf("want base64 of %d bytes", n)
	}
	b, err := strictStd.DecodeString(s)
	if err != nil || len(b) != n { // the decoder skips line ends, the length shows it
		return nil, fmt.Errorf("want base64 of %d bytes", n)
	}
	return b, nil
}

// Report is a usage report: both signatures over one statement. It needs no leaf; it bills any number of calls.
type Report struct {
	contracts.Statement
	Close       int64    // number of the period; 0 if the report is at no CLOSE
	ConsumerSig [64]byte // under TagAck
	ProviderSig [64]byte // under TagReport
}

// Verify reports whether both keys signed.
func (r *Report) Verify(consumer, provider contracts.PublicKey) bool {
	return consumer.Verify(r.SignedBytes(contracts.TagAck), r.ConsumerSig[:]) &&
		provider.Verify(r.SignedBytes(contracts.TagReport), r.ProviderSig[:])
}
