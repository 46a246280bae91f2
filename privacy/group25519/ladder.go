package group25519

import (
	"encoding/binary"
	"errors"
	"math/bits"

	fp "github.com/cloudflare/circl/math/fp25519"
)

// ratio is a u-coordinate that is not yet divided.
type ratio struct{ x, z fp.Elt }

// MulBatch sets dst[i] to the product of src[i] and k; dst may be src. A batch with a point that is not canonical, or
// whose product is the identity, is refused with a *PointError that names the first such point, and dst then holds
// nothing of use.
func MulBatch(dst, src []Point, k *Scalar) error {
	if len(dst) != len(src) {
		return errors.New("batch and products differ in length")
	}
	if k.erased() {
		return errors.New("scalar is erased")
	}
	if err := checkPoints(src); err != nil {
		return err
	}
	r := make([]ratio, len(src))
	ladders(r, src, k)
	for i := range r {
		if fp.IsZero(&r[i].z) {
			return &PointError{Index: i, Err: ErrSmallOrder}
		}
	}
	divide(dst, r)
	return nil
}

// ladders multiplies a batch, leaving the division.
func ladders(r []ratio, src []Point, k *Scalar) {
	for i := range src {
		ladder(&r[i], &src[i], k)
	}
}

// ladder is the Montgomery ladder of RFC 7748, section 5. Its operations and addresses are the same for all scalars.
func ladder(r *ratio, p *Point, k *Scalar) {
	x1 := fp.Elt(*p)
	x2, z2 := &r.x, &r.z
	var x3, z3, t0, t1 fp.Elt
	fp.SetOne(x2)
	*z2 = fp.Elt{}
	x3 = x1
	fp.SetOne(&z3)
	prev := uint(0)
	for i := 254; i >= 0; i-- {
		bit := uint(k.k[i/8]>>(i%8)) & 1
		swap := prev ^ bit
		prev = bit
		fp.AddSub(x2, z2)   // A, B
		fp.AddSub(&x3, &z3) // C, D
		fp.Mul(&t0, x2, &z3)
		fp.Mul(&t1, &x3, z2)
		fp.AddSub(&t0, &t1) // DA+CB, DA-CB
		fp.Cmov(x2, &x3, swap)
		fp.Cmov(z2, &z3, swap)
		fp.Sqr(&x3, &t0)
		fp.Sqr(&t1, &t1)
		fp.Mul(&z3, &x1, &t1)
		fp.Sqr(x2, x2)
		fp.Sqr(z2, z2)
		fp.Sub(&t0, x2, z2) // E
		mulA24(&t1, &t0)
		fp.Add(&t1, &t1, z2)
		fp.Mul(x2, x2, z2)
		fp.Mul(z2, &t0, &t1)
	}
	// The last bit of a clamped scalar is 0: nothing is left to swap.
}

// mulA24 sets z to (486662+2)/4 times x.
func mulA24(z, x *fp.Elt) {
	const a24 = 121666
	h0, l0 := bits.Mul64(binary.LittleEndian.Uint64(x[0:]), a24)
	h1, l1 := bits.Mul64(binary.LittleEndian.Uint64(x[8:]), a24)
	h2, l2 := bits.Mul64(binary.LittleEndian.Uint64(x[16:]), a24)
	h3, l3 := bits.Mul64(binary.LittleEndian.Uint64(x[24:]), a24)
	l1, c := bits.Add64(l1, h0, 0)
	l2, c = bits.Add64(l2, h1, c)
	l3, c = bits.Add64(l3, h2, c)
	l0, c = bits.Add64(l0, (h3+c)*38, 0) // 2^256 is 38
	l1, c = bits.Add64(l1, 0, c)
	l2, c = bits.Add64(l2, 0, c)
	l3, c = bits.Add64(l3, 0, c)
	l0 += -c & 38 // a carry leaves l0 below 38·2^18
	binary.LittleEndian.PutUint64(z[0:], l0)
	binary.LittleEndian.PutUint64(z[8:], l1)
	binary.LittleEndian.PutUint64(z[16:], l2)
	binary.LittleEndian.PutUint64(z[24:], l3)
}

// divide writes the quotients of a batch with one inversion (Montgomery's trick). No z is zero.
func divide(dst []Point, r []ratio) {
	before := make([]fp.Elt, len(r)) // the product of all z before this one
	var acc fp.Elt
	fp.SetOne(&acc)
	for i := range r {
		before[i] = acc
		fp.Mul(&acc, &acc, &r[i].z)
	}
	fp.Inv(&acc, &acc)
	for i := len(r) - 1; i >= 0; i-- {
		fp.Mul(&before[i], &before[i], &acc)
		fp.Mul(&acc, &acc, &r[i].z)
		fp.Mul(&before[i], &before[i], &r[i].x)
		fp.Modp(&before[i])
		dst[i] = Point(before[i])
	}
}
