package lookup

import (
	"crypto/sha512"
	"encoding/binary"

	"github.com/cloudflare/circl/group"

	"github.com/bund-exchange/bund/contracts"
)

// Sizes in bytes.
const (
	ElementBytes = 32
	ScalarBytes  = 32
	MaxIDBytes   = 64 // of an id: credit codes have 18
	proofBytes   = 2 * ScalarBytes
	outputBytes  = sha512.Size
)

// contextString is RFC 9497's for mode VOPRF (1) and this suite, section 3.1.
const contextString = "OPRFV1-\x01-" + contracts.LookupSuite

var (
	r255       = group.Ristretto255
	toGroupDST = []byte("HashToGroup-" + contextString)
)

// Point gives the element of an id, H(id) in the package's words.
func Point(id []byte) (group.Element, error) {
	if len(id) == 0 || len(id) > MaxIDBytes {
		return nil, refuse(Malformed, "an id has 1 to %d bytes", MaxIDBytes)
	}
	p := r255.HashToElement(id, toGroupDST)
	if p.IsIdentity() {
		return nil, refuse(BadElement, "the id has no element")
	}
	return p, nil
}

// DecodeElement reads an element in its one encoding. The identity is refused: it would make the evaluation of any key
// the same.
func DecodeElement(b []byte) (group.Element, error) {
	e := r255.NewElement()
	if len(b) != ElementBytes || e.UnmarshalBinary(b) != nil {
		return nil, refuse(BadElement, "not the canonical encoding of an element")
	}
	if e.IsIdentity() {
		return nil, refuse(BadElement, "the identity element")
	}
	return e, nil
}

// appendElement appends the canonical encoding.
func appendElement(b []byte, e group.Element) []byte {
	enc, err := e.MarshalBinaryCompress()
	if err != nil {
		panic(err) // an element of this group always has an encoding
	}
	return append(b, enc...)
}

// decodeScalar reads a scalar in its one encoding, zero excluded.
func decodeScalar(b []byte) (group.Scalar, bool) {
	s := r255.NewScalar()
	if len(b) != ScalarBytes || s.UnmarshalBinary(b) != nil || s.IsZero() {
		return nil, false
	}
	return s, true
}

func appendScalar(b []byte, s group.Scalar) []byte {
	enc, err := s.MarshalBinary()
	if err != nil {
		panic(err) // a scalar of this group always has an encoding
	}
	return append(b, enc...)
}

// output is the function's value, by Finalize of RFC 9497, section 3.3.2.
func output(id []byte, unblinded group.Element) (y [outputBytes]byte) {
	b := make([]byte, 0, 2+MaxIDBytes+2+ElementBytes+len("Finalize"))
	b = binary.BigEndian.AppendUint16(b, uint16(len(id)))
	b = append(b, id...)
	b = binary.BigEndian.AppendUint16(b, ElementBytes)
	b = appendElement(b, unblinded)
	return sha512.Sum512(append(b, "Finalize"...))
}

// invert gives the inverses of many secret scalars, none of them zero, for the price of one inversion and three
// multiplications each.
func invert(xs []group.Scalar) []group.Scalar {
	out := make([]group.Scalar, len(xs))
	product := r255.NewScalar().SetUint64(1)
	for i, x := range xs {
		out[i] = product.Copy() // of all before
		product.Mul(product, x)
	}
	rest := r255.NewScalar().Inv(product)
	for i := len(xs) - 1; i >= 0; i-- {
		out[i].Mul(out[i], rest)
		rest.Mul(rest, xs[i])
	}
	return out
}
