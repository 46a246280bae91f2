package lookup

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/cloudflare/circl/group"

	"github.com/bund-exchange/bund/contracts"
)

const (
	// MaxIDs is how many ids one request takes: with the evaluations it stays below what a metered call carries.
	MaxIDs = 8192
	// ProofIDs is how many elements one proof covers.
	ProofIDs = 256

	requestMagic  = "bund lookup request 1\n"
	responseMagic = "bund lookup response 1\n"
)

// Request is what a bank sends: magic, digest of the commitment (32 bytes), count u32, elements of 32 bytes. It is the
// same whatever ids the elements hide.
type Request struct {
	Commitment [32]byte
	elements   []byte
}

// ParseRequest reads the outer form: how many elements there are, not yet whether they are any. Evaluate decodes them.
func ParseRequest(b []byte) (*Request, error) {
	r := reader{b: b}
	if string(r.take(len(requestMagic))) != requestMagic {
		return nil, refuse(Malformed, "this is no lookup request")
	}
	q := new(Request)
	copy(q.Commitment[:], r.take(len(q.Commitment)))
	n := r.uint(4)
	if !r.short && n > MaxIDs {
		return nil, refuse(TooMany, "a request asks about %d ids at most", MaxIDs)
	}
	q.elements = r.take(int(n) * ElementBytes)
	if r.short || len(r.b) != 0 || n == 0 {
		return nil, refuse(Malformed, "the request has not the length that it states")
	}
	return q, nil
}

// Len is how many ids are asked about.
func (q *Request) Len() int { return len(q.elements) / ElementBytes }

// Element gives an element's encoding.
func (q *Request) Element(i int) []byte { return element(q.elements, i) }

// Bytes is the request's one form.
func (q *Request) Bytes() []byte {
	b := append(make([]byte, 0, len(requestMagic)+36+len(q.elements)), requestMagic...)
	b = append(b, q.Commitment[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(q.Len()))
	return append(b, q.elements...)
}

func element(b []byte, i int) []byte { return b[i*ElementBytes : (i+1)*ElementBytes] }

// response is what a provider answers: magic, count u32, elements of 32 bytes, and a proof of 64 bytes for each 256 of
// them or fewer at the end.
type response struct {
	elements []byte
	proofs   []byte
}

func proofsFor(n int) int { return (n + ProofIDs - 1) / ProofIDs }

func (a *response) bytes() []byte {
	b := append(make([]byte, 0, len(responseMagic)+4+len(a.elements)+len(a.proofs)), responseMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(a.elements)/ElementBytes))
	return append(append(b, a.elements...), a.proofs...)
}

func parseResponse(b []byte) (*response, error) {
	r := reader{b: b}
	if string(r.take(len(responseMagic))) != responseMagic {
		return nil, refuse(Malformed, "this is no lookup response")
	}
	n := r.uint(4)
	if n == 0 || n > MaxIDs {
		return nil, refuse(Malformed, "the response has no elements, or too many")
	}
	a := &response{elements: r.take(int(n) * ElementBytes), proofs: r.take(proofsFor(int(n)) * proofBytes)}
	if r.short || len(r.b) != 0 {
		return nil, refuse(Malformed, "the response has not the length that it states")
	}
	return a, nil
}

func (a *response) proof(chunk int) (proof, error) {
	p, ok := parseProof(a.proofs[chunk*proofBytes : (chunk+1)*proofBytes])
	if !ok {
		return p, refuse(BadProof, "a proof is not in its canonical form")
	}
	return p, nil
}

// decode reads the elements [lo, hi) into es.
func decode(es []group.Element, b []byte, lo, hi int) (err error) {
	for i := lo; i < hi; i++ {
		if es[i], err = DecodeElement(element(b, i)); err != nil {
			return err
		}
	}
	return nil
}

// Table is the digest of the commitment that the request was made under.
func (q *Request) Table() contracts.Hash { return contracts.Hash(hex.EncodeToString(q.Commitment[:])) }
