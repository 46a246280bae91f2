package peer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// Pins makes the TLS of one node.
type Pins struct {
	Key ed25519.PrivateKey // TLS key

	// Read calls fn with each state that must know a peer, and ends at the first error: the followed state at one
	// position, then, where something was announced since, that state with the announced writes on top. A revocation so
	// acts at once, and an announced key not yet.
	Read func(fn func(st contracts.State) error) error

	Now func() time.Time
}

// ServerName is what every node's certificate is for: nodes are told apart by keys, not by names.
const ServerName = "node.bund"

// certificate is made anew at each start; only its key means anything.
func (p Pins) certificate() (tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "bund node"}, DNSNames: []string{ServerName},
		NotBefore: p.Now().Add(-time.Hour), NotAfter: p.Now().Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, p.Key.Public(), p.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("couldn't make the node's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: p.Key}, nil
}

// Server gives the configuration of a node that serves: only nodes on the ledger get past the handshake.
func (p Pins) Server() (*tls.Config, error) {
	c, err := p.certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := p.of(&cs)
			return err
		}}, nil
}

// Of reads, for a request on a connection that stands, who the peer is now: a key revoked since the handshake no
// longer counts.
func (p Pins) Of(r *http.Request) (Identity, error) { return p.of(r.TLS) }

func (p Pins) of(cs *tls.ConnectionState) (id Identity, err error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return Identity{}, ErrUnknown
	}
	key, err := KeyOf(cs.PeerCertificates[0])
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	err = p.Read(func(st contracts.State) error {
		now, err := Identify(st, key, p.now())
		if err == nil && id == (Identity{}) {
			id = now
		}
		return err
	})
	if err != nil {
		return Identity{}, err
	}
	return id, nil
}

func (p Pins) now() contracts.Millis { return contracts.Millis(p.Now().UnixMilli()) }
