package lookup

import (
	"crypto/sha512"
	"encoding/binary"

	"github.com/cloudflare/circl/group"
)

// proof shows that two logarithms are equal, of a public key and of all evaluations of a chunk: GenerateProof and
// VerifyProof of RFC 9497, section 2.2. circl has both; here elements come with their encodings, and the composites are
// summed many at a time, which is what most of the work is.
type proof struct{ c, s group.Scalar }

var (
	toScalarDST = []byte("HashToScalar-" + contextString)
	seedDST     = "Seed-" + contextString
)

// chunk is what one proof covers: elements with their encodings, and what they were evaluated to.
type chunk struct {
	in, out           []group.Element
	inBytes, outBytes []byte
}

func (c *chunk) weights(key []byte) []group.Scalar {
	seed := sha512.Sum512(framed(nil, key, []byte(seedDST)))
	ws := make([]group.Scalar, len(c.in))
	for i := range ws {
		b := framed(make([]byte, 0, 192), seed[:])
		b = binary.BigEndian.AppendUint16(b, uint16(i))
		b = framed(b, element(c.inBytes, i), element(c.outBytes, i))
		ws[i] = r255.HashToScalar(append(b, "Composite"...), toScalarDST)
	}
	return ws
}

// framed appends each part behind its length.
func framed(b []byte, parts ...[]byte) []byte {
	for _, p := range parts {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	return b
}

func challenge(key []byte, es ...group.Element) group.Scalar {
	b := framed(make([]byte, 0, 192), key)
	for _, e := range es {
		b = framed(b, appendElement(nil, e))
	}
	return r255.HashToScalar(append(b, "Challenge"...), toScalarDST)
}

// prove needs no secret but k and the nonce, which are used in constant time.
func (c *chunk) prove(k *EpochKey, nonce group.Scalar) proof {
	key := k.Public()
	m := sum(c.in, c.weights(key))
	z := r255.NewElement().Mul(m, k.k)
	x := challenge(key, m, z, r255.NewElement().MulGen(nonce), r255.NewElement().Mul(m, nonce))
	s := r255.NewScalar()
	return proof{x, s.Sub(nonce, s.Mul(x, k.k))}
}

// proves reports whether p is a proof of the chunk under a public key.
func (p proof) proves(c *chunk, public group.Element) bool {
	key := appendElement(nil, public)
	ws := c.weights(key)
	m, z := sum(c.in, ws), sum(c.out, ws)
	both := func(a, b group.Element) group.Element { // s·a + c·b
		return sum([]group.Element{a, b}, []group.Scalar{p.s, p.c})
	}
	return p.c.IsEqual(challenge(key, m, z, both(r255.Generator(), public), both(m, z)))
}

func (p proof) append(b []byte) []byte { return appendScalar(appendScalar(b, p.c), p.s) }

func parseProof(b []byte) (p proof, ok bool) {
	p.c, p.s = r255.NewScalar(), r255.NewScalar()
	return p, len(b) == proofBytes && p.c.UnmarshalBinary(b[:ScalarBytes]) == nil && p.s.UnmarshalBinary(b[ScalarBytes:]) == nil
}

// sum gives Σ weight·element by the buckets of Pippenger: for 256 elements a quarter of the work of as many
// multiplications. Its time depends on the weights and elements, which are public in a proof.
func sum(es []group.Element, weights []group.Scalar) group.Element {
	if len(es) < 8 {
		total := r255.Identity()
		for i, e := range es {
			total.Add(total, r255.NewElement().Mul(e, weights[i]))
		}
		return total
	}
	width := 4 // bits of a digit
	for n := len(es); n > 48; n /= 4 {
		width++
	}
	digits := make([][]byte, len(weights)) // little-endian
	for i, w := range weights {
		digits[i] = appendScalar(nil, w)
	}
	total := r255.Identity()
	buckets := make([]group.Element, 1<<width)
	for at := (8*ScalarBytes - 1) / width * width; at >= 0; at -= width {
		for range width {
			total.Dbl(total)
		}
		clear(buckets)
		for i, e := range es {
			switch d := digit(digits[i], at, width); {
			case d == 0:
			case buckets[d] == nil:
				buckets[d] = e.Copy()
			default:
				buckets[d].Add(buckets[d], e)
			}
		}
		// Σ d·bucket: the sum of the sums from the highest bucket down.
		running, window := r255.Identity(), r255.Identity()
		for d := len(buckets) - 1; d > 0; d-- {
			if buckets[d] != nil {
				running.Add(running, buckets[d])
			}
			window.Add(window, running)
		}
		total.Add(total, window)
	}
	return total
}

// digit gives width bits of a little-endian number from bit at on; width is at most 8.
func digit(b []byte, at, width int) int {
	x := int(b[at/8]) >> (at % 8)
	if i := at/8 + 1; i < len(b) {
		x |= int(b[i]) << (8 - at%8)
	}
	return x & (1<<width - 1)
}
