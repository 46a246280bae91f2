// Package signing makes what contracts verifies: keys, signed submissions, commitments. Nothing here decides anything.
package signing

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Key is a private key with its ledger form. Its zero value signs nothing.
type Key struct {
	Public contracts.PublicKey
	sign   func(msg []byte) []byte
}

// Sign signs msg in the encoding that contracts accepts.
func (k Key) Sign(msg []byte) []byte { return k.sign(msg) }

// Signed signs msg for use inside a body.
func (k Key) Signed(msg []byte) contracts.Signed {
	return contracts.Signed{Key: k.Public, Sig: k.Sign(msg)}
}

// Ed25519 makes a key from its 32-byte seed.
func Ed25519(seed [32]byte) Key {
	p := ed25519.NewKeyFromSeed(seed[:])
	return Key{contracts.Ed25519Key(p.Public().(ed25519.PublicKey)), func(msg []byte) []byte { return ed25519.Sign(p, msg) }}
}

// ES256 makes a P-256 key from a 32-byte scalar; it refuses one that is zero or beyond the order.
func ES256(scalar [32]byte) (Key, error) {
	d := new(big.Int).SetBytes(scalar[:])
	if d.Sign() == 0 || d.Cmp(elliptic.P256().Params().N) >= 0 {
		return Key{}, errors.New("signing: the scalar is no P-256 private key")
	}
	p, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	if err != nil {
		return Key{}, fmt.Errorf("couldn't make P-256 key: %w", err)
	}
	return Key{contracts.ES256Key(&p.PublicKey), func(msg []byte) []byte {
		h := sha256.Sum256(msg)
		r, s, err := ecdsa.Sign(rand.Reader, p, h[:])
		if err != nil {
			panic(err) // only a broken source of randomness
		}
		return contracts.ES256Signature(r, s)
	}}, nil
}

// Sign makes the submission of a command: keys[0] leads, all sign the same bytes.
func Sign(u contracts.Unsigned, openings []contracts.Opening, keys ...Key) (contracts.Submission, contracts.ID) {
	u.Lead = keys[0].Public
	raw, id := u.Bytes()
	sub := contracts.Submission{Raw: raw, Openings: openings}
	for _, k := range keys {
		sub.Signatures = append(sub.Signatures, contracts.Signature{Key: k.Public, Sig: k.Sign(raw)})
	}
	return sub, id
}

// Commit makes the opening of a private value and the commitment to it.
func Commit(tag string, salt [32]byte, value any) (contracts.Hash, contracts.Opening) {
	o := contracts.Opening{Salt: salt, Value: canon.Marshal(value)}
	return o.Commitment(tag), o
}
