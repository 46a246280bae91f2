package score

import (
	"fmt"

	"github.com/tuneinsight/lattigo/v6/ring"
)

// polyBytes is the size of a polynomial with moduli up to level: its coefficients one after another, modulus by
// modulus, each in its width, low bits first. Level and degree follow from the size alone, so that no message can
// claim others.
func polyBytes(level int) int {
	n := 0
	for _, w := range widths[:level+1] {
		n += Slots * w / 8
	}
	return n
}

func appendPoly(dst []byte, p ring.Poly) []byte {
	for i, c := range p.Coeffs {
		var acc uint64
		n := 0
		for _, v := range c {
			acc |= v << n
			for n += widths[i]; n >= 8; n -= 8 {
				dst = append(dst, byte(acc))
				acc >>= 8
			}
		}
	}
	return dst
}

// readPoly decodes exactly polyBytes(level) bytes. A coefficient that isn't reduced is refused: one polynomial has one
// form.
func readPoly(b []byte, level int) (ring.Poly, error) {
	if len(b) != polyBytes(level) {
		return ring.Poly{}, fmt.Errorf("%d bytes, want %d", len(b), polyBytes(level))
	}
	p := ring.NewPoly(Slots, level)
	for i, c := range p.Coeffs {
		q, mask := ringQ.SubRings[i].Modulus, uint64(1)<<widths[i]-1
		var acc uint64
		n := 0
		for k := range c {
			for ; n < widths[i]; n += 8 {
				acc |= uint64(b[0]) << n
				b = b[1:]
			}
			if c[k] = acc & mask; c[k] >= q {
				return ring.Poly{}, fmt.Errorf("coefficient %d is not reduced", k)
			}
			acc >>= widths[i]
			n -= widths[i]
		}
	}
	return p, nil
}
