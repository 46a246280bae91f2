package gate

import (
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
)

// Request is the body of a call between two nodes, in canonical JSON. The consent's key is in it: the one node that the
// consent names recomputes the subject and forgets both.
type Request struct {
	AsOf       contracts.Millis     `json:"asOf,omitempty"`    // facts of that time
	KnownAt    contracts.Millis     `json:"knownAt,omitempty"` // as known at that time, for back-tests
	Consent    contracts.ID         `json:"consent,omitempty"`
	ConsentKey []byte               `json:"consentKey,omitempty"` // 32 bytes
	Fields     []string             `json:"fields"`
	Operation  policy.Operation     `json:"operation"`
	Purpose    policy.Purpose       `json:"purpose"`
	Subject    contracts.CreditCode `json:"subject"`
}

// Check refuses a request that names no field or half a consent.
func (r Request) Check() error {
	if len(r.Fields) == 0 || len(r.Fields) > policy.MaxFields {
		return errors.New("fields has 1 to 512 names")
	}
	if (r.Consent == "") != (len(r.ConsentKey) == 0) || len(r.ConsentKey) != 0 && len(r.ConsentKey) != 32 {
		return errors.New("a consent comes with its key of 32 bytes, and only together")
	}
	return nil
}

// ParseRequest reads a call's body: exactly the canonical bytes.
func ParseRequest(body []byte) (*Request, error) {
	r := new(Request)
	if err := canon.Unmarshal(body, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Bytes gives the body of a call.
func (r Request) Bytes() []byte { return canon.Marshal(r) }

// NewConsentKey makes the key of a consent.
func NewConsentKey() (k [32]byte) {
	rand.Read(k[:])
	return k
}

// ConsentKeyHex is how a bank's systems hand it to their node.
func ConsentKeyHex(k [32]byte) string { return hex.EncodeToString(k[:]) }
