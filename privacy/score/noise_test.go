package score

import (
	"bytes"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/tuneinsight/lattigo/v6/core/rlwe"
	"github.com/tuneinsight/lattigo/v6/ring"
	"github.com/tuneinsight/lattigo/v6/schemes/bgv"
)

// bare is the noise of a ciphertext outside the transformed domain, at any level: E of m + t·E, coefficient by
// coefficient, given the polynomial m modulo t, and the message that it carries.
func bare(t *testing.T, c [2]ring.Poly, secret ring.Poly) (noise []*big.Int, message []uint64) {
	t.Helper()
	r := ringQ.AtLevel(c[0].Level())
	z := *c[1].CopyNew()
	r.NTT(z, z)
	r.MulCoeffsMontgomery(z, secret, z)
	r.INTT(z, z)
	r.Add(z, c[0], z)
	r.MulScalar(z, T, z)
	noise = make([]*big.Int, Slots)
	for i := range noise {
		noise[i] = new(big.Int)
	}
	r.PolyToBigintCentered(z, 1, noise)
	message = make([]uint64, Slots)
	mod, half := big.NewInt(T), big.NewInt(MaxScore)
	for i, v := range noise {
		m := new(big.Int).Mod(v, mod)
		message[i] = m.Uint64()
		if m.Cmp(half) > 0 {
			m.Sub(m, mod)
		}
		v.Sub(v, m).Div(v, mod)
	}
	return noise, message
}

// log2 gives the binary logarithms of the largest and of the root mean square.
func log2(noise []*big.Int) (largest, rms float64) {
	most, sum := 0.0, 0.0
	for _, v := range noise {
		f, _ := new(big.Float).SetInt(v).Float64()
		f = math.Ldexp(f, -100) // squares stay in range
		most, sum = max(most, math.Abs(f)), sum+f*f
	}
	return math.Log2(most) + 100, math.Log2(sum/float64(len(noise)))/2 + 100
}

// TestFlood: the flood that an answer carries is as wide as Suite says and the privacy argument counts on, and what it
// covers is as narrow.
func TestFlood(t *testing.T) {
	s := seal(t, small())
	k := derive(s.secret, s.card)
	b := prepare(t, &s.card.Spec, smallRows)
	c := s.model.sum(b.blocks[0])
	open := [2]ring.Poly{*c[0].CopyNew(), *c[1].CopyNew()}
	ringQ.INTT(open[0], open[0])
	ringQ.INTT(open[1], open[1])
	before, m := bare(t, open, k.secret)
	if most, _ := log2(before); most > 13+36+4.4+math.Log2(float64(len(b.blocks[0]))) || most < 40 {
		t.Errorf("noise before the flood is up to 2^%.1f", most)
	}
	s.model.hide(&c, fresh)
	after, m2 := bare(t, c, k.secret)
	if !slices.Equal(m, m2) {
		t.Error("hiding changed the scores")
	}
	most, rms := log2(after)
	t.Logf("noise 2^%.2f, flooded 2^%.2f at most, σ 2^%.2f", func() float64 { m, _ := log2(before); return m }(), most, rms)
	// A uniform on [−B, B) has σ = B/√3. 8,192 draws tell σ to half a percent: 2^0.03 is four times that.
	if most > floodBits || most < floodBits-0.01 || math.Abs(rms-(floodBits-math.Log2(3)/2)) > 0.03 {
		t.Errorf("flooded noise is up to 2^%.3f with σ 2^%.3f", most, rms)
	}
	// The mean, and the halves of every second coefficient: no part is left dry.
	for part := range 4 {
		positive := 0
		for i := part; i < Slots; i += 4 {
			positive += (after[i].Sign() + 1) / 2
		}
		if positive < 880 || positive > 1168 { // 1,024 ± 6 σ
			t.Errorf("part %d: %d of 2,048 are positive", part, positive)
		}
	}
}

// TestNoiseTellsNothing: what the bank's own key shows of an answer's noise is alike for companies with nothing and
// companies with everything. Without the flood the same measure tells them apart, so it could fail.
func TestNoiseTellsNothing(t *testing.T) {
	s := seal(t, small())
	k := derive(s.secret, s.card)
	nothing := slices.Repeat([][]int64{make([]int64, s.card.Spec.Columns())}, Slots)
	everything := slices.Repeat([][]int64{s.card.Spec.bounds()}, Slots)
	everything[0] = nothing[0]
	spread := func(rows [][]int64, hidden bool) float64 {
		b, err := PrepareFeatures(&s.card.Spec, names(Slots), rows)
		if err != nil {
			t.Fatal(err)
		}
		c := s.model.sum(b.blocks[0])
		if hidden {
			s.model.hide(&c, fresh)
		} else {
			ringQ.INTT(c[0], c[0])
			ringQ.INTT(c[1], c[1])
		}
		noise, _ := bare(t, c, k.secret)
		_, rms := log2(noise)
		return rms
	}
	if a, b := spread(nothing, true), spread(everything, true); math.Abs(a-b) > 0.05 {
		t.Errorf("flooded: σ 2^%.3f for nothing, 2^%.3f for everything", a, b)
	}
	if a, b := spread(nothing, false), spread(everything, false); !(b-a > 10) {
		t.Errorf("not flooded: σ 2^%.3f for nothing, 2^%.3f for everything: the measure tells nothing", a, b)
	}
}

// ones is randomness of which every ternary coefficient is 1, every error largest, and the flood a constant.
type ones struct{}

func (ones) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = []byte{0xff, 0xff, 0x1f, 0, 0, 0, 0, 0}[i%8] // 21 coins on the one side, none on the other
	}
	if len(b) == 1024 { // ternary's
		copy(b, bytes.Repeat([]byte{2}, len(b)))
	}
	return len(b), nil
}

// TestWorstCase: decryption is exact when everything that is drawn is as large as it can be and adds up: errors,
// coefficients, secret, public key and flood, with as many columns as a model may have.
func TestWorstCase(t *testing.T) {
	plus, minus := slices.Repeat([]int64{1}, Slots), slices.Repeat([]int64{errorEta}, Slots)
	for i := range minus[1:] {
		minus[1+i] = -errorEta // x·e has N·21·x at coefficient 0, as X^N is −1
	}
	var seed [32]byte
	k := &keys{root: make([]byte, 32), secret: ringQ.NewPoly()}
	lift(plus, k.secret)
	ringQ.NTT(k.secret, k.secret)
	ringQ.MForm(k.secret, k.secret)
	pair := func(weight int64, index uint32) [2]ring.Poly {
		a, c := expand(seed, index), ringQ.NewPoly()
		lift(minus, c)
		ringQ.NTT(c, c)
		ringQ.MulCoeffsMontgomeryThenSub(a, k.secret, c)
		for i, s := range ringQ.SubRings {
			s.AddScalar(c.Coeffs[i], ring.BRed(uint64(weight)+s.Modulus&uint64(weight>>63), invT[i], s.Modulus, s.BRedConstant), c.Coeffs[i])
		}
		return [2]ring.Poly{c, a}
	}
	for name, sign := range map[string]int64{"up": 1, "down": -1} {
		m := &Model{public: pair(0, 0)}
		ringQ.MForm(m.public[0], m.public[0])
		ringQ.MForm(m.public[1], m.public[1])
		x := ringQ.NewPoly()
		lift(slices.Repeat([]int64{sign * MaxScore}, Slots), x)
		ringQ.NTT(x, x)
		ringQ.MForm(x, x)
		weight := int64(2*maxWeight - 1)
		column := pair(weight, 1)
		var block []ring.Poly
		for range MaxColumns {
			m.column, block = append(m.column, column), append(block, x)
		}
		c := m.sum(block)
		m.hide(&c, ones{})
		// The flood to the end of its range, in place of that constant.
		var top [3]uint64
		want := new(big.Int).Lsh(big.NewInt(sign), floodBits)
		for i, s := range ringQ.SubRings {
			top[i] = new(big.Int).Mod(want, new(big.Int).SetUint64(s.Modulus)).Uint64()
		}
		extra := ringQ.NewPoly()
		flood(ones{}, extra)
		ringQ.Sub(c[0], extra, c[0])
		for i, s := range ringQ.SubRings {
			s.AddScalar(c[0].Coeffs[i], top[i], c[0].Coeffs[i])
		}
		noise, _ := bare(t, c, k.secret)
		most, _ := log2(noise)
		if most < floodBits || most > floodBits+0.1 {
			t.Fatalf("%s: worst noise is 2^%.3f", name, most)
		}
		circuit := new(big.Int).Sub(noise[0], want)
		if f, _ := new(big.Float).SetInt(circuit).Float64(); math.Abs(math.Log2(math.Abs(f))-62.4) > 0.1 {
			t.Errorf("%s: noise of the circuit is 2^%.2f: not the worst case", name, math.Log2(math.Abs(f)))
		}
		// Σ wⱼ·xⱼ modulo t, coefficient by coefficient.
		sum := new(big.Int).Mod(new(big.Int).Mul(big.NewInt(weight*MaxColumns), big.NewInt(sign*MaxScore)), big.NewInt(T)).Uint64()
		slots := slices.Repeat([]uint64{sum}, Slots)
		ringT.SubRings[0].NTT(slots, slots)
		key := &Key{secret: *k.secret.CopyNew()}
		key.secret.Resize(0)
		got, err := key.decrypt(shrink(&c, nil))
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if uint64(v)+T&uint64(v>>63) != slots[i] {
				t.Fatalf("%s: slot %d is %d, want %d", name, i, v, slots[i])
			}
		}
	}
}

// TestLattigo: the ciphertexts are BGV as lattigo itself understands it: its decryptor and encoder give weights and
// scores.
func TestLattigo(t *testing.T) {
	s := seal(t, small())
	k := derive(s.secret, s.card)
	sk := rlwe.NewSecretKey(params)
	sk.Value.Q.Copy(k.secret)
	dec, enc := bgv.NewDecryptor(params, sk), bgv.NewEncoder(params)
	open := func(c [2]ring.Poly) []int64 {
		ct := bgv.NewCiphertext(params, 1, 2)
		ct.Value[0].Copy(c[0])
		ct.Value[1].Copy(c[1])
		ct.IsBatched, ct.Scale = true, params.NewScale(1)
		out := make([]int64, Slots)
		if err := enc.Decode(dec.DecryptNew(ct), out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	weights, _ := s.card.fold()
	for j, w := range weights {
		for _, v := range open(s.model.column[j]) {
			if v != w {
				t.Fatalf("column %d decrypts to %d, want %d", j, v, w)
			}
		}
	}
	// lattigo's slots stand in another order: compare sets.
	b := prepare(t, &s.card.Spec, smallRows)
	got := open(s.model.sum(b.blocks[0]))
	slices.Sort(got)
	_, constant := s.card.fold()
	want := make([]int64, Slots)
	for i, row := range smallRows {
		v, _ := s.card.Score(row)
		want[i] = v - constant
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Error("lattigo decrypts other scores")
	}
}

// TestSamplers: distributions that the security of the scheme counts on.
func TestSamplers(t *testing.T) {
	c := make([]int64, Slots)
	counts := map[int64]int{}
	for range 8 {
		ternary(fresh, c)
		for _, v := range c {
			counts[v]++
		}
	}
	for v, n := range counts {
		if v < -1 || v > 1 || n < 21100 || n > 22590 { // 65,536/3 ± 6 σ
			t.Errorf("ternary: %d came %d times", v, n)
		}
	}
	sum, squares := 0.0, 0.0
	for range 8 {
		binomial(fresh, c)
		for _, v := range c {
			if v < -errorEta || v > errorEta {
				t.Fatalf("an error of %d", v)
			}
			sum, squares = sum+float64(v), squares+float64(v*v)
		}
	}
	if n := float64(8 * Slots); math.Abs(sum/n) > 0.08 || math.Abs(squares/n-10.5) > 0.4 {
		t.Errorf("errors: mean %.3f, variance %.3f", sum/n, squares/n)
	}
	p := expand([32]byte{1}, 7)
	for i, s := range ringQ.SubRings {
		mean := 0.0
		for _, v := range p.Coeffs[i] {
			if v >= s.Modulus {
				t.Fatal("a coefficient that is not reduced")
			}
			mean += float64(v) / float64(s.Modulus) / Slots
		}
		if math.Abs(mean-0.5) > 0.02 {
			t.Errorf("modulus %d: mean %.3f", i, mean)
		}
	}
	q, r := expand([32]byte{1}, 8), expand([32]byte{2}, 7)
	if p.Equal(&q) || p.Equal(&r) {
		t.Error("other seeds or places give the same polynomial")
	}
}

// TestFreshness: two answers about the same batch share nothing, in either half.
func TestFreshness(t *testing.T) {
	s := seal(t, small())
	b := prepare(t, &s.card.Spec, smallRows)
	var blocks [2][2]ring.Poly
	for i := range blocks {
		answer, err := provider().Evaluate(t.Context(), s.model, b)
		if err != nil {
			t.Fatal(err)
		}
		block := answer[len(answer)-2*polyBytes(0):]
		for half := range 2 {
			if blocks[i][half], err = readPoly(block[half*polyBytes(0):(half+1)*polyBytes(0)], 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for half := range 2 {
		same := 0
		for i, v := range blocks[0][half].Coeffs[0] {
			if v == blocks[1][half].Coeffs[0][i] {
				same++
			}
		}
		if same > 2 {
			t.Errorf("half %d: %d coefficients are the same", half, same)
		}
	}
	// A batch of zeros has a sum of zeros: only the re-randomisation stands between the bank and that.
	c := s.model.sum(prepare(t, &s.card.Spec, [][]string{nil}).blocks[0])
	if zero := ringQ.NewPoly(); !c[1].Equal(&zero) {
		t.Fatal("the sum over absent companies isn't zero")
	}
	s.model.hide(&c, fresh)
	for i, v := range c[1].Coeffs[0] {
		if v == 0 {
			t.Errorf("coefficient %d of the second half is bare", i)
		}
	}
}

// TestPacking: polynomials have one form.
func TestPacking(t *testing.T) {
	p := expand([32]byte{9}, 0)
	b := appendPoly(nil, p)
	got, err := readPoly(b, 2)
	if err != nil || !got.Equal(&p) || len(b) != 8192*164/8 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if !bytes.Equal(appendPoly(nil, got), b) {
		t.Error("another form")
	}
	for i, r := range ringQ.SubRings {
		p := *p.CopyNew()
		p.Coeffs[i][Slots-1] = r.Modulus
		if _, err := readPoly(appendPoly(nil, p), 2); err == nil {
			t.Errorf("modulus %d: a coefficient that is not reduced was read", i)
		}
	}
	for _, n := range []int{0, 1, len(b) - 1, len(b) + 1, polyBytes(1), polyBytes(0)} {
		if _, err := readPoly(append(b, 0)[:n], 2); err == nil {
			t.Errorf("%d bytes were read as a polynomial", n)
		}
	}
}
