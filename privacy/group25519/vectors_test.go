package group25519_test

import (
	"crypto/rand"
	"encoding/json"
	"math/big"
	"os"
	"testing"

	"github.com/bund-exchange/bund/privacy/group25519"
)

type vectors struct {
	Ciphersuite, DST string
	Vectors          []struct {
		Msg          string
		U            []string
		P, Q, Q0, Q1 struct{ X string }
	}
}

func readVectors(t *testing.T, name string) vectors {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Vectors) != 5 {
		t.Fatalf("%d vectors, the RFC has 5", len(v.Vectors))
	}
	return v
}

func hexInt(t *testing.T, s string) *big.Int {
	t.Helper()
	x, ok := new(big.Int).SetString(s, 0)
	if !ok {
		t.Fatalf("%q is no number", s)
	}
	return x
}

// TestRFC9380Encode: HashBatch gives the RFC's Q, and a product with a scalar is the product of the RFC's P with an
// eighth of it.
func TestRFC9380Encode(t *testing.T) {
	v := readVectors(t, "rfc9380_curve25519_nu.json")
	if v.Ciphersuite != group25519.Suite {
		t.Fatalf("vectors of %s", v.Ciphersuite)
	}
	k, err := group25519.NewScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	eighth := new(big.Int).Rsh(scalarInt(k), 3)
	ids := make([][]byte, len(v.Vectors))
	for i, c := range v.Vectors {
		ids[i] = []byte(c.Msg)
	}
	got := make([]group25519.Point, len(ids))
	if err := group25519.HashBatch(got, v.DST, ids); err != nil {
		t.Fatal(err)
	}
	for i, c := range v.Vectors {
		if want := fromBig(hexInt(t, c.Q.X)); got[i] != want {
			t.Errorf("%q: Q is %x, want %x", c.Msg, got[i], want)
		}
		if x := oracleMul(toBig(got[i]), big.NewInt(8)); x.Cmp(hexInt(t, c.P.X)) != 0 {
			t.Errorf("%q: [8]Q is %x, want %s", c.Msg, x, c.P.X)
		}
	}
	if err := group25519.MulBatch(got, got, k); err != nil {
		t.Fatal(err)
	}
	for i, c := range v.Vectors {
		if want := fromBig(oracleMul(hexInt(t, c.P.X), eighth)); got[i] != want {
			t.Errorf("%q: product is %x, want %x", c.Msg, got[i], want)
		}
	}
}

// TestRFC9380Map: the map alone, on the ten field elements of the random-oracle suite.
func TestRFC9380Map(t *testing.T) {
	v := readVectors(t, "rfc9380_curve25519_ro.json")
	var us, want []group25519.Point
	for _, c := range v.Vectors {
		us = append(us, fromBig(hexInt(t, c.U[0])), fromBig(hexInt(t, c.U[1])))
		want = append(want, fromBig(hexInt(t, c.Q0.X)), fromBig(hexInt(t, c.Q1.X)))
	}
	for i, got := range group25519.MapToCurve(us) {
		if got != want[i] {
			t.Errorf("u[%d]: %x, want %x", i, got, want[i])
		}
	}
}
