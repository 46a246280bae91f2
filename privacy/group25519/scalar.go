package group25519

import (
	"errors"
	"fmt"
	"io"
)

// ScalarSize is the length of an encoded scalar in bytes.
const ScalarSize = 32

// Scalar is a secret multiplier, clamped as in RFC 7748, section 5. It prints as nothing but its type's name.
type Scalar struct{ k [ScalarSize]byte }

// NewScalar draws a scalar from rand, which has to be cryptographic.
func NewScalar(rand io.Reader) (*Scalar, error) {
	s := new(Scalar)
	if _, err := io.ReadFull(rand, s.k[:]); err != nil {
		return nil, fmt.Errorf("couldn't draw scalar: %w", err)
	}
	s.k[0] &= 0xf8
	s.k[31] = s.k[31]&0x7f | 0x40
	return s, nil
}

// DecodeScalar reads what Encode wrote.
func DecodeScalar(b []byte) (*Scalar, error) {
	if len(b) != ScalarSize || b[0]&7 != 0 || b[31]&0xc0 != 0x40 {
		return nil, errors.New("scalar is not clamped")
	}
	return &Scalar{k: [ScalarSize]byte(b)}, nil
}

// Encode gives the scalar's bytes, for a store that keeps secrets.
func (s *Scalar) Encode() [ScalarSize]byte { return s.k }

// Erase overwrites the scalar: it can't be used again. Copies that Encode gave are their owner's.
func (s *Scalar) Erase() { clear(s.k[:]) }

// erased reports whether s was never drawn, or was erased: no clamped scalar is zero.
func (s *Scalar) erased() bool { return s.k[31] == 0 }

// Format keeps a scalar out of logs and errors, whatever the verb.
func (s Scalar) Format(f fmt.State, _ rune) { io.WriteString(f, "group25519.Scalar") }
