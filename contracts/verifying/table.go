package verifying

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"strings"
	"sync"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"

	"github.com/bund-exchange/bund/contracts"
)

// Scalars are below 2^253 and are written in signed digits of some bits: the sum of one multiple per digit needs no
// doubling. The generator's table is shared and may be larger.
const (
	keyBits  = 6
	baseBits = 8
)

// table verifies signatures of one key.
type table struct {
	key   [32]byte
	minus multiples // of −A
}

// newTable gives nil for what is no ed25519 key on the curve.
func newTable(k contracts.PublicKey) *table {
	_, h, _ := strings.Cut(string(k), ":")
	b, err := hex.DecodeString(h)
	if err != nil || len(b) != 32 {
		return nil
	}
	a, err := new(edwards25519.Point).SetBytes(b)
	if err != nil {
		return nil
	}
	return &table{[32]byte(b), makeMultiples(a.Negate(a), keyBits)}
}

var generator = sync.OnceValue(func() multiples { return makeMultiples(edwards25519.NewGeneratorPoint(), baseBits) })

// verify is RFC 8032 §5.1.7 without cofactor, as crypto/ed25519 has it: [S]B + [k](−A) must encode to exactly the
// first half of the signature.
func (t *table) verify(msg, sig []byte) bool {
	if len(sig) != 64 {
		return false
	}
	if _, err := edwards25519.NewScalar().SetCanonicalBytes(sig[32:]); err != nil {
		return false
	}
	r := identity()
	r.addMultiple(t.minus, challenge(sig[:32], t.key[:], msg).Bytes())
	r.addMultiple(generator(), sig[32:])
	p, err := new(edwards25519.Point).SetExtendedCoordinates(&r.x, &r.y, &r.z, &r.t) // checks that it is on the curve
	return err == nil && bytes.Equal(p.Bytes(), sig[:32])
}

// challenge is k = SHA-512(R ‖ A ‖ M) modulo the order.
func challenge(r, a, msg []byte) *edwards25519.Scalar {
	h := sha512.New()
	h.Write(r)
	h.Write(a)
	h.Write(msg)
	var digest [64]byte
	k, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(digest[:0]))
	if err != nil {
		panic(err) // only another length than 64
	}
	return k
}

// multiples holds, for digit position i and j from 1 to 2^(bits−1), the point j·2^(bits·i)·P.
type multiples struct {
	bits   int
	points []affine
}

func makeMultiples(p *edwards25519.Point, bits int) multiples {
	per := 1 << (bits - 1)
	n := positions(bits)
	all := make([]edwards25519.Point, 0, n*per)
	base := new(edwards25519.Point).Set(p)
	for range n {
		q := new(edwards25519.Point).Set(base)
		for range per {
			all = append(all, *q)
			q.Add(q, base)
		}
		base.Add(&all[len(all)-1], &all[len(all)-1]) // 2 · 2^(bits−1) times what it was
	}
	return multiples{bits, normalize(all)}
}

// positions is the number of digits of a scalar below 2^253, a last carry included.
func positions(bits int) int { return 253/bits + 1 }

// affine is a point with Z = 1 in the form that an addition wants: y+x, y−x, 2dxy.
type affine struct{ sum, diff, t2d field.Element }

// normalize divides by Z, with one inversion for all.
func normalize(ps []edwards25519.Point) []affine {
	type extended struct{ x, y, z, t *field.Element }
	es := make([]extended, len(ps))
	before := make([]field.Element, len(ps)) // product of all Z before
	acc := new(field.Element).One()
	for i := range ps {
		e := &es[i]
		e.x, e.y, e.z, e.t = ps[i].ExtendedCoordinates()
		before[i].Set(acc)
		acc.Multiply(acc, e.z)
	}
	acc.Invert(acc) // no Z is zero
	out := make([]affine, len(ps))
	for i := len(ps) - 1; i >= 0; i-- {
		e, a := es[i], &out[i]
		inv := new(field.Element).Multiply(acc, &before[i])
		acc.Multiply(acc, e.z)
		x, y := new(field.Element).Multiply(e.x, inv), new(field.Element).Multiply(e.y, inv)
		a.sum.Add(y, x)
		a.diff.Subtract(y, x)
		a.t2d.Multiply(e.t, inv)
		a.t2d.Multiply(&a.t2d, d2)
	}
	return out
}

// d2 is twice the curve's d = −121665/121666.
var d2 = func() *field.Element {
	n, m := new(field.Element), new(field.Element)
	one := new(field.Element).One()
	n.Mult32(one, 121665)
	m.Mult32(one, 121666)
	d := n.Multiply(n.Negate(n), m.Invert(m))
	return new(field.Element).Add(d, d)
}()

// sum is a point in extended coordinates, xy = zt.
type sum struct{ x, y, z, t field.Element }

func identity() *sum {
	s := &sum{}
	s.y.One()
	s.z.One()
	return s
}

// addMultiple adds the scalar's multiple of m's point. The scalar is little-endian and below 2^253.
func (s *sum) addMultiple(m multiples, scalar []byte) {
	per := 1 << (m.bits - 1)
	carry := 0
	for i := range positions(m.bits) {
		digit := window(scalar, i*m.bits, m.bits) + carry
		carry = 0
		if digit > per {
			digit -= 2 * per
			carry = 1
		}
		switch {
		case digit > 0:
			a := &m.points[i*per+digit-1]
			s.add(&a.sum, &a.diff, &a.t2d, false)
		case digit < 0:
			a := &m.points[i*per-digit-1]
			s.add(&a.diff, &a.sum, &a.t2d, true)
		}
	}
}

// window gives bits [from, from+n) of a little-endian number of 32 bytes, n at most 8.
func window(b []byte, from, n int) int {
	i := from / 8
	if i >= 32 {
		return 0
	}
	w := int(b[i])
	if i < 31 {
		w |= int(b[i+1]) << 8
	}
	return w >> (from % 8) & (1<<n - 1)
}

// add is the mixed addition of Hisil, Wong, Carter and Dawson (2008) for a = −1; minus subtracts, with plus and diff
// swapped by the caller. It is complete: right for every two points of the curve.
func (s *sum) add(plus, diff, t2d *field.Element, minus bool) {
	var a, b, c, d, e, f, g, h field.Element
	a.Add(&s.y, &s.x)
	a.Multiply(&a, plus)
	b.Subtract(&s.y, &s.x)
	b.Multiply(&b, diff)
	c.Multiply(&s.t, t2d)
	d.Add(&s.z, &s.z)
	e.Subtract(&a, &b)
	h.Add(&a, &b)
	if minus {
		g.Subtract(&d, &c)
		f.Add(&d, &c)
	} else {
		g.Add(&d, &c)
		f.Subtract(&d, &c)
	}
	s.x.Multiply(&e, &f)
	s.y.Multiply(&g, &h)
	s.z.Multiply(&f, &g)
	s.t.Multiply(&e, &h)
}
