// Package peer connects two nodes: TLS 1.3 on both sides, with self-made certificates whose keys are pinned to the
// ledger. No certificate authority has a word in it: a key that the ledger doesn't hold for a node in service is
// refused, at the handshake and again at each request, so that a revocation acts on connections that stand.
package peer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Identity is who a connection's other side is, by the ledger.
type Identity struct {
	Member contracts.ID
	Node   contracts.ID
	Region string // where the node processes
}

// Unknown is the code of ErrUnknown on the wire.
const Unknown contracts.Code = "peer.unknown"

var (
	// ErrUnknown is the refusal of a peer whose key the ledger doesn't hold for a node in service.
	ErrUnknown = errors.New(string(Unknown) + ": the ledger holds no node in service with this key")

	// ErrAnother is the refusal of a peer that is a node in service, and not the one that was called.
	ErrAnother = errors.New(string(Unknown) + ": another node answers at this address")
)

// Identify reads which node a TLS key stands for now.
func Identify(st contracts.State, key contracts.PublicKey, now contracts.Millis) (Identity, error) {
	id := key.ID()
	k, err := record[contracts.Key](st, contracts.KeyKey(id))
	if err != nil {
		return Identity{}, err
	}
	n, err := inService(st, k.Node, now)
	if err != nil {
		return Identity{}, err
	}
	if n.TLSKey != id {
		return Identity{}, ErrUnknown
	}
	return Identity{Member: n.Member, Node: k.Node, Region: string(n.Region)}, nil
}

// inService reads a node and makes sure that its TLS key is in force.
func inService(st contracts.State, id contracts.ID, now contracts.Millis) (*contracts.Node, error) {
	n, err := record[contracts.Node](st, contracts.KeyNode(id))
	if err != nil {
		return nil, err
	}
	k, err := record[contracts.Key](st, contracts.KeyKey(n.TLSKey))
	if err != nil {
		return nil, err
	}
	if n.Retired != 0 || k.Node != id || k.Purpose != contracts.PurposeTLS || k.Revoked != 0 || k.NotAfter != 0 && now > k.NotAfter {
		return nil, ErrUnknown
	}
	return n, nil
}

// remembering is a State that keeps records in their decoded form; nobody changes what it gives.
type remembering interface {
	Record(key string, read func(value []byte) (any, error)) (any, error)
}

// record reads a record, ErrUnknown when there is none.
func record[T any](st contracts.State, key string) (*T, error) {
	if m, ok := st.(remembering); ok {
		r, err := m.Record(key, func(b []byte) (any, error) { return contracts.Read[T](b) })
		if err != nil {
			return nil, fmt.Errorf("couldn't decode %s: %w", key, err)
		}
		if t, ok := r.(*T); ok {
			return t, nil
		}
		return nil, ErrUnknown
	}
	b, err := st.Get(key)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, ErrUnknown
	}
	r, err := contracts.Read[T](b)
	if err != nil {
		return nil, fmt.Errorf("couldn't decode %s: %w", key, err)
	}
	return r, nil
}

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
