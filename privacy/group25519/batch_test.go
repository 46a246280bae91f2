package group25519_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/cloudflare/circl/dh/x25519"
	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/privacy/group25519"
)

// smallOrder lists the canonical u of all points whose order divides 8, of curve and twist.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000", // order 2 of both
	"0100000000000000000000000000000000000000000000000000000000000000", // order 4
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", // order 8
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157", // order 8
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 4 of the twist
}

func point(t testing.TB, s string) group25519.Point {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != group25519.PointSize {
		t.Fatalf("%q is no point", s)
	}
	return group25519.Point(b)
}

func newScalar(t testing.TB) *group25519.Scalar {
	t.Helper()
	k, err := group25519.NewScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// drawPoint draws any canonical point that is not of small order, on curve or twist.
func drawPoint(t *rapid.T) group25519.Point {
	return rapid.Custom(func(t *rapid.T) group25519.Point {
		b := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "u")
		x := mod(toBig(group25519.Point(b)))
		if oracleMul(x, big.NewInt(8)) == nil {
			x = big.NewInt(9)
		}
		return fromBig(x)
	}).Draw(t, "point")
}

func drawScalar(t *rapid.T) *group25519.Scalar {
	k, err := group25519.NewScalar(strings.NewReader(string(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "scalar"))))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestMulBatch holds batches of every size up to 40, in place and not, against the oracle and circl.
func TestMulBatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		k := drawScalar(t)
		src := make([]group25519.Point, n)
		for i := range src {
			src[i] = drawPoint(t)
		}
		dst := src
		if rapid.Bool().Draw(t, "apart") {
			dst = make([]group25519.Point, n)
		}
		before := append([]group25519.Point(nil), src...)
		if err := group25519.MulBatch(dst, src, k); err != nil {
			t.Fatal(err)
		}
		for i := range dst {
			var want, s, p x25519.Key
			s, p = k.Encode(), x25519.Key(before[i])
			if !x25519.Shared(&want, &s, &p) || dst[i] != group25519.Point(want) {
				t.Fatalf("%d of %d: %x, circl says %x", i, n, dst[i], want)
			}
		}
		if n > 0 {
			i := rapid.IntRange(0, n-1).Draw(t, "i")
			if want := fromBig(oracleMul(toBig(before[i]), scalarInt(k))); dst[i] != want {
				t.Fatalf("%d of %d: %x, want %x", i, n, dst[i], want)
			}
		}
	})
}

// TestProductsCommute is what set intersection needs: k·(l·P) = l·(k·P) for hashed points.
func TestProductsCommute(t *testing.T) {
	ids := make([][]byte, 33)
	for i := range ids {
		ids[i] = fmt.Appendf(nil, "id %d", i)
	}
	kl, lk := make([]group25519.Point, len(ids)), make([]group25519.Point, len(ids))
	if err := errors.Join(group25519.HashBatch(kl, "test", ids), group25519.HashBatch(lk, "test", ids)); err != nil {
		t.Fatal(err)
	}
	k, l := newScalar(t), newScalar(t)
	for _, step := range []struct {
		points []group25519.Point
		k      *group25519.Scalar
	}{{kl, l}, {kl, k}, {lk, k}, {lk, l}} {
		if err := group25519.MulBatch(step.points, step.points, step.k); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[group25519.Point]bool{}
	for i := range kl {
		if kl[i] != lk[i] || seen[kl[i]] {
			t.Fatalf("id %d: %x and %x", i, kl[i], lk[i])
		}
		seen[kl[i]] = true
	}
}

// TestSmallOrder: every point of small order is refused at its place in the batch, whatever the scalar.
func TestSmallOrder(t *testing.T) {
	for _, s := range smallOrder {
		for at := range 3 {
			src := []group25519.Point{{9}, {9}, {9}}
			src[at] = point(t, s)
			err := group25519.MulBatch(src, src, newScalar(t))
			var pe *group25519.PointError
			if !errors.Is(err, group25519.ErrSmallOrder) || !errors.As(err, &pe) || pe.Index != at {
				t.Errorf("%s at %d: %v", s, at, err)
			}
		}
	}
}

// TestNotCanonical: p and all that lies above it is refused, p-2 is not.
func TestNotCanonical(t *testing.T) {
	k := newScalar(t)
	for delta := int64(-3); delta < 19; delta++ {
		p := fromBig(new(big.Int).Add(prime, big.NewInt(delta)))
		for _, high := range []byte{0, 0x80} {
			p[31] = p[31]&0x7f | high
			bad := delta >= 0 || high != 0
			err := group25519.MulBatch(make([]group25519.Point, 2), []group25519.Point{{9}, p}, k)
			var pe *group25519.PointError
			switch {
			case bad != !p.Canonical(),
				bad && (!errors.Is(err, group25519.ErrNotCanonical) || !errors.As(err, &pe) || pe.Index != 1),
				!bad && delta < -1 && err != nil:
				t.Errorf("p%+d, high bit %#x: canonical %v, %v", delta, high, p.Canonical(), err)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		// Runs of 0xff make the bytes that a comparison by words gets wrong.
		b := rapid.SliceOfN(rapid.OneOf(rapid.Just(byte(0xff)), rapid.Byte()), 32, 32).Draw(t, "u")
		b[31] |= 0x7f
		p := group25519.Point(b)
		if p.Canonical() != (toBig(p).Cmp(prime) < 0) {
			t.Fatalf("%x: canonical %v", p, p.Canonical())
		}
	})
}

func TestHashBatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 20).Draw(t, "ids")
		tag := rapid.StringN(1, 60, 255).Draw(t, "tag")
		got := make([]group25519.Point, len(ids))
		if err := group25519.HashBatch(got, tag, ids); err != nil {
			t.Fatal(err)
		}
		for i := range ids {
			x := oracleMap(oracleField(tag, ids[i]))
			if got[i] != fromBig(x) || big.Jacobi(g(x), prime) != 1 {
				t.Fatalf("%x under %q: %x, want %x", ids[i], tag, got[i], fromBig(x))
			}
		}
	})
}

// TestMisuse: lengths that differ, tags without or with too many bytes, an erased scalar.
func TestMisuse(t *testing.T) {
	k := newScalar(t)
	k.Erase()
	one := make([]group25519.Point, 1)
	for name, err := range map[string]error{
		"products":      group25519.MulBatch(one, nil, newScalar(t)),
		"erased scalar": group25519.MulBatch(one, one, k),
		"zero scalar":   group25519.MulBatch(one, one, new(group25519.Scalar)),
		"points":        group25519.HashBatch(one, "tag", nil),
		"no tag":        group25519.HashBatch(one, "", [][]byte{nil}),
		"long tag":      group25519.HashBatch(one, strings.Repeat("x", 256), [][]byte{nil}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestScalar(t *testing.T) {
	k := newScalar(t)
	b := k.Encode()
	back, err := group25519.DecodeScalar(b[:])
	if err != nil || back.Encode() != b {
		t.Fatalf("decoded %v", err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"low bit":  func(b []byte) []byte { b[0] |= 1; return b },
		"high bit": func(b []byte) []byte { b[31] |= 0x80; return b },
		"bit 254":  func(b []byte) []byte { b[31] &^= 0x40; return b },
		"short":    func(b []byte) []byte { return b[:31] },
		"long":     func(b []byte) []byte { return append(b, 0) },
		"erased":   func(b []byte) []byte { return make([]byte, 32) },
	} {
		b := k.Encode()
		if _, err := group25519.DecodeScalar(damage(b[:])); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := group25519.NewScalar(io.LimitReader(rand.Reader, 31)); err == nil {
		t.Error("drew a scalar from 31 bytes")
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("scalar", "k", k, "value", fmt.Sprintf("%v %+v %#v %s %x %d", k, k, k, k, k, *k))
	if strings.Contains(log.String(), hex.EncodeToString(b[:4])) || strings.Contains(log.String(), fmt.Sprint(b[0], b[1])) {
		t.Errorf("a scalar prints itself: %s", log.String())
	}
}

// FuzzMulBatch holds a batch of two against circl, the standard library and the oracle.
func FuzzMulBatch(f *testing.F) {
	f.Add(make([]byte, 32), make([]byte, 64))
	for _, s := range smallOrder {
		p := point(f, s)
		f.Add([]byte("a scalar of thirty-two bytes ..."), append(p[:], make([]byte, 32)...))
		f.Add([]byte("a scalar of thirty-two bytes ..."), append(append([]byte{9}, make([]byte, 31)...), p[:]...))
	}
	f.Fuzz(func(t *testing.T, scalar, points []byte) {
		if len(scalar) != 32 || len(points) != 64 {
			return
		}
		k, err := group25519.NewScalar(strings.NewReader(string(scalar)))
		if err != nil {
			t.Fatal(err)
		}
		src := []group25519.Point{group25519.Point(points[:32]), group25519.Point(points[32:])}
		dst := make([]group25519.Point, 2)
		err = group25519.MulBatch(dst, src, k)
		for _, p := range src {
			if toBig(p).Cmp(prime) >= 0 {
				if !errors.Is(err, group25519.ErrNotCanonical) {
					t.Fatalf("%x: %v", p, err)
				}
				return
			}
		}
		for _, p := range src {
			if oracleMul(toBig(p), big.NewInt(8)) == nil {
				if !errors.Is(err, group25519.ErrSmallOrder) {
					t.Fatalf("%x: %v", p, err)
				}
				return
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range src {
			var circl, s, u x25519.Key
			s, u = k.Encode(), x25519.Key(p)
			x25519.Shared(&circl, &s, &u)
			b := k.Encode()
			priv, err := ecdh.X25519().NewPrivateKey(b[:])
			if err != nil {
				t.Fatal(err)
			}
			pub, err := ecdh.X25519().NewPublicKey(p[:])
			if err != nil {
				t.Fatal(err)
			}
			std, err := priv.ECDH(pub)
			if err != nil {
				t.Fatal(err)
			}
			want := fromBig(oracleMul(toBig(p), scalarInt(k)))
			if dst[i] != want || group25519.Point(circl) != want || group25519.Point(std) != want {
				t.Fatalf("%x: %x, circl %x, standard library %x, oracle %x", p, dst[i], circl, std, want)
			}
		}
	})
}

// FuzzMap holds the map against the oracle, on field elements that hashing would never find.
func FuzzMap(f *testing.F) {
	for _, x := range []int64{0, 1, 2, -1, -2} {
		p := fromBig(mod(big.NewInt(x)))
		f.Add(p[:])
	}
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 32 {
			return
		}
		u := mod(toBig(group25519.Point(b)))
		if got, want := group25519.MapToCurve([]group25519.Point{group25519.Point(b)})[0], fromBig(oracleMap(u)); got != want {
			t.Fatalf("%x: %x, want %x", b, got, want)
		}
	})
}

func BenchmarkMulBatch(b *testing.B) {
	k := newScalar(b)
	src := make([]group25519.Point, 256)
	for i := range src {
		src[i] = group25519.Point{9, byte(i)}
	}
	for b.Loop() {
		if err := group25519.MulBatch(src, src, k); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(src)), "ns/point")
}

func BenchmarkHashBatch(b *testing.B) {
	ids := make([][]byte, 256)
	for i := range ids {
		ids[i] = fmt.Appendf(nil, "9111000%010dX", i)
	}
	dst := make([]group25519.Point, len(ids))
	for b.Loop() {
		if err := group25519.HashBatch(dst, "bench", ids); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ids)), "ns/id")
}
