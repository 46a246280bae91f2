package contracts_test

import (
	"crypto/elliptic"
	"math/big"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/signing"
)

func TestSuitesVerify(t *testing.T) {
	ed := signing.Ed25519([32]byte{1})
	ec, err := signing.ES256([32]byte{31: 9})
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("外滩")
	for _, k := range []signing.Key{ed, ec} {
		if err := k.Public.Check(); err != nil {
			t.Errorf("%s: %v", k.Public.Suite(), err)
		}
		sig := k.Sign(msg)
		if !k.Public.Verify(msg, sig) {
			t.Errorf("%s: its own signature does not verify", k.Public.Suite())
		}
		for i := range sig {
			bad := append([]byte{}, sig...)
			bad[i] ^= 1
			if k.Public.Verify(msg, bad) {
				t.Fatalf("%s: byte %d of a signature may be changed", k.Public.Suite(), i)
			}
		}
		if k.Public.Verify([]byte("外摊"), sig) || k.Public.Verify(msg, sig[:63]) || k.Public.Verify(msg, append(sig, 0)) || k.Public.Verify(msg, nil) {
			t.Errorf("%s: another message or length verifies", k.Public.Suite())
		}
	}
	if ed.Public.Verify(msg, ec.Sign(msg)) || ec.Public.Verify(msg, ed.Sign(msg)) {
		t.Error("a signature of another suite verifies")
	}
}

// Of the two ECDSA signatures (r, s) and (r, n−s) only the one with low s is accepted.
func TestES256LowS(t *testing.T) {
	k, err := signing.ES256([32]byte{31: 7})
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("one signature, one encoding")
	sig := k.Sign(msg)
	high := append([]byte{}, sig...)
	s := new(big.Int).SetBytes(sig[32:])
	new(big.Int).Sub(elliptic.P256().Params().N, s).FillBytes(high[32:])
	if k.Public.Verify(msg, high) {
		t.Error("a signature with high s verifies")
	}
	if !k.Public.Verify(msg, contracts.ES256Signature(new(big.Int).SetBytes(high[:32]), new(big.Int).SetBytes(high[32:]))) {
		t.Error("lowered again it does not verify")
	}
	for _, zero := range []int{0, 32} {
		bad := append([]byte{}, sig...)
		copy(bad[zero:zero+32], make([]byte, 32))
		if k.Public.Verify(msg, bad) {
			t.Error("r or s of zero verifies")
		}
	}
}

func TestPublicKeyCheck(t *testing.T) {
	ed := string(signing.Ed25519([32]byte{1}).Public)
	_, h, _ := strings.Cut(ed, ":")
	for _, bad := range []string{"", ":", "ed25519", "ed25519:", "ed25519:" + strings.ToUpper(h), "ed25519:" + h + "00", "ed25519:" + h[2:], "ED25519:" + h,
		"es256:" + h, "es256:04" + h, "es256:02" + strings.Repeat("f", 64), "rsa:" + h, "x25519:" + h + "00", " " + ed, "sm2-sm3:" + h, "webauthn-es256:" + h} {
		if contracts.PublicKey(bad).Check() == nil {
			t.Errorf("%q passes", bad)
		}
		if contracts.PublicKey(bad).Verify([]byte("m"), make([]byte, 64)) {
			t.Errorf("%q verifies", bad)
		}
	}
	if a, b := contracts.PublicKey(ed).ID(), contracts.PublicKey("es256:"+h).ID(); a == b {
		t.Error("the suite is not part of a key's id")
	}
}
