package consent

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
)

// MaxLife is how long a ticket lives at most.
const MaxLife = 5 * time.Minute

// Binding is what a ticket is good for, and all that it is good for.
type Binding struct {
	Agreement contracts.ID     `json:"agreement"`
	Bank      contracts.ID     `json:"bank"`
	Epoch     int64            `json:"epoch"` // of the lookup table's key
	Nonce     [16]byte         `json:"nonce"` // random: a ticket is used once
	NotAfter  contracts.Millis `json:"notAfter"`
	Purpose   policy.Purpose   `json:"purpose"`
	Service   contracts.ID     `json:"service"` // the consent service's node
	Table     contracts.Hash   `json:"table"`   // the lookup request's commitment: key, root and dataset
	Version   contracts.ID     `json:"version"` // of the product
}

// NewNonce makes a binding's nonce.
func NewNonce() (n [16]byte) {
	rand.Read(n[:])
	return n
}

// Check refuses a binding of no epoch or end.
func (b Binding) Check() error {
	if b.Epoch < 1 || b.NotAfter == 0 {
		return errors.New("want an epoch from 1, and notAfter")
	}
	return nil
}

// digest stands for the binding in proofs.
func (b *Binding) digest() [32]byte {
	return sha256.Sum256(append([]byte("bund/lookup-binding/v1\x00"), canon.Marshal(*b)...))
}

// lives refuses an end that has come, or lies too far away.
func (b *Binding) lives(now contracts.Millis) error {
	switch {
	case now >= b.NotAfter:
		return refuse(TicketExpired, "the ticket's end has come")
	case b.NotAfter > now+contracts.Millis(MaxLife.Milliseconds()):
		return refuse(BadLife, "a ticket lives for five minutes at most")
	}
	return nil
}
