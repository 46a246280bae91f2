package policy

import (
	"fmt"
	"strconv"
	"time"
)

// Profile is the IRI of Bund's ODRL profile. Its own terms begin with it, written "bund:operation".
const Profile = "urn:bund:policy:v1"

// ODRL is a policy as an offer in the JSON-LD form of ODRL 2.2 that the Dataspace Protocol 2025-1 uses, for display and
// for other systems to read. encoding/json writes it. It is never signed, hashed or read back: the stored form is.
type ODRL struct {
	Context     []any  `json:"@context"`
	Type        string `json:"@type"` // "Offer"
	ID          string `json:"@id"`
	Profile     string `json:"profile"`
	Permission  []Rule `json:"permission"`
	Prohibition []Rule `json:"prohibition,omitempty"`
	Obligation  []Rule `json:"obligation,omitempty"`
}

// Rule is a permission, prohibition or duty of ODRL.
type Rule struct {
	Action     string       `json:"action"`
	Constraint []Constraint `json:"constraint,omitempty"`
	Duty       []Rule       `json:"duty,omitempty"`
}

// Constraint compares something about a use with a bound.
type Constraint struct {
	LeftOperand  string `json:"leftOperand"`
	Operator     string `json:"operator"`
	RightOperand any    `json:"rightOperand"` // a string, a list of strings or a Literal
}

// Literal is a value with its XML Schema type.
type Literal struct {
	Type  string `json:"@type"`
	Value string `json:"@value"`
}

// ODRL gives the offer with the given IRI as its id.
func (p Policy) ODRL(id string) ODRL {
	use := Rule{Action: "use", Constraint: []Constraint{
		{"purpose", "isAnyOf", iris(p.Purposes)},
		{"bund:operation", "isAnyOf", iris(p.Operations)},
		{"bund:field", "isAnyOf", append([]string{}, p.Fields...)},
		{"spatial", "isAnyOf", words(p.Regions)},
	}}
	bound := func(left, operator string, right any) {
		use.Constraint = append(use.Constraint, Constraint{left, operator, right})
	}
	if p.NotBefore != 0 {
		bound("dateTime", "gteq", moment(p.NotBefore))
	}
	if p.NotAfter != 0 {
		bound("dateTime", "lt", moment(p.NotAfter))
	}
	if p.MaxCalls != 0 {
		bound("count", "lteq", integer(p.MaxCalls))
	}
	if p.MinimumCohort != 0 {
		bound("bund:cohort", "gteq", integer(p.MinimumCohort))
	}
	bound("bund:retention", "lteq", fmt.Sprintf("P%dD", p.RetentionDays))
	if p.ConsentRequired {
		use.Duty = []Rule{{Action: "obtainConsent"}}
	}
	o := ODRL{
		Context: []any{"https://w3id.org/dspace/2025/1/context.jsonld", map[string]string{"bund": Profile + ":", "xsd": "http://www.w3.org/2001/XMLSchema#"}},
		Type:    "Offer", ID: id, Profile: Profile, Permission: []Rule{use},
	}
	for _, x := range p.Prohibitions {
		o.Prohibition = append(o.Prohibition, Rule{Action: odrlActions[string(x)]})
	}
	for _, x := range p.Duties {
		o.Obligation = append(o.Obligation, Rule{Action: odrlActions[string(x)]})
	}
	return o
}

// odrlActions maps to actions of the ODRL vocabulary where it has them.
var odrlActions = map[string]string{
	string(Distribute):     "distribute",
	string(TransferAbroad): "bund:transfer_abroad",
	string(Reidentify):     "bund:reidentify",
	string(CreditDecision): "bund:credit_decision",
	string(Delete):         "delete",
	string(Attribute):      "attribute",
}

func iris[T ~string](xs []T) []string {
	s := words(xs)
	for i := range s {
		s[i] = "bund:" + s[i]
	}
	return s
}

func words[T ~string](xs []T) []string {
	s := make([]string, len(xs))
	for i, x := range xs {
		s[i] = string(x)
	}
	return s
}

func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

func integer(n int64) Literal { return Literal{"xsd:integer", strconv.FormatInt(n, 10)} }
