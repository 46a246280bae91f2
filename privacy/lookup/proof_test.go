package lookup

import (
	"crypto"
	"testing"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/zk/dleq"
	"pgregory.net/rapid"
)

var circlParams = dleq.Params{G: r255, H: crypto.SHA512, DST: []byte(contextString)}

// TestProofAgainstCircl: each of the two verifies what the other proves, and refuses the same.
func TestProofAgainstCircl(t *testing.T) {
	key, err := NewEpochKey(1, 0)
	ok(t, err)
	for _, n := range []int{1, 2, 7, 8, 9, 47, 49, 255, 256} {
		c := new(chunk)
		for range n {
			e := r255.RandomElement(nil)
			z := r255.NewElement().Mul(e, key.k)
			c.in, c.out = append(c.in, e), append(c.out, z)
			c.inBytes, c.outBytes = appendElement(c.inBytes, e), appendElement(c.outBytes, z)
		}
		nonce := r255.RandomNonZeroScalar(nil)
		ours := c.prove(key, nonce)
		theirs, err := dleq.Prover{Params: circlParams}.ProveBatchWithRandomnessRFC9497(key.k, key.public, c.in, c.out, nonce)
		ok(t, err)
		b, err := theirs.MarshalBinary()
		ok(t, err)
		if string(ours.append(nil)) != string(b) {
			t.Fatalf("%d elements: another proof than circl's", n)
		}
		if !ours.proves(c, key.public) {
			t.Fatalf("%d elements: an honest proof is refused", n)
		}
		one := r255.NewScalar().SetUint64(1)
		for name, p := range map[string]proof{"c": {r255.NewScalar().Add(ours.c, one), ours.s}, "s": {ours.c, r255.NewScalar().Add(ours.s, one)}, "zero": {r255.NewScalar(), r255.NewScalar()}} {
			if p.proves(c, key.public) {
				t.Errorf("%d elements: a proof with another %s is accepted", n, name)
			}
		}
		last := *c
		last.out = append([]group.Element{}, c.out...)
		last.out[n-1] = r255.NewElement().Add(c.out[n-1], r255.Generator())
		last.outBytes = append(append([]byte{}, c.outBytes[:(n-1)*ElementBytes]...), appendElement(nil, last.out[n-1])...)
		if ours.proves(&last, key.public) || last.prove(key, nonce).proves(&last, key.public) {
			t.Errorf("%d elements: a false evaluation is accepted", n)
		}
	}
}

// TestSum holds the buckets against multiplications, for weights of every shape.
func TestSum(t *testing.T) {
	order := r255.NewScalar().Sub(r255.NewScalar(), r255.NewScalar().SetUint64(1)) // −1
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 70).Draw(rt, "n")
		var es []group.Element
		var ws []group.Scalar
		want := r255.Identity()
		for range n {
			e, w := r255.RandomElement(nil), r255.RandomScalar(nil)
			switch rapid.IntRange(0, 5).Draw(rt, "shape") {
			case 0:
				w = r255.NewScalar()
			case 1:
				w = r255.NewScalar().SetUint64(rapid.Uint64().Draw(rt, "small"))
			case 2:
				w = order.Copy()
			case 3:
				if len(es) > 0 {
					e = r255.NewElement().Neg(es[0])
				}
			case 4:
				e = r255.Identity()
			}
			es, ws = append(es, e), append(ws, w)
			want.Add(want, r255.NewElement().Mul(e, w))
		}
		if !sum(es, ws).IsEqual(want) {
			rt.Fatalf("the sum of %d is wrong", n)
		}
	})
}
