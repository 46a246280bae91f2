package group25519_test

import (
	"crypto/sha512"
	"math/big"
	"slices"

	"github.com/bund-exchange/bund/privacy/group25519"
)

// The oracle is big.Int arithmetic that shares nothing with the package: affine points with both coordinates,
// double-and-add, and Elligator 2 in the words of RFC 9380, section 6.7.1.

var (
	prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	bigA  = big.NewInt(486662)
)

func toBig(p group25519.Point) *big.Int {
	b := slices.Clone(p[:])
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

func fromBig(x *big.Int) (p group25519.Point) {
	x.FillBytes(p[:])
	slices.Reverse(p[:])
	return p
}

func mod(x *big.Int) *big.Int    { return x.Mod(x, prime) }
func mul(x, y *big.Int) *big.Int { return mod(new(big.Int).Mul(x, y)) }
func add(x, y *big.Int) *big.Int { return mod(new(big.Int).Add(x, y)) }
func sub(x, y *big.Int) *big.Int { return mod(new(big.Int).Sub(x, y)) }
func inv(x *big.Int) *big.Int    { return new(big.Int).ModInverse(x, prime) }

// g is x³+Ax²+x.
func g(x *big.Int) *big.Int { return mul(x, add(mul(x, add(x, bigA)), big.NewInt(1))) }

// affine is a point of B·y² = g(x); nil is the identity.
type affine struct{ x, y *big.Int }

// oracleMul multiplies the point with u-coordinate x by n, on whichever of the curves B·y² = g(x) it lies: B = g(x)
// makes (x, 1) such a point, for every x that is not 0. The result is nil for the identity.
func oracleMul(x, n *big.Int) *big.Int {
	if x.Sign() == 0 { // order 2
		if n.Bit(0) == 0 {
			return nil
		}
		return x
	}
	b := g(x)
	sum := func(p, q *affine) *affine {
		if p == nil {
			return q
		}
		if q == nil {
			return p
		}
		var slope *big.Int
		if p.x.Cmp(q.x) == 0 {
			if add(p.y, q.y).Sign() == 0 {
				return nil
			}
			top := add(add(mul(big.NewInt(3), mul(p.x, p.x)), mul(add(bigA, bigA), p.x)), big.NewInt(1))
			slope = mul(top, inv(mul(add(b, b), p.y)))
		} else {
			slope = mul(sub(q.y, p.y), inv(sub(q.x, p.x)))
		}
		x := sub(sub(sub(mul(b, mul(slope, slope)), bigA), p.x), q.x)
		return &affine{x, sub(mul(slope, sub(p.x, x)), p.y)}
	}
	var acc *affine
	base := &affine{x, big.NewInt(1)}
	for i := n.BitLen() - 1; i >= 0; i-- {
		acc = sum(acc, acc)
		if n.Bit(i) == 1 {
			acc = sum(acc, base)
		}
	}
	if acc == nil {
		return nil
	}
	return acc.x
}

// oracleMap is map_to_curve_elligator2 for curve25519, its x alone.
func oracleMap(u *big.Int) *big.Int {
	d := add(mul(big.NewInt(2), mul(u, u)), big.NewInt(1))
	x := mul(sub(new(big.Int), bigA), inv(d))
	if big.Jacobi(g(x), prime) < 0 {
		x = sub(sub(new(big.Int), x), bigA)
	}
	return x
}

// oracleField is hash_to_field for one element, by expand_message_xmd as RFC 9380, section 5.3.1, writes it down.
func oracleField(tag string, id []byte) *big.Int {
	dstPrime := append([]byte(tag), byte(len(tag)))
	h := func(parts ...[]byte) []byte {
		s := sha512.Sum512(slices.Concat(parts...))
		return s[:]
	}
	b0 := h(make([]byte, 128), id, []byte{0, 48}, []byte{0}, dstPrime)
	b1 := h(b0, []byte{1}, dstPrime)
	return mod(new(big.Int).SetBytes(b1[:48]))
}

func scalarInt(s *group25519.Scalar) *big.Int { return toBig(group25519.Point(s.Encode())) }
