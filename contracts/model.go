package contracts

import (
	"errors"
	"slices"

	"github.com/bund-exchange/bund/contracts/policy"
)

// Model is a buyer's registered model for joint scoring. The provider computes with its encrypted weights and can't see
// them, so an assessor who has seen them states that they are a scorecard and no device to read features out one by one.
type Model struct {
	Agreement  ID     `json:"agreement"`
	Digest     Hash   `json:"digest"`   // of the encrypted model's bytes
	Features   Hash   `json:"features"` // digest of the list of features that it takes, which the provider knows
	Arity      int64  `json:"arity"`    // how many weights
	Assessor   ID     `json:"assessor"` // who was asked to attest it
	Registered Millis `json:"registered"`

	Document  Hash   `json:"document,omitempty"` // digest of the assessor's signed opinion
	Attested  Millis `json:"attested,omitempty"`
	Expires   Millis `json:"expires,omitempty"`
	Withdrawn Millis `json:"withdrawn,omitempty"`
}

// KeyModel is where a model stands.
func KeyModel(id ID) string { return "model/" + string(id) }

// ModelRegister registers a model under a running agreement.
type ModelRegister struct {
	Agreement ID    `json:"agreement"`
	Digest    Hash  `json:"digest"`
	Features  Hash  `json:"features"`
	Arity     int64 `json:"arity"`
	Assessor  ID    `json:"assessor"`
}

// Check reports a model of no weights.
func (b ModelRegister) Check() error {
	if b.Arity < 1 || b.Arity > policy.MaxFields {
		return errors.New("arity is 1 to 512")
	}
	return nil
}

// ModelAttest is the assessor's statement that the weights behind the digest are an honest scorecard.
type ModelAttest struct {
	Model    ID     `json:"model"`
	Digest   Hash   `json:"digest"`
	Document Hash   `json:"document"`
	Expires  Millis `json:"expires"`
}

// ModelWithdraw ends a model, by its owner or by the assessor that takes the statement back.
type ModelWithdraw struct {
	Model  ID     `json:"model"`
	Reason string `json:"reason"`
}

var modelKinds = []*spec{
	kind("model.register", applyModelRegister, twoPeople(RoleBuyer), personal),
	kind("model.attest", applyModelAttest, by(RoleAssessment, DutyMaker, DutyChecker), personal),
	kind("model.withdraw", applyModelWithdraw, by("", DutyMaker)),
}

func applyModelRegister(t *tx, b *ModelRegister) *Refusal {
	a, ok := get[Agreement](t, KeyAgreement(b.Agreement))
	if !ok || a.Buyer != t.me() {
		return refuse("agreement.unknown", "this member has no such agreement").at("agreement")
	}
	if a.State != AgreementActive {
		return refuse("agreement.state", "the agreement is %s", a.State).at("agreement")
	}
	g, r := t.grant(b.Agreement)
	if r != nil {
		return r.at("agreement")
	}
	if !slices.Contains(g.Policy.Operations, policy.JointScore) {
		return refuse("model.operation", "the agreement permits no joint scoring").at("agreement")
	}
	// d evaluations with d models of one's choice solve for a company's d features; the rulebook allows far fewer.
	if t.rules.EvaluationsPerSubject < 1 || b.Arity <= t.rules.EvaluationsPerSubject {
		return refuse("model.arity", "a model has more weights than the %d evaluations that a company allows", t.rules.EvaluationsPerSubject).at("arity")
	}
	if _, r := t.neutralAssessor(b.Assessor, a, "assessor"); r != nil {
		return r
	}
	id := t.newID("model")
	t.put(KeyModel(id), Model{Agreement: b.Agreement, Digest: b.Digest, Features: b.Features, Arity: b.Arity, Assessor: b.Assessor, Registered: t.env.Now})
	t.audience(a.Buyer, a.Provider, b.Assessor)
	t.event("model.registered", id)
	return nil
}

// neutralAssessor gives an active assessor that is an affiliate of neither party.
func (t *tx) neutralAssessor(id ID, a *Agreement, field string) (*Member, *Refusal) {
	m, r := t.activeMember(id)
	if r != nil {
		return nil, r.at(field)
	}
	if !m.Has(RoleAssessment) {
		return nil, refuse("member.role", "a model is attested by a member with the role %s", RoleAssessment).at(field)
	}
	for _, party := range []ID{a.Buyer, a.Provider} {
		p, r := t.member(party)
		if r != nil {
			return nil, r.at(field)
		}
		if id == party || m.affiliateOf(p) {
			return nil, refuse("attestation.affiliate", "nobody attests for itself or an affiliate").at(field)
		}
	}
	return m, nil
}

func applyModelAttest(t *tx, b *ModelAttest) *Refusal {
	m, ok := get[Model](t, KeyModel(b.Model))
	if !ok || m.Assessor != t.me() {
		return refuse("model.unknown", "this member was asked to attest no such model").at("model")
	}
	a, ok := get[Agreement](t, KeyAgreement(m.Agreement))
	if !ok {
		return refuse("agreement.unknown", "there is no such agreement").at("model")
	}
	if _, r := t.neutralAssessor(t.me(), a, "model"); r != nil {
		return r
	}
	switch {
	case m.Withdrawn != 0:
		return refuse("model.withdrawn", "the model was withdrawn").at("model")
	case m.Attested != 0:
		return refuse("model.attested", "the model was attested").at("model")
	case b.Digest != m.Digest:
		return refuse("model.digest", "another model was assessed than the registered one").at("digest")
	case b.Expires <= t.env.Now:
		return refuse("attestation.expired", "the attestation has expired").at("expires")
	case b.Expires > t.env.Now.Add(366*24*3600):
		return refuse("attestation.term", "an attestation holds for twelve months at most").at("expires")
	}
	m.Document, m.Attested, m.Expires = b.Document, t.env.Now, b.Expires
	t.put(KeyModel(b.Model), m)
	t.audience(a.Buyer, a.Provider, t.me())
	t.event("model.attested", b.Model)
	return nil
}

func applyModelWithdraw(t *tx, b *ModelWithdraw) *Refusal {
	m, ok := get[Model](t, KeyModel(b.Model))
	if !ok {
		return refuse("model.unknown", "no model of this member has this id").at("model")
	}
	a, ok := get[Agreement](t, KeyAgreement(m.Agreement))
	if !ok || t.me() != m.Assessor && t.me() != a.Buyer {
		return refuse("model.unknown", "no model of this member has this id").at("model")
	}
	if m.Withdrawn != 0 {
		return refuse("model.withdrawn", "the model was withdrawn").at("model")
	}
	m.Withdrawn = t.env.Now
	t.put(KeyModel(b.Model), m)
	t.audience(a.Buyer, a.Provider, m.Assessor)
	t.event("model.withdrawn", b.Model)
	return nil
}

// usable refuses a model that a provider may not compute with under an agreement now.
func (m *Model) usable(agreement ID, digest Hash, now Millis) *Refusal {
	switch {
	case m.Agreement != agreement:
		return refuse("model.unknown", "the agreement has no such model")
	case m.Digest != digest:
		return refuse("model.digest", "this is another model than the registered one")
	case m.Withdrawn != 0:
		return refuse("model.withdrawn", "the model was withdrawn")
	case m.Attested == 0:
		return refuse("model.unattested", "the model was not attested")
	case now >= m.Expires:
		return refuse("attestation.expired", "the model's attestation has expired")
	}
	return nil
}
