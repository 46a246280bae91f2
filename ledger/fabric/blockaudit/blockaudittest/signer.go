package blockaudittest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"

	"github.com/hyperledger/fabric-protos-go/msp"
)

// Signer is somebody of the network with a key.
type Signer struct {
	Identity []byte // serialised
	Cert     *x509.Certificate
	Key      *ecdsa.PrivateKey
}

func newSigner(name string, b []byte) (*Signer, error) {
	s := &Signer{}
	var chain []byte
	for p, rest := pem.Decode(b); p != nil; p, rest = pem.Decode(rest) {
		switch p.Type {
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(p.Bytes)
			if err != nil {
				return nil, err
			}
			s.Key, _ = k.(*ecdsa.PrivateKey)
		case "CERTIFICATE":
			var err error
			if s.Cert, err = x509.ParseCertificate(p.Bytes); err != nil {
				return nil, err
			}
			chain = pem.EncodeToMemory(p)
		}
	}
	if s.Key == nil || s.Cert == nil {
		return nil, errors.New("no key or no certificate")
	}
	organisation, _, _ := strings.Cut(name, ".")
	s.Identity = encode(&msp.SerializedIdentity{Mspid: organisation, IdBytes: chain})
	return s, nil
}

// As gives the same key under another identity.
func (s *Signer) As(identity []byte) *Signer {
	return &Signer{Identity: identity, Cert: s.Cert, Key: s.Key}
}

// Sign signs as Fabric wants it: with a low S.
func (s *Signer) Sign(message []byte) []byte {
	d := sha256.Sum256(message)
	r, x, err := ecdsa.Sign(rand.Reader, s.Key, d[:])
	must(err)
	if n := s.Key.Params().N; x.Cmp(new(big.Int).Rsh(n, 1)) > 0 {
		x.Sub(n, x)
	}
	b, err := asn1.Marshal(struct{ R, S *big.Int }{r, x})
	must(err)
	return b
}

// High gives the other form of a signature, which Fabric refuses.
func (s *Signer) High(sig []byte) []byte {
	var x struct{ R, S *big.Int }
	_, err := asn1.Unmarshal(sig, &x)
	must(err)
	b, err := asn1.Marshal(struct{ R, S *big.Int }{x.R, new(big.Int).Sub(s.Key.Params().N, x.S)})
	must(err)
	return b
}
