package score

import (
	"crypto/rand"
	"crypto/sha3"
	"encoding/binary"
	"io"
	"math/bits"

	"github.com/tuneinsight/lattigo/v6/ring"
)

// What is drawn here are integers only, by the same steps on every machine: an auditor recomputes a bank's model from
// its secret, to the byte. The provider draws from the system's source (crypto/rand) and keeps nothing.

// fresh is the system's randomness. It never fails: the program ends first.
var fresh io.Reader = rand.Reader

// shake256 is a stream from secret input. Parts are of fixed length or the last one.
func shake256(label string, parts ...[]byte) *sha3.SHAKE {
	h := sha3.NewSHAKE256()
	h.Write([]byte("bund/score/v1/" + label + "\x00"))
	for _, p := range parts {
		h.Write(p)
	}
	return h
}

// expand gives the public uniform polynomial number index of a seed, in the transformed domain. Both sides compute it,
// so that no one chooses it: a public key whose second half were zero would switch the re-randomisation off.
func expand(seed [32]byte, index uint32) ring.Poly {
	p := ringQ.NewPoly()
	for i, r := range ringQ.SubRings {
		h := sha3.NewSHAKE128()
		h.Write([]byte("bund/score/v1/uniform\x00" + Suite + "\x00"))
		h.Write(seed[:])
		h.Write(binary.BigEndian.AppendUint32(nil, index))
		h.Write([]byte{byte(i)})
		uniform(h, r, widths[i], p.Coeffs[i])
	}
	return p
}

// uniform fills c by rejection.
func uniform(r io.Reader, s *ring.SubRing, width int, c []uint64) {
	var buf [7 * 584]byte
	mask, at := uint64(1)<<width-1, len(buf)
	for i := range c {
		for {
			if at == len(buf) {
				read(r, buf[:])
				at = 0
			}
			b := buf[at : at+7]
			at += 7
			v := (uint64(binary.LittleEndian.Uint32(b)) | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48) & mask
			if v < s.Modulus {
				c[i] = v
				break
			}
		}
	}
}

// ternary draws coefficients from {−1, 0, 1}, each a third.
func ternary(r io.Reader, c []int64) {
	var buf [1024]byte
	at := len(buf)
	for i := range c {
		for {
			if at == len(buf) {
				read(r, buf[:])
				at = 0
			}
			b := buf[at]
			at++
			if b < 255 {
				c[i] = int64(b%3) - 1
				break
			}
		}
	}
}

// binomial draws errors from the centred binomial distribution of errorEta coins a side.
func binomial(r io.Reader, c []int64) {
	const mask = 1<<errorEta - 1
	var buf [8 * 512]byte
	for i := range c {
		at := i % 512 * 8
		if at == 0 {
			read(r, buf[:])
		}
		v := binary.LittleEndian.Uint64(buf[at:])
		c[i] = int64(bits.OnesCount64(v&mask)) - int64(bits.OnesCount64(v>>errorEta&mask))
	}
}

// flood adds to each coefficient of p a fresh integer, uniform in [−2^floodBits, 2^floodBits).
func flood(r io.Reader, p ring.Poly) {
	const top = floodBits - 64
	var low [3]uint64 // 2^floodBits modulo each modulus
	for i, s := range ringQ.SubRings {
		low[i] = ring.MForm(1<<top, s.Modulus, s.BRedConstant)
	}
	var buf [16 * 256]byte
	for k := range Slots {
		at := k % 256 * 16
		if at == 0 {
			read(r, buf[:])
		}
		hi, lo := binary.LittleEndian.Uint64(buf[at:])&(1<<(top+1)-1), binary.LittleEndian.Uint64(buf[at+8:])
		for i, s := range ringQ.SubRings {
			// MForm is hi·2^64 mod q.
			v := ring.MForm(hi, s.Modulus, s.BRedConstant) + ring.BRedAdd(lo, s.Modulus, s.BRedConstant) + s.Modulus - low[i]
			p.Coeffs[i][k] = ring.BRedAdd(p.Coeffs[i][k]+v, s.Modulus, s.BRedConstant)
		}
	}
}

// lift writes small signed coefficients modulo each of the moduli of p, without a branch on them.
func lift(c []int64, p ring.Poly) {
	for i, s := range ringQ.SubRings[:p.Level()+1] {
		for k, v := range c {
			p.Coeffs[i][k] = uint64(v) + s.Modulus&uint64(v>>63)
		}
	}
}

func read(r io.Reader, buf []byte) {
	if _, err := io.ReadFull(r, buf); err != nil {
		panic("score: the source of randomness ended: " + err.Error())
	}
}
