package score

import (
	"fmt"

	"github.com/tuneinsight/lattigo/v6/ring"
	"github.com/tuneinsight/lattigo/v6/schemes/bgv"
)

// Suite names all parameters: ring degree, bits of the modulus, of the plaintext modulus and of the flood. A message
// names the suite and never carries a parameter, so that nobody chooses a weak one for somebody else.
const Suite = "bgv-n8192-q164-t37-f125"

// Slots is how many companies one ciphertext scores.
const Slots = 8192

const logN = 13

// T is the plaintext modulus: scores are exact within ±(T−1)/2.
const T = 1<<37 - 131071

// The ciphertext modulus is Q0·Q1·Q2, 164 bits. The standard of HomomorphicEncryption.org (2018, table 1, classical,
// ternary secret) allows 218 bits at this degree for 128 bits of security. Answers are sent modulo Q0 alone.
const (
	q0 = 1<<52 - 245759
	q1 = 1<<56 - 311295
	q2 = 1<<56 - 557055
)

// Widths of a coefficient on the wire, in bits.
var widths = [3]int{52, 56, 56}

// The noise, for whoever changes a parameter. All bounds are worst cases, so that decryption never fails by chance.
//
// An answer's coefficient is z = m + t·E with
//
//	E = flood + Σⱼ xⱼ·eⱼ + k + u·e_pk + e₀ + e₁·s
//
//	flood   uniform in [−2^125, 2^125)
//	xⱼ·eⱼ   ≤ N·(t/2)·21 ≤ 2^(13+36+4.4); 512 columns: 2^62.4. k, the carry of Σ wⱼ·xⱼ over t, is ≤ 2^9·2^31
//	the rest ≤ 2·N·21 + 21 < 2^19: a ternary u and s, errors from a centred binomial distribution within ±21
//
// Correct: t·|E| < 2^162.1 < Q/2 = 2^163. Dropping to Q0 divides z by Q1·Q2 and adds t·(1+‖s‖₁)/2 ≤ 2^36·8193 of
// rounding: 2^50.01 + 2^49.01 < Q0/2 = 2^51.
//
// Private: shifting a uniform flood of half-width B by e changes its distribution by |e|/2B. So what the bank sees
// differs from flood + score alone by at most 2^(62.4−126) for a coefficient, and by the union bound over 8,192
// coefficients 2^−50 for an answer block with 512 columns, 2^−55 with 20. Dropping to Q0 comes after and can't undo it.
const (
	floodBits = 125 // B = 2^floodBits
	errorEta  = 21  // of the centred binomial distribution: variance 10.5, σ = 3.24
	// MaxColumns bounds the columns of a model, which the noise above counts on.
	MaxColumns = 512
)

// params are fixed by Suite. lattigo checks that the moduli are primes with the roots that its transform needs.
var params = func() bgv.Parameters {
	p, err := bgv.NewParametersFromLiteral(bgv.ParametersLiteral{LogN: logN, Q: []uint64{q0, q1, q2}, PlaintextModulus: T})
	if err != nil {
		panic(fmt.Sprintf("score: %v", err))
	}
	return p
}()

var (
	ringQ = params.RingQ()            // Q0·Q1·Q2
	ring0 = params.RingQ().AtLevel(0) // Q0
	ringT = params.RingT()
	// invT is t⁻¹ modulo each of the moduli: a message stands in a ciphertext as m·t⁻¹, above the noise, as lattigo has it.
	invT = inverses(ringQ.SubRings, T)
	// unscale undoes the division by Q1·Q2, modulo t.
	unscale = ring.BRed(q1%T, q2%T, T, ringT.SubRings[0].BRedConstant)
)

func inverses(rings []*ring.SubRing, v uint64) (inv [3]uint64) {
	for i, r := range rings {
		inv[i] = ring.ModExp(v%r.Modulus, r.Modulus-2, r.Modulus)
	}
	return inv
}
