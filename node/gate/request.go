package gate

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
)

// Request is the body of a call between two nodes, in canonical JSON. The consent's key is in it: the one node that the
// consent names recomputes the subject and forgets both.
//
// What a request holds beside purpose, operation and fields depends on the operation:
//
//	query, verify                    subject, with its consent where the grant requires it
//	joint_score                      subjects, each with its consent; model; units as many
//	private_lookup, consent_lookup   payload (blinded elements), epoch of the table; units as many as elements
//	psi, compute, joint_statistics,  payload, the protocol's own message; units where the operation counts them
//	file
type Request struct {
	AsOf       contracts.Millis     `json:"asOf,omitempty"`    // facts of that time
	KnownAt    contracts.Millis     `json:"knownAt,omitempty"` // as known at that time, for back-tests
	Consent    contracts.ID         `json:"consent,omitempty"`
	ConsentKey []byte               `json:"consentKey,omitempty"` // 32 bytes
	Epoch      int64                `json:"epoch,omitempty"`      // of the lookup table's key
	Fields     []string             `json:"fields"`
	Model      contracts.ID         `json:"model,omitempty"`
	Operation  policy.Operation     `json:"operation"`
	Payload    []byte               `json:"payload,omitempty"` // the protocol's message
	Purpose    policy.Purpose       `json:"purpose"`
	Subject    contracts.CreditCode `json:"subject,omitempty"`
	Subjects   []Subject            `json:"subjects,omitempty"`
	Units      int64                `json:"units,omitempty"` // subjects asked about; absent where it is one
}

// Subject is one of many in a request.
type Subject struct {
	Code       contracts.CreditCode `json:"code"`
	Consent    contracts.ID         `json:"consent,omitempty"`
	ConsentKey []byte               `json:"consentKey,omitempty"` // 32 bytes
}

// MaxSubjects bounds the companies of one request.
const MaxSubjects = 8192

// Check refuses a request that holds less or more than its operation takes.
func (r Request) Check() error {
	if len(r.Fields) > policy.MaxFields || len(r.Fields) == 0 && r.Operation != policy.PSI {
		return errors.New("fields has 1 to 512 names")
	}
	if err := wholeConsent(r.Consent, r.ConsentKey); err != nil {
		return err
	}
	if (r.Subject != "") != (r.Operation == policy.Query || r.Operation == policy.Verify) {
		return errors.New("queries name their subject, and only they")
	}
	if r.Consent != "" && r.Subject == "" {
		return errors.New("a consent stands beside its subject")
	}
	if (len(r.Payload) != 0) == r.Operation.NamesSubject() {
		return errors.New("payload is a protocol's message, where the operation has one")
	}
	lookup := r.Operation == policy.PrivateLookup || r.Operation == policy.ConsentLookup
	switch {
	case (r.Epoch > 0) != lookup || r.Epoch < 0:
		return errors.New("epoch is that of a lookup table, from 1")
	case (r.Model != "") != (r.Operation == policy.JointScore), (len(r.Subjects) > 0) != (r.Operation == policy.JointScore):
		return errors.New("model and subjects are those of a joint score")
	case len(r.Subjects) > MaxSubjects:
		return fmt.Errorf("subjects are %d at most", MaxSubjects)
	case r.Subject != "" && r.Units != 0, r.Units < 0:
		return errors.New("units is how many subjects are asked about, where that is not one")
	case r.Operation == policy.JointScore && r.Units != int64(len(r.Subjects)):
		return errors.New("units is the number of subjects")
	}
	seen := make(map[contracts.CreditCode]bool, len(r.Subjects))
	for _, s := range r.Subjects {
		if err := wholeConsent(s.Consent, s.ConsentKey); err != nil {
			return err
		}
		if seen[s.Code] {
			return errors.New("a subject is there twice")
		}
		seen[s.Code] = true
	}
	return nil
}

func wholeConsent(consent contracts.ID, key []byte) error {
	if (consent == "") != (len(key) == 0) || len(key) != 0 && len(key) != 32 {
		return errors.New("a consent comes with its key of 32 bytes, and only together")
	}
	return nil
}

// Asked is how many units the request asks for.
func (r *Request) Asked() int64 { return max(1, r.Units) }

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
