package contracts

import (
	"slices"
	"strconv"
)

// VersionReview is a reviewer's decision on a submitted version: into review, on to the next stage, back to the
// provider for supplement, or rejected. Checklist is the digest of the filled-in checklist.
type VersionReview struct {
	Version   ID     `json:"version"`
	Decision  string `json:"decision"` // "accept", "pass", "return", "reject"
	Checklist Hash   `json:"checklist"`
	Reason    string `json:"reason,omitempty"`
}

// VersionObject objects to a version during its publicity.
type VersionObject struct {
	Version  ID     `json:"version"`
	Evidence Hash   `json:"evidence"`
	Reason   string `json:"reason"`
}

// VersionAnswer decides an objection: upheld rejects the version.
type VersionAnswer struct {
	Version   ID     `json:"version"`
	Objection ID     `json:"objection"`
	Upheld    bool   `json:"upheld"`
	Reason    string `json:"reason"`
}

// Objection is an objection on the ledger.
type Objection struct {
	By       ID     `json:"by"`
	Evidence Hash   `json:"evidence"`
	Reason   string `json:"reason"`
	Answer   string `json:"answer,omitempty"` // "upheld" or "dismissed"
}

// KeyObjection is where an objection to a version stands.
func KeyObjection(version, id ID) string { return "objection/" + string(version) + "/" + string(id) }

// VersionRegister registers a version after its publicity and gives it a certificate number.
type VersionRegister struct {
	Version ID     `json:"version"`
	Region  string `json:"region"` // six digits of GB/T 2260
}

// VersionList lists a registered version on the strength of attestations.
type VersionList struct {
	Version      ID   `json:"version"`
	Attestations []ID `json:"attestations"`
}

// VersionTurn suspends, resumes or delists a version, with its reason.
type VersionTurn struct {
	Version ID     `json:"version"`
	Reason  string `json:"reason"`
}

var productKinds = []*spec{
	kind("product.draft", applyProductDraft, by(RoleProvider, DutyMaker), public),
	kind("product.amend", applyVersionAmend, by(RoleProvider, DutyMaker), public),
	kind("dataset.report", applyDatasetReport, by(RoleProvider), public),
	kind("product.submit", applyVersionSubmit, twoPeople(RoleProvider), public, personal),
	kind("product.review", applyVersionReview, by(RoleVenue, DutyChecker), public, personal),
	kind("product.object", applyVersionObject, by("", DutyMaker), public),
	kind("product.answer", applyVersionAnswer, twoPeople(RoleVenue), public, personal),
	kind("product.register", applyVersionRegister, twoPeople(RoleVenue), public, personal),
	kind("product.list", applyVersionList, twoPeople(RoleVenue), public, personal),
	kind("product.price", applyProductPrice, twoPeople(RoleProvider), public, personal),
	kind("product.suspend", applyVersionSuspend, twoPeople(RoleVenue), public),
	kind("product.resume", applyVersionResume, twoPeople(RoleVenue), public, personal),
	kind("product.delist", applyVersionDelist, by("", DutyMaker, DutyChecker), public, personal),
}

func applyVersionReview(t *tx, b *VersionReview) *Refusal {
	v, p, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	if r := t.noAffiliate(p.Provider, "review.affiliate"); r != nil {
		return r
	}
	v.Reason = b.Reason
	switch b.Decision {
	case "accept":
		if r := v.want(Submitted); r != nil {
			return r
		}
		t.moveVersion(b.Version, v, ComplianceReview, "product.accepted")
	case "pass":
		if r := v.want(ComplianceReview, QualityReview); r != nil {
			return r
		}
		if v.State == ComplianceReview {
			t.moveVersion(b.Version, v, QualityReview, "product.compliance_passed")
			return nil
		}
		end, r := t.workingDaysAfter(t.rules.PublicityWorkingDays)
		if r != nil {
			return r
		}
		v.PublicityEnd = end
		t.moveVersion(b.Version, v, Publicity, "product.publicized")
	case "return", "reject":
		if r := v.want(Submitted, ComplianceReview, QualityReview, Publicity); r != nil {
			return r
		}
		if b.Reason == "" {
			return refuse("review.reason", "a return or rejection states its reason").at("reason")
		}
		v.PublicityEnd = 0
		if b.Decision == "return" {
			t.moveVersion(b.Version, v, Draft, "product.returned")
		} else {
			t.moveVersion(b.Version, v, Rejected, "product.rejected")
		}
	default:
		return refuse("review.decision", "a decision is accept, pass, return or reject").at("decision")
	}
	return nil
}

// noAffiliate refuses to let a member judge one that shares a controller with it.
func (t *tx) noAffiliate(other ID, code Code) *Refusal {
	me, r := t.member(t.me())
	if r != nil {
		return r
	}
	o, r := t.member(other)
	if r != nil {
		return r
	}
	if t.me() == other || me.affiliateOf(o) {
		return refuse(code, "nobody judges itself or an affiliate")
	}
	return nil
}

func applyVersionObject(t *tx, b *VersionObject) *Refusal {
	v, _, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	if r := v.want(Publicity); r != nil {
		return r
	}
	if t.env.Now >= v.PublicityEnd {
		return refuse("publicity.over", "the publicity has ended").at("version")
	}
	id := t.newID("objection")
	v.Objections++
	t.put(KeyVersion(b.Version), v)
	t.put(KeyObjection(b.Version, id), Objection{By: t.me(), Evidence: b.Evidence, Reason: b.Reason})
	t.event("product.objected", b.Version)
	return nil
}

func applyVersionAnswer(t *tx, b *VersionAnswer) *Refusal {
	v, _, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	o, ok := get[Objection](t, KeyObjection(b.Version, b.Objection))
	if !ok {
		return refuse("objection.unknown", "there is no such objection").at("objection")
	}
	if o.Answer != "" {
		return refuse("objection.answered", "the objection was answered").at("objection")
	}
	if r := v.want(Publicity); r != nil {
		return r
	}
	o.Answer = "dismissed"
	if b.Upheld {
		o.Answer = "upheld"
	}
	t.put(KeyObjection(b.Version, b.Objection), o)
	v.Objections--
	v.Reason = b.Reason
	if b.Upheld {
		t.moveVersion(b.Version, v, Rejected, "product.rejected")
	} else {
		t.moveVersion(b.Version, v, Publicity, "product.objection_dismissed")
	}
	return nil
}

func applyVersionRegister(t *tx, b *VersionRegister) *Refusal {
	v, _, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	if r := v.want(Publicity); r != nil {
		return r
	}
	if t.env.Now < v.PublicityEnd {
		return refuse("publicity.running", "the publicity runs until %d", v.PublicityEnd).at("version")
	}
	if v.Objections > 0 {
		return refuse("publicity.objection", "%d objections are open", v.Objections).at("version")
	}
	if _, err := strconv.ParseUint(b.Region, 10, 32); err != nil || len(b.Region) != 6 {
		return refuse("certificate.region", "a region has six digits").at("region")
	}
	number, r := t.serial("DPR", b.Region)
	if r != nil {
		return r
	}
	v.Certificate = number
	t.moveVersion(b.Version, v, Registered, "product.registered")
	return nil
}

func applyVersionList(t *tx, b *VersionList) *Refusal {
	v, p, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	if r := v.want(Registered); r != nil {
		return r
	}
	provider, r := t.activeMember(p.Provider)
	if r != nil {
		return r
	}
	if r := t.notFrozen(p.Provider, v.Product); r != nil {
		return r
	}
	if v.Facts.Source == SourceAuthorized {
		if r := t.checkAuthorization(&v.Facts, p.Provider, v.Facts.UnitPrice, v.Facts.Scenarios); r != nil {
			return r
		}
	}
	var have []AttestationType
	for _, id := range b.Attestations {
		t.ahead(KeyAttestation(id))
	}
	for _, id := range b.Attestations {
		a, ok := get[Attestation](t, KeyAttestation(id))
		if !ok {
			return refuse("attestation.unknown", "there is no such attestation").at("attestations")
		}
		if r := t.checkAttestation(a, b.Version, v, p.Provider, provider); r != nil {
			return r.at("attestations")
		}
		have = append(have, a.Type)
	}
	for _, want := range t.rules.ListingRequires {
		if !slices.Contains(have, want) {
			return refuse("listing.requires", "the listing lacks a valid %s", want).at("attestations")
		}
	}
	if p.Listed != "" && p.Listed != b.Version {
		old, ok := get[Version](t, KeyVersion(p.Listed))
		if ok && (old.State == Listed || old.State == ListingSuspended) {
			old.Reason = "replaced"
			t.moveVersion(p.Listed, old, Delisted, "product.replaced")
		}
	}
	p.Listed = b.Version
	v.Attestations = b.Attestations
	t.put(KeyProduct(v.Product), p)
	t.moveVersion(b.Version, v, Listed, "product.listed")
	return nil
}

func applyVersionSuspend(t *tx, b *VersionTurn) *Refusal {
	v, _, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	if r := v.want(Listed); r != nil {
		return r
	}
	v.Reason = b.Reason
	t.moveVersion(b.Version, v, ListingSuspended, "product.suspended")
	return nil
}

func applyVersionResume(t *tx, b *VersionTurn) *Refusal {
	v, p, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	if r := v.want(ListingSuspended); r != nil {
		return r
	}
	provider, r := t.activeMember(p.Provider)
	if r != nil {
		return r
	}
	for _, id := range v.Attestations {
		t.ahead(KeyAttestation(id))
	}
	for _, id := range v.Attestations {
		a, ok := get[Attestation](t, KeyAttestation(id))
		if !ok {
			return refuse("attestation.unknown", "there is no such attestation")
		}
		if r := t.checkAttestation(a, b.Version, v, p.Provider, provider); r != nil {
			return r
		}
	}
	v.Reason = b.Reason
	t.moveVersion(b.Version, v, Listed, "product.resumed")
	return nil
}

// applyVersionDelist: the provider or the venue. Grants that run go on to their end.
func applyVersionDelist(t *tx, b *VersionTurn) *Refusal {
	v, p, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	if t.me() != p.Provider && t.me() != t.gen.Venue {
		return refuse("version.foreign", "the product belongs to another member").at("version")
	}
	if r := v.want(Registered, Listed, ListingSuspended); r != nil {
		return r
	}
	if p.Listed == b.Version {
		p.Listed = ""
		t.put(KeyProduct(v.Product), p)
	}
	v.Reason = b.Reason
	t.moveVersion(b.Version, v, Delisted, "product.delisted")
	return nil
}
