package ledger

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

var operator = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))

func promises(n int) []*Promise {
	ps := make([]*Promise, n)
	for i := range ps {
		ps[i] = &Promise{Position: uint64(100 + i), Time: 1_790_000_000_000, Hash: Hash([]byte{byte(i), byte(i >> 8)})}
	}
	SignPromises(operator, "ledger.example/1", ps)
	return ps
}

func TestPromisesVerify(t *testing.T) {
	pub := operator.Public().(ed25519.PublicKey)
	for n := 1; n <= 70; n++ {
		for _, p := range promises(n) {
			if err := p.Verify(pub, "ledger.example/1"); err != nil {
				t.Fatalf("%d of %d: %v", p.Index, n, err)
			}
			q, err := DecodePromise(p.Encode())
			if err != nil || q.Verify(pub, "ledger.example/1") != nil {
				t.Fatalf("%d of %d doesn't survive its encoding: %v", p.Index, n, err)
			}
		}
	}
	p := promises(1024)[777]
	if len(p.Path) != 10 {
		t.Errorf("path of %d hashes", len(p.Path))
	}
	if p.Verify(pub, "ledger.example/2") == nil {
		t.Error("a promise of another ledger")
	}
	other := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	if p.Verify(other, "ledger.example/1") == nil {
		t.Error("a promise of another operator")
	}
	if p.Verify(nil, "ledger.example/1") == nil {
		t.Error("a promise without a key")
	}
}

// No bit of a promise can be changed.
func TestPromiseAltered(t *testing.T) {
	pub := operator.Public().(ed25519.PublicKey)
	ps := promises(37)
	rapid.Check(t, func(t *rapid.T) {
		b := ps[rapid.IntRange(0, 36).Draw(t, "which")].Encode()
		b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if p, err := DecodePromise(b); err == nil && p.Verify(pub, "ledger.example/1") == nil {
			t.Fatal("an altered promise verifies")
		}
	})
}

func TestPromiseKept(t *testing.T) {
	e := &Entry{Position: 5, Time: 1_790_000_000_000, Raw: []byte("{}")}
	enc := e.Encode()
	p := &Promise{Position: 5, Time: e.Time, Hash: Hash(enc)}
	if err := p.Kept(enc); err != nil {
		t.Error(err)
	}
	e.Raw = []byte("{ }")
	if p.Kept(e.Encode()) == nil || p.Kept([]byte("x")) == nil {
		t.Error("another entry keeps the promise")
	}
}

// A leaf of the batch's tree is no inner node of it: RFC 6962's prefixes.
func TestPromiseTreeIsRFC6962(t *testing.T) {
	ps := promises(3)
	h := rfc6962.DefaultHasher
	want := h.HashChildren(h.HashChildren(ps[0].leaf(), ps[1].leaf()), ps[2].leaf())
	if !ed25519.Verify(operator.Public().(ed25519.PublicKey), promisedBytes("ledger.example/1", 3, want), ps[0].Sig) {
		t.Error("another root was signed")
	}
}

func TestDeadline(t *testing.T) {
	at, err := Deadline("01a0c4506c00da090f9d21504060cf1f")
	if err != nil || at != 0x01a0c4506c00+600_000 {
		t.Errorf("%d, %v", at, err)
	}
	for _, bad := range []string{"", "01A0c4506c00da090f9d21504060cf1f", "01a0"} {
		if _, err := Deadline(contracts.ID(bad)); err == nil {
			t.Errorf("%q is an id", bad)
		}
	}
}

func FuzzDecodePromise(f *testing.F) {
	for _, p := range promises(5) {
		f.Add(p.Encode())
	}
	f.Add([]byte{1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := DecodePromise(b); err == nil && !bytes.Equal(p.Encode(), b) {
			t.Fatal("a promise that Encode doesn't write")
		}
	})
}
