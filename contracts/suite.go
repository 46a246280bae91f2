package contracts

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Suite names a signature algorithm together with its encodings.
type Suite string

const (
	Ed25519 Suite = "ed25519" // RFC 8032; 32-byte key, 64-byte signature
	ES256   Suite = "es256"   // ECDSA P-256, SHA-256; 33-byte compressed point, r‖s with low s

	X25519 Suite = "x25519" // RFC 7748; receives, never signs

	// Reserved: refused with key.suite_unsupported until their issue.
	WebAuthnES256 Suite = "webauthn-es256"
	SM2SM3        Suite = "sm2-sm3"
)

var errReservedSuite = errors.New("this suite is reserved and not yet supported")

// PublicKey is "<suite>:<lower-case hex>", for example "ed25519:d75a98…". It is the whole identity of a key: its id
// is derived from these bytes, so a signature can be verified before any state is read.
type PublicKey string

// Suite gives the part before the colon.
func (k PublicKey) Suite() Suite { s, _, _ := strings.Cut(string(k), ":"); return Suite(s) }

// ID is the key's name on the ledger: the first 16 bytes of SHA-256 over its text.
func (k PublicKey) ID() ID { return ID(HashOf("bund/key/v1", []byte(k))[:32]) }

func (k PublicKey) bytes() ([]byte, bool) {
	_, h, ok := strings.Cut(string(k), ":")
	b, err := hex.DecodeString(h)
	return b, ok && err == nil && hex.EncodeToString(b) == h
}

// Check reports a key that no signature can be verified with.
func (k PublicKey) Check() error {
	b, ok := k.bytes()
	if !ok {
		return errors.New(`want "<suite>:<lower-case hex>"`)
	}
	switch k.Suite() {
	case Ed25519:
		if len(b) != ed25519.PublicKeySize {
			return errors.New("want 32 bytes")
		}
	case X25519:
		if len(b) != 32 {
			return errors.New("want 32 bytes")
		}
	case ES256:
		if p256Key(b) == nil {
			return errors.New("want a compressed point of P-256")
		}
	case WebAuthnES256, SM2SM3:
		return fmt.Errorf("%w: %s", errReservedSuite, k.Suite())
	default:
		return errors.New("unknown suite")
	}
	return nil
}

// Verify reports whether sig is k's signature over msg. A high-s ECDSA signature is not accepted: of the two
// encodings of one signature only one is valid, so a signature can't be altered in flight.
func (k PublicKey) Verify(msg, sig []byte) bool {
	b, ok := k.bytes()
	if !ok || len(sig) != 64 {
		return false
	}
	switch k.Suite() {
	case Ed25519:
		return len(b) == ed25519.PublicKeySize && ed25519.Verify(b, msg, sig)
	case ES256:
		key := p256Key(b)
		if key == nil {
			return false
		}
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		if s.Cmp(halfOrderP256) > 0 {
			return false
		}
		d := sha256.Sum256(msg)
		return ecdsa.Verify(key, d[:], r, s)
	}
	return false
}

var halfOrderP256 = new(big.Int).Rsh(elliptic.P256().Params().N, 1)

// Ed25519Key gives the ledger's form of an ed25519 public key.
func Ed25519Key(k ed25519.PublicKey) PublicKey {
	return PublicKey(string(Ed25519) + ":" + hex.EncodeToString(k))
}

// ES256Key gives the ledger's form of a P-256 public key.
func ES256Key(k *ecdsa.PublicKey) PublicKey {
	b, err := k.Bytes() // 4 ‖ x ‖ y
	if err != nil || k.Curve != elliptic.P256() {
		panic("contracts: no key of P-256")
	}
	return PublicKey(string(ES256) + ":" + hex.EncodeToString(append([]byte{2 | b[64]&1}, b[1:33]...)))
}

// p256Key reads a compressed point, nil when it is none of the curve.
func p256Key(b []byte) *ecdsa.PublicKey {
	if len(b) != 33 {
		return nil
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), b)
	if x == nil {
		return nil
	}
	u := make([]byte, 65)
	u[0] = 4
	x.FillBytes(u[1:33])
	y.FillBytes(u[33:])
	k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), u)
	if err != nil {
		return nil
	}
	return k
}

// ES256Signature turns a DER-less (r, s) pair into the one accepted encoding, r‖s with low s.
func ES256Signature(r, s *big.Int) []byte {
	if s.Cmp(halfOrderP256) > 0 {
		s = new(big.Int).Sub(elliptic.P256().Params().N, s)
	}
	b := make([]byte, 64)
	r.FillBytes(b[:32])
	s.FillBytes(b[32:])
	return b
}
