package verifying

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"math/big"
	"sync"
	"testing"

	"filippo.io/edwards25519"
	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
)

// tableOf must not be nil for a key that crypto/ed25519 can use.
func tableOf(t testing.TB, key []byte) *table {
	t.Helper()
	tab := newTable(contracts.Ed25519Key(key))
	if tab == nil {
		t.Fatalf("no table of %x", key)
	}
	return tab
}

// same fails unless table and crypto/ed25519 agree, and gives their answer.
func same(t testing.TB, tab *table, msg, sig []byte) bool {
	t.Helper()
	want := ed25519.Verify(tab.key[:], msg, sig)
	if got := tab.verify(msg, sig); got != want {
		t.Fatalf("key %x, message %x, signature %x: the table says %v, crypto/ed25519 %v", tab.key, msg, sig, got, want)
	}
	return want
}

// order is L, the order of the prime subgroup.
var order, _ = new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)

func littleEndian(n *big.Int) []byte {
	b := n.FillBytes(make([]byte, 32))
	for i := range 16 {
		b[i], b[31-i] = b[31-i], b[i]
	}
	return b
}

// awkward lists encodings of points that implementations are known to differ on (Chalkias, Garillot, Nikolaenko 2020;
// de Valence 2020): all of small order, canonical or not, and some that are not reduced.
func awkward() map[string][]byte {
	out := map[string][]byte{}
	for name, h := range map[string]string{
		"order 1":                        "0100000000000000000000000000000000000000000000000000000000000000",
		"order 1, sign of x=0":           "0100000000000000000000000000000000000000000000000000000000000080",
		"order 1, not reduced":           "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"order 1, not reduced, sign":     "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"order 2":                        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"order 2, sign of x=0":           "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"order 4":                        "0000000000000000000000000000000000000000000000000000000000000000",
		"order 4, sign":                  "0000000000000000000000000000000000000000000000000000000000000080",
		"order 4, not reduced":           "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"order 4, not reduced, sign":     "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"order 8":                        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"order 8, sign":                  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"order 8, the other":             "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"order 8, the other, sign":       "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"y = p+3, not reduced":           "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"y = p+4, not reduced, sign":     "f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"the generator":                  "5866666666666666666666666666666666666666666666666666666666666666",
		"the generator's negative":       "58666666666666666666666666666666666666666666666666666666666666e6",
		"y = 2^255−1, not reduced, sign": "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	} {
		b, err := hex.DecodeString(h)
		if err != nil || len(b) != 32 {
			panic(name)
		}
		if _, err := new(edwards25519.Point).SetBytes(b); err == nil {
			out[name] = b
		}
	}
	return out
}

// Keys and halves R of every awkward form, with S that is zero, small, random, L−1, L and beyond: no answer may differ,
// and among them are signatures that crypto/ed25519 accepts.
func TestAwkwardPoints(t *testing.T) {
	points := awkward()
	if len(points) < 15 {
		t.Fatalf("only %d of the encodings are points", len(points))
	}
	scalars := []*big.Int{big.NewInt(0), big.NewInt(1), big.NewInt(8), new(big.Int).Sub(order, big.NewInt(1)), order, new(big.Int).Add(order, big.NewInt(1)),
		new(big.Int).Rsh(order, 1), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)), new(big.Int).Lsh(big.NewInt(1), 253)}
	accepted := map[string]int{}
	for name, key := range points {
		tab := tableOf(t, key)
		for _, r := range points {
			for i, s := range scalars {
				sig := append(append([]byte{}, r...), littleEndian(s)...)
				for m := range 4 {
					if same(t, tab, fmt.Appendf(nil, "%d %d", i, m), sig) {
						accepted[name]++
					}
				}
			}
		}
	}
	for _, name := range []string{"order 1", "order 1, not reduced, sign", "order 2", "order 4", "order 8", "order 8, the other, sign"} {
		if accepted[name] == 0 {
			t.Errorf("no accepted signature under the key of %s: the test shows nothing", name)
		}
	}
}

// A key and an R may each carry a part of small order: crypto/ed25519 multiplies by no cofactor, so one in eight
// messages verifies, or none.
func TestMixedOrder(t *testing.T) {
	var torsion []*edwards25519.Point
	for _, b := range awkward() {
		p, _ := new(edwards25519.Point).SetBytes(b)
		if new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
			torsion = append(torsion, p)
		}
	}
	rng := uint64(7)
	random := func() *edwards25519.Scalar {
		var u [64]byte
		for i := range u {
			rng = rng*6364136223846793005 + 1442695040888963407
			u[i] = byte(rng >> 56)
		}
		s, _ := edwards25519.NewScalar().SetUniformBytes(u[:])
		return s
	}
	yes, no := 0, 0
	for range 8 {
		a := random()
		for _, x := range torsion {
			key := new(edwards25519.Point).Add(new(edwards25519.Point).ScalarBaseMult(a), x).Bytes()
			tab := tableOf(t, key)
			for m := range 24 {
				msg := fmt.Appendf(nil, "%x %d", key, m)
				r := random()
				big := new(edwards25519.Point).ScalarBaseMult(r)
				if m%3 == 0 {
					big.Add(big, torsion[m%len(torsion)])
				}
				sig := big.Bytes()
				k := challenge(sig, key, msg)
				sig = append(sig, edwards25519.NewScalar().MultiplyAdd(k, a, r).Bytes()...)
				if same(t, tab, msg, sig) {
					yes++
				} else {
					no++
				}
			}
		}
	}
	if yes < 100 || no < 100 {
		t.Errorf("%d accepted, %d refused: the test shows nothing", yes, no)
	}
}

// Any key, any message, any signature that is right but for one flipped bit, or for L added to its S.
func TestSameAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed")
		k := ed25519.NewKeyFromSeed(seed)
		tab := newTable(contracts.Ed25519Key(k.Public().(ed25519.PublicKey)))
		msg := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "message")
		sig := ed25519.Sign(k, msg)
		if !tab.verify(msg, sig) {
			t.Fatal("a good signature does not verify")
		}
		bad := append([]byte{}, sig...)
		bit := rapid.IntRange(0, 511).Draw(t, "bit")
		bad[bit/8] ^= 1 << (bit % 8)
		if tab.verify(msg, bad) != ed25519.Verify(tab.key[:], msg, bad) {
			t.Fatalf("another answer about bit %d", bit)
		}
		s := make([]byte, 32)
		for i := range s {
			s[i] = sig[63-i]
		}
		again := append(append([]byte{}, sig[:32]...), littleEndian(new(big.Int).Add(new(big.Int).SetBytes(s), order))...)
		if tab.verify(msg, again) || tab.verify(msg, sig[:63]) || tab.verify(append(msg, 0), sig) {
			t.Fatal("another form, length or message verifies")
		}
	})
}

func FuzzVerify(f *testing.F) {
	k := ed25519.NewKeyFromSeed(make([]byte, 32))
	f.Add([]byte(k.Public().(ed25519.PublicKey)), []byte("外滩"), ed25519.Sign(k, []byte("外滩")))
	for _, p := range awkward() {
		f.Add(p, []byte{}, append(append([]byte{}, p...), make([]byte, 32)...))
	}
	f.Fuzz(func(t *testing.T, key, msg, sig []byte) {
		if len(key) != 32 || len(sig) > 100 {
			return
		}
		tab := newTable(contracts.Ed25519Key(key))
		if tab == nil {
			if len(sig) == 64 && ed25519.Verify(key, msg, sig) {
				t.Fatalf("crypto/ed25519 accepts under the key %x, of which there is no table", key)
			}
			return
		}
		same(t, tab, msg, sig)
	})
}

// A key gets a table after it signed well often enough, and the answers stay.
func TestVerifier(t *testing.T) {
	v := New(2)
	es, err := signing.ES256([32]byte{31: 9})
	if err != nil {
		t.Fatal(err)
	}
	msg, other := []byte("外滩"), []byte("外摊")
	check := func(k signing.Key) {
		t.Helper()
		sig := k.Sign(msg)
		if !v.Verify(k.Public, msg, sig) || v.Verify(k.Public, other, sig) || v.Verify(k.Public, msg, sig[:63]) || v.Verify(k.Public, msg, nil) {
			t.Fatalf("another answer than that of %s", k.Public)
		}
	}
	tables := func() int { return len(v.young) + len(v.old) }
	keys := make([]signing.Key, 8)
	for i := range keys {
		keys[i] = signing.Ed25519([32]byte{byte(i)})
	}
	for range seenOften - 1 {
		check(keys[0])
		check(es)
	}
	for range 2 * seenOften { // only good signatures count
		v.Verify(keys[1].Public, msg, make([]byte, 64))
	}
	if n := tables(); n != 0 {
		t.Fatalf("%d tables of keys that were not seen often", n)
	}
	check(keys[0])
	check(es)
	if n := tables(); n != 1 {
		t.Fatalf("%d tables, want that of one key", n)
	}
	check(keys[0])
	for _, k := range keys {
		for range seenOften + 1 {
			check(k)
			check(es)
			check(keys[0])
		}
		if n := tables(); n > 4 {
			t.Fatalf("%d tables, at most 4", n)
		}
	}
	if v.find(keys[0].Public) == nil {
		t.Error("the key that is used most was forgotten")
	}
	if (v.find(keys[1].Public) != nil) || len(v.seen) > len(keys) {
		t.Error("the key that is used least was kept")
	}
	if bad := contracts.PublicKey("ed25519:00"); v.Verify(bad, msg, make([]byte, 64)) || v.Verify("", msg, nil) || v.Verify("x25519:"+keys[0].Public[8:], msg, keys[0].Sign(msg)) {
		t.Error("something that is no key verifies")
	}
}

// Fresh keys leave neither tables nor more counts than are allowed.
func TestFreshKeys(t *testing.T) {
	v := New(2)
	for i := range maxSeen + 10 {
		v.often(contracts.PublicKey(fmt.Sprint("ed25519:", i)))
	}
	if len(v.seen) > maxSeen {
		t.Errorf("%d keys are counted, at most %d", len(v.seen), maxSeen)
	}
}

func TestTogether(t *testing.T) {
	v := New(1)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 3 * seenOften {
				k := signing.Ed25519([32]byte{byte((g + i) % 3)})
				msg := fmt.Append(nil, g, i)
				sig := k.Sign(msg)
				if !v.Verify(k.Public, msg, sig) || v.Verify(k.Public, append(msg, 1), sig) {
					t.Error("another answer beside others")
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkTable(b *testing.B) {
	k := signing.Ed25519([32]byte{1})
	msg := make([]byte, 700)
	sig := k.Sign(msg)
	t := newTable(k.Public)
	for b.Loop() {
		if !t.verify(msg, sig) {
			b.Fatal("it does not verify")
		}
	}
}

func BenchmarkWithout(b *testing.B) {
	k := signing.Ed25519([32]byte{1})
	msg := make([]byte, 700)
	sig := k.Sign(msg)
	for b.Loop() {
		if !k.Public.Verify(msg, sig) {
			b.Fatal("it does not verify")
		}
	}
}

func BenchmarkNewTable(b *testing.B) {
	k := signing.Ed25519([32]byte{1}).Public
	for b.Loop() {
		newTable(k)
	}
}
