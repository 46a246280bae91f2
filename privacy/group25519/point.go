package group25519

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// PointSize is the length of an encoded point in bytes.
const PointSize = 32

// Point is the u-coordinate of a point, little-endian, below 2^255-19.
type Point [PointSize]byte

var (
	// ErrNotCanonical says that 32 bytes are not below 2^255-19: a second encoding of a point.
	ErrNotCanonical = errors.New("point is not encoded canonically")

	// ErrSmallOrder says that a product is the identity: the point has an order that divides 8.
	ErrSmallOrder = errors.New("point has small order")
)

// PointError says which point of a batch is refused, and why.
type PointError struct {
	Index int // in the batch, from 0
	Err   error
}

func (e *PointError) Error() string { return fmt.Sprintf("point %d of the batch: %v", e.Index, e.Err) }

func (e *PointError) Unwrap() error { return e.Err }

// Canonical reports whether p is below 2^255-19.
func (p *Point) Canonical() bool {
	if binary.LittleEndian.Uint64(p[24:]) != 1<<63-1 {
		return p[31] < 0x80
	}
	return binary.LittleEndian.Uint64(p[8:])&binary.LittleEndian.Uint64(p[16:]) != 1<<64-1 ||
		binary.LittleEndian.Uint64(p[0:]) < 1<<64-19
}

// checkPoints finds the first point that is not canonical.
func checkPoints(ps []Point) error {
	for i := range ps {
		if !ps[i].Canonical() {
			return &PointError{Index: i, Err: ErrNotCanonical}
		}
	}
	return nil
}
