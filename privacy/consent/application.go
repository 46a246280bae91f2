package consent

import (
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// MaxClaims is how many companies one ticket is for.
const MaxClaims = 1024

// Application is what a bank shows the consent service, and nobody else: it names companies.
type Application struct {
	Binding Binding `json:"binding"`
	Claims  []Claim `json:"claims"` // in the order of the lookup request's elements
}

// Claim says whose one point is, and on which consent the bank rests.
type Claim struct {
	Code       contracts.CreditCode `json:"code"`
	Consent    contracts.ID         `json:"consent"`
	ConsentKey [32]byte             `json:"consentKey"`
	Point      [32]byte             `json:"point"`
	Proof      [ProofBytes]byte     `json:"proof"`
}

// Check refuses an application that is for nobody, for too many, or for one company or consent twice.
func (a Application) Check() error {
	if len(a.Claims) == 0 || len(a.Claims) > MaxClaims {
		return fmt.Errorf("an application has 1 to %d claims", MaxClaims)
	}
	codes, points := make(map[contracts.CreditCode]bool, len(a.Claims)), make(map[[32]byte]bool, len(a.Claims))
	for _, c := range a.Claims {
		if codes[c.Code] || points[c.Point] {
			return errors.New("a company or a point is there twice")
		}
		codes[c.Code], points[c.Point] = true, true
	}
	return nil
}

// Held is how the bank came by the consent of one company that it asks about.
type Held struct {
	Consent contracts.ID
	Key     [32]byte
}

// Apply makes the application for a query whose ids are credit codes; held gives the consents in the query's order. The
// binding's Table is the query's.
func Apply(q *lookup.Query, b Binding, held []Held) (*Application, error) {
	if len(held) != q.Len() || q.Len() > MaxClaims {
		return nil, refuse(Malformed, "an application has a consent for each of 1 to %d companies", MaxClaims)
	}
	b.Table = q.Request().Table()
	a := &Application{Binding: b, Claims: make([]Claim, q.Len())}
	for i := range a.Claims {
		id, r, m := q.Secret(i)
		proof, err := ProveBlind(id, r, m, &b, i)
		if err != nil {
			return nil, err
		}
		a.Claims[i] = Claim{Code: contracts.CreditCode(id), Consent: held[i].Consent, ConsentKey: held[i].Key, Point: [32]byte(q.Request().Element(i)), Proof: [ProofBytes]byte(proof)}
	}
	return a, nil
}

// Bytes is the application's one form.
func (a *Application) Bytes() []byte { return canon.Marshal(*a) }

// ParseApplication reads it.
func ParseApplication(b []byte) (*Application, error) {
	a := new(Application)
	if err := canon.Unmarshal(b, a); err != nil {
		return nil, refuse(Malformed, "the application: %v", err)
	}
	return a, nil
}
