// Package peer connects two nodes: TLS 1.3 on both sides, with self-made certificates whose keys are pinned to the
// ledger. No certificate authority has a word in it: a key that the ledger doesn't hold for a node in service is
// refused, and a revoked one from the moment the revocation is followed.
package peer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// Identity is who a connection's other side is, by the ledger.
type Identity struct {
	Member contracts.ID
	Node   contracts.ID
	Region string
}

// ErrUnknown is the refusal of a peer whose key the ledger doesn't hold for a node in service.
var ErrUnknown = errors.New("peer.unknown: the ledger holds no node in service with this key")

// Identify reads who holds a TLS key now.
func Identify(st contracts.State, key contracts.PublicKey, now contracts.Millis) (Identity, error) {
	b, err := st.Get(contracts.KeyKey(key.ID()))
	if err != nil {
		return Identity{}, err
	}
	if b == nil {
		return Identity{}, ErrUnknown
	}
	k, err := contracts.Read[contracts.Key](b)
	if err != nil {
		return Identity{}, err
	}
	if k.Purpose != contracts.PurposeTLS || k.Revoked != 0 || k.NotAfter != 0 && now > k.NotAfter || k.Node == "" {
		return Identity{}, ErrUnknown
	}
	if b, err = st.Get(contracts.KeyNode(k.Node)); err != nil {
		return Identity{}, err
	}
	if b == nil {
		return Identity{}, ErrUnknown
	}
	n, err := contracts.Read[contracts.Node](b)
	if err != nil {
		return Identity{}, err
	}
	if n.Retired != 0 || n.TLSKey != key.ID() {
		return Identity{}, ErrUnknown
	}
	return Identity{Member: n.Member, Node: k.Node, Region: string(n.Region)}, nil
}

// Pins makes TLS configurations of one node.
type Pins struct {
	Key  ed25519.PrivateKey                         // TLS key
	Read func(func(st contracts.State) error) error // followed state at one position
	Now  func() time.Time
}

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

// ServerName is what every node's certificate is for: nodes are told apart by keys, not by names.
const ServerName = "node.bund"

// KeyOf gives a certificate's key in its ledger form.
func KeyOf(c *x509.Certificate) (contracts.PublicKey, error) {
	switch k := c.PublicKey.(type) {
	case ed25519.PublicKey:
		return contracts.Ed25519Key(k), nil
	case *ecdsa.PublicKey:
		if k.Curve.Params().Name == "P-256" {
			return contracts.ES256Key(k), nil
		}
	}
	return "", errors.New("a node's certificate has an ed25519 or P-256 key")
}

func (p Pins) check(want func(Identity) error) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return ErrUnknown
		}
		key, err := KeyOf(cs.PeerCertificates[0])
		if err != nil {
			return err
		}
		id, err := p.identify(key)
		if err != nil {
			return err
		}
		return want(id)
	}
}

// Server gives the configuration of a node that serves: only nodes on the ledger get past the handshake.
func (p Pins) Server() (*tls.Config, error) {
	c, err := p.certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: p.check(func(Identity) error { return nil }),
	}, nil
}

// Client gives the configuration of a node that calls: the other side must be exactly this node.
func (p Pins) Client(node contracts.ID) (*tls.Config, error) {
	c, err := p.certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS13, ServerName: ServerName,
		InsecureSkipVerify: true, // no authority is asked: VerifyConnection pins the key instead
		VerifyConnection: p.check(func(id Identity) error {
			if id.Node != node {
				return errors.New("peer.unknown: another node answers at this address")
			}
			return nil
		}),
	}, nil
}

// Transport gives an HTTP transport to one node.
func (p Pins) Transport(node contracts.ID) (*http.Transport, error) {
	c, err := p.Client(node)
	if err != nil {
		return nil, err
	}
	return &http.Transport{TLSClientConfig: c, MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: false,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 60 * time.Second}, nil
}

// Of reads again, for a request on an established connection, who the peer is now: a key revoked since the handshake
// no longer counts.
func (p Pins) Of(r *http.Request) (Identity, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Identity{}, ErrUnknown
	}
	key, err := KeyOf(r.TLS.PeerCertificates[0])
	if err != nil {
		return Identity{}, err
	}
	return p.identify(key)
}

func (p Pins) identify(key contracts.PublicKey) (id Identity, err error) {
	err = p.Read(func(st contracts.State) error {
		id, err = Identify(st, key, contracts.Millis(p.Now().UnixMilli()))
		return err
	})
	return id, err
}
