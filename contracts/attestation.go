package contracts

import "slices"

// AttestationType is what an assessor states about a product version.
type AttestationType string

const (
	LegalOpinion  AttestationType = "legal_opinion"  // a law firm: role intermediary
	QualityReport AttestationType = "quality_report" // a quality assessor: role assessment
	ValuationType AttestationType = "valuation"      // an appraiser: role assessment
)

// Check reports an unknown type.
func (a AttestationType) Check() error {
	return oneOf(a, []AttestationType{LegalOpinion, QualityReport, ValuationType})
}

// Attestation is an assessor's signed statement about one product version.
type Attestation struct {
	By        ID              `json:"by"`
	Version   ID              `json:"version"`
	Subject   Hash            `json:"subject"` // digest of the version as it was attested
	Type      AttestationType `json:"type"`
	Verdict   string          `json:"verdict"`  // "tradable", "conditional", "not_tradable"
	Document  Hash            `json:"document"` // digest of the signed document
	Expires   Millis          `json:"expires"`
	Withdrawn Millis          `json:"withdrawn,omitempty"`
}

// KeyAttestation is where an attestation stands.
func KeyAttestation(id ID) string { return "attestation/" + string(id) }

// AttestationIssue states a verdict. Nobody attests for itself or an affiliate.
type AttestationIssue struct {
	Version  ID              `json:"version"`
	Subject  Hash            `json:"subject"`
	Type     AttestationType `json:"type"`
	Verdict  string          `json:"verdict"`
	Document Hash            `json:"document"`
	Expires  Millis          `json:"expires"`
}

// AttestationWithdraw takes one's own attestation back.
type AttestationWithdraw struct {
	Attestation ID     `json:"attestation"`
	Reason      string `json:"reason"`
}

var attestationKinds = []*spec{
	kind("attestation.issue", applyAttestationIssue, by("", DutyMaker, DutyChecker), personal),
	kind("attestation.withdraw", applyAttestationWithdraw, by("", DutyMaker), personal),
}

func applyAttestationIssue(t *tx, b *AttestationIssue) *Refusal {
	me, r := t.member(t.me())
	if r != nil {
		return r
	}
	role := RoleAssessment
	if b.Type == LegalOpinion {
		role = RoleIntermediary
	}
	if !me.Has(role) {
		return refuse("member.role", "a %s comes from a member with the role %s", b.Type, role)
	}
	if b.Verdict != "tradable" && b.Verdict != "conditional" && b.Verdict != "not_tradable" {
		return refuse("attestation.verdict", "a verdict is tradable, conditional or not_tradable").at("verdict")
	}
	v, p, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	if r := t.noAffiliate(p.Provider, "attestation.affiliate"); r != nil {
		return r
	}
	if b.Subject != v.Digest(b.Version) {
		return refuse("attestation.stale", "the version has changed since it was assessed").at("subject")
	}
	if b.Expires <= t.env.Now {
		return refuse("attestation.expired", "the attestation has expired").at("expires")
	}
	if b.Expires > t.env.Now.Add(366*24*3600) {
		return refuse("attestation.term", "an attestation holds for twelve months at most").at("expires")
	}
	id := t.newID("attestation")
	t.put(KeyAttestation(id), Attestation{By: t.me(), Version: b.Version, Subject: b.Subject, Type: b.Type, Verdict: b.Verdict,
		Document: b.Document, Expires: b.Expires})
	t.audience(t.me(), p.Provider)
	t.event("attestation.issued", id)
	return nil
}

func applyAttestationWithdraw(t *tx, b *AttestationWithdraw) *Refusal {
	a, ok := get[Attestation](t, KeyAttestation(b.Attestation))
	if !ok || a.By != t.me() {
		return refuse("attestation.unknown", "this member has issued no such attestation").at("attestation")
	}
	if a.Withdrawn != 0 {
		return refuse("attestation.withdrawn", "the attestation was withdrawn").at("attestation")
	}
	_, p, r := t.version(a.Version, "attestation")
	if r != nil {
		return r
	}
	a.Withdrawn = t.env.Now
	t.put(KeyAttestation(b.Attestation), a)
	t.audience(t.me(), p.Provider)
	t.event("attestation.withdrawn", b.Attestation)
	return nil
}

// checkAttestation refuses one that a listing can't rest on now.
func (t *tx) checkAttestation(a *Attestation, id ID, v *Version, provider ID, m *Member) *Refusal {
	switch {
	case a.Version != id:
		return refuse("attestation.foreign", "an attestation is about another product version")
	case a.Subject != v.Digest(id):
		return refuse("attestation.stale", "the version has changed since it was assessed")
	case a.Withdrawn != 0:
		return refuse("attestation.withdrawn", "the attestation was withdrawn")
	case t.env.Now >= a.Expires:
		return refuse("attestation.expired", "the %s has expired", a.Type)
	case a.Verdict == "not_tradable":
		return refuse("attestation.verdict", "the %s says that the product is not tradable", a.Type)
	}
	by, r := t.activeMember(a.By)
	if r != nil {
		return r
	}
	if a.By == provider || by.affiliateOf(m) || slices.Contains(by.Roles, RoleVenue) {
		return refuse("attestation.affiliate", "nobody attests for itself or an affiliate")
	}
	return nil
}
