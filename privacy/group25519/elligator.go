package group25519

import (
	"crypto/sha512"
	"errors"

	fp "github.com/cloudflare/circl/math/fp25519"
)

// Suite is the ciphersuite of RFC 9380 whose encoding HashBatch computes, up to the cofactor.
const Suite = "curve25519_XMD:SHA-512_ELL2_NU_"

// MaxTag bounds a domain-separation tag in bytes (RFC 9380, section 5.3.1).
const MaxTag = 255

var (
	curveA    = fp.Elt{0x06, 0x6d, 0x07} // 486662
	curveNegA = func() (z fp.Elt) { fp.Neg(&z, &curveA); return }()
	curveA2   = func() (z fp.Elt) { fp.Sqr(&z, &curveA); return }()
	one       = fp.Elt{1}
	c38       = fp.Elt{38} // 2^256
)

// HashBatch sets dst[i] to the u-coordinate of ids[i] encoded to the curve by RFC 9380's suite Suite under the
// domain-separation tag, before its cofactor is cleared: a product with a Scalar clears it. The point lies on the
// curve, never on its twist.
func HashBatch(dst []Point, tag string, ids [][]byte) error {
	if len(dst) != len(ids) {
		return errors.New("batch and points differ in length")
	}
	if tag == "" || len(tag) > MaxTag {
		return errors.New("tag has no or too many bytes")
	}
	u := make([]fp.Elt, len(ids))
	buf := make([]byte, 0, 512)
	for i := range ids {
		hashToField(&u[i], &buf, tag, ids[i])
	}
	mapToCurve(dst, u)
	return nil
}

// mapToCurve is Elligator 2 for a batch of field elements.
func mapToCurve(dst []Point, u []fp.Elt) {
	f := make([]fraction, len(u))
	chi := make([]fp.Elt, len(u))
	for i := range u {
		f[i].set(&u[i])
	}
	for i := range f {
		chi[i] = f[i].gxd
	}
	characters(chi)
	r := make([]ratio, len(u))
	for i := range f {
		r[i] = ratio{x: f[i].x2n, z: f[i].d}
		fp.Cmov(&r[i].x, &curveNegA, uint(chi[i][0])&1)
	}
	divide(dst, r)
}

// hashToField is hash_to_field of RFC 9380, section 5.2, for one element: expand_message_xmd with SHA-512 to 48 bytes,
// big-endian, modulo p. buf is scratch.
func hashToField(u *fp.Elt, buf *[]byte, tag string, id []byte) {
	const size = 48
	var zeroes [sha512.BlockSize]byte
	b := append((*buf)[:0], zeroes[:]...)
	b = append(b, id...)
	b = append(b, 0, size, 0)
	b = append(append(b, tag...), byte(len(tag)))
	b0 := sha512.Sum512(b)
	b = append(b[:0], b0[:]...)
	b = append(b, 1)
	b = append(append(b, tag...), byte(len(tag)))
	b1 := sha512.Sum512(b)
	*buf = b
	var hi fp.Elt
	for i := range 32 {
		u[i] = b1[size-1-i]
	}
	for i := range 16 {
		hi[i] = b1[15-i]
	}
	fp.Mul(&hi, &hi, &c38)
	fp.Add(u, u, &hi)
}

// fraction holds what Elligator 2 (RFC 9380, section 6.7.1, Z = 2) makes of a field element, before anything is
// decided: the candidates are x1 = -A/d and x2 = -x1-A = x2n/d, and gxd is g(x1)·d^4, a square if and only if g(x1) is.
type fraction struct{ d, x2n, gxd fp.Elt }

func (f *fraction) set(u *fp.Elt) {
	var t, n fp.Elt
	fp.Sqr(&t, u)
	fp.Add(&t, &t, &t)     // 2u²
	fp.Add(&f.d, &t, &one) // never zero: -1 is a square, 2u² is not
	fp.Mul(&f.x2n, &curveNegA, &t)
	fp.Mul(&n, &curveA2, &f.d)
	fp.Sub(&n, &curveA2, &n) // A² - A²d
	fp.Sqr(&t, &f.d)
	fp.Add(&n, &n, &t)
	fp.Mul(&n, &n, &f.d)
	fp.Mul(&f.gxd, &n, &curveNegA) // -A·d·(A² - A²d + d²)
}

// characters raises each element to (p-1)/2: 1 for a square, p-1 for another. None is zero.
func characters(w []fp.Elt) {
	for i := range w {
		character(&w[i])
	}
}

// character raises w to 2^254-10 by a fixed chain.
func character(w *fp.Elt) {
	var z2, z9, z11, z5, z10, z20, z50, z100, t fp.Elt
	fp.Sqr(&z2, w)
	squares(&t, &z2, 2)
	fp.Mul(&z9, &t, w)
	fp.Mul(&z11, &z9, &z2)
	fp.Sqr(&t, &z11)
	fp.Mul(&z5, &t, &z9) // 2^5-1
	squares(&t, &z5, 5)
	fp.Mul(&z10, &t, &z5) // 2^10-1
	squares(&t, &z10, 10)
	fp.Mul(&z20, &t, &z10)
	squares(&t, &z20, 20)
	fp.Mul(&t, &t, &z20)
	squares(&t, &t, 10)
	fp.Mul(&z50, &t, &z10) // 2^50-1
	squares(&t, &z50, 50)
	fp.Mul(&z100, &t, &z50)
	squares(&t, &z100, 100)
	fp.Mul(&t, &t, &z100)
	squares(&t, &t, 50)
	fp.Mul(&t, &t, &z50) // 2^250-1
	squares(&t, &t, 4)   // 2^254-16
	fp.Mul(&t, &t, &z2)
	fp.Sqr(&z2, &z2)
	fp.Mul(w, &t, &z2)
	fp.Modp(w)
}

// squares sets z to x squared n times.
func squares(z, x *fp.Elt, n int) {
	*z = *x
	for range n {
		fp.Sqr(z, z)
	}
}
