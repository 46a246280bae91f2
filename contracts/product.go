package contracts

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
)

// VersionState is the life of one version of a product: draft → submitted → compliance_review → quality_review →
// publicity → registered → listed ⇄ suspended → delisted; rejected on the way. 不合规不挂牌: not listed before all of it.
type VersionState string

const (
	Draft            VersionState = "draft" // a draft that was never submitted, or returned for supplement
	Submitted        VersionState = "submitted"
	ComplianceReview VersionState = "compliance_review"
	QualityReview    VersionState = "quality_review"
	Publicity        VersionState = "publicity"
	Registered       VersionState = "registered"
	Listed           VersionState = "listed"
	ListingSuspended VersionState = "suspended"
	Delisted         VersionState = "delisted"
	Rejected         VersionState = "rejected"
)

// Check reports an unknown state.
func (s VersionState) Check() error {
	return oneOf(s, []VersionState{Draft, Submitted, ComplianceReview, QualityReview, Publicity, Registered, Listed, ListingSuspended, Delisted, Rejected})
}

// Grade is the security level of GB/T 43697-2024. Important and core data are refused on this shelf.
type Grade string

// Check reports a grade outside the standard.
func (g Grade) Check() error {
	return oneOf(g, []Grade{"L1", "L2", "L3", "L4", "important", "core"})
}

// SourceType says where a product's data comes from (来源描述).
type SourceType string

const (
	SourceProduced   SourceType = "produced"
	SourcePublic     SourceType = "public"     // lawfully published
	SourceAuthorized SourceType = "authorized" // public data under authorised operation; needs an authorisation
	SourcePurchased  SourceType = "purchased"
)

// Check reports an unknown source.
func (s SourceType) Check() error {
	return oneOf(s, []SourceType{SourceProduced, SourcePublic, SourceAuthorized, SourcePurchased})
}

// Facts are what the rules need to know of a product version. Everything else stands in the manual (数据产品说明书),
// which the ledger holds by digest.
type Facts struct {
	Title             string             `json:"title"`
	TitleEn           string             `json:"titleEn"`
	Manual            Hash               `json:"manual"`     // digest of the manual's canonical bytes
	Dictionary        Hash               `json:"dictionary"` // digest of the field dictionary
	Fields            []string           `json:"fields"`     // names that a policy may permit
	Grade             Grade              `json:"grade"`
	Source            SourceType         `json:"source"`
	Authorization     ID                 `json:"authorization,omitempty"` // for source authorized
	DataGroups        []string           `json:"dataGroups"`
	CreditInfo        bool               `json:"creditInfo"`
	Licence           string             `json:"licence,omitempty"` // filing or licence number, for credit_info
	Routing           string             `json:"routing,omitempty"` // reference to the city's sole financing-credit outlet, for credit_info
	SubjectVisibility string             `json:"subjectVisibility"` // "identified" or "blind"
	Modes             []policy.Operation `json:"modes"`             // how answers leave the owner's node
	Scenarios         []string           `json:"scenarios"`
	Policy            policy.Policy      `json:"policy"`     // template: an agreement permits at most this
	UnitPrice         MicroYuan          `json:"unitPrice"`  // list price of a call; 0: 面议
	FlatFee           Fen                `json:"flatFee"`    // list price of a month
	Sample            Hash               `json:"sample"`     // digest of the sample rows
	SampleKind        string             `json:"sampleKind"` // "synthetic" or "deidentified"
	ServiceLevel      ServiceLevel       `json:"serviceLevel"`
}

// ServiceLevel is what the provider promises of its node.
type ServiceLevel struct {
	AvailabilityBasisPoints int64 `json:"availabilityBasisPoints"` // of a month, 1/10000
	P99Ms                   int64 `json:"p99Ms"`
	FreshnessHours          int64 `json:"freshnessHours"`
	ChangeNoticeDays        int64 `json:"changeNoticeDays"`
}

// Check reports facts that contradict themselves.
func (f Facts) Check() error {
	switch {
	case f.Title == "" || len([]rune(f.Title)) > 120:
		return errors.New("title has 1 to 120 characters")
	case len(f.Fields) == 0 || len(f.Fields) > 512:
		return errors.New("fields has 1 to 512 names")
	case !unique(f.Fields):
		return errors.New("a field is there twice")
	case len(f.Modes) == 0:
		return errors.New("modes is empty")
	case len(f.Scenarios) == 0:
		return errors.New("no scenario, no trade: scenarios is empty")
	case slices.ContainsFunc(f.Policy.Fields, func(x string) bool { return !slices.Contains(f.Fields, x) }):
		return errors.New("policy permits a field that the product hasn't")
	case slices.ContainsFunc(f.Policy.Operations, func(x policy.Operation) bool { return !slices.Contains(f.Modes, x) }):
		return errors.New("policy permits an operation that is no delivery mode")
	case f.SubjectVisibility != "identified" && f.SubjectVisibility != "blind":
		return errors.New("subjectVisibility is identified or blind")
	case f.SubjectVisibility == "blind" && slices.ContainsFunc(f.Modes, policy.Operation.NamesSubject):
		return errors.New("a blind product has no mode that names its subject to the provider")
	case f.SampleKind != "synthetic" && f.SampleKind != "deidentified":
		return errors.New("sampleKind is synthetic or deidentified")
	case (f.Source == SourceAuthorized) != (f.Authorization != ""):
		return errors.New("source authorized names an authorization, and only that")
	}
	l := f.ServiceLevel
	if l.AvailabilityBasisPoints < 0 || l.AvailabilityBasisPoints > 10000 || l.P99Ms <= 0 || l.FreshnessHours < 0 || l.ChangeNoticeDays < 0 {
		return errors.New("serviceLevel has an impossible figure")
	}
	return nil
}

func unique[T ~string](xs []T) bool {
	s := slices.Sorted(slices.Values(xs))
	return len(slices.Compact(s)) == len(xs)
}

// Product is what versions are versions of.
type Product struct {
	Provider ID    `json:"provider"`
	Versions int64 `json:"versions"`         // how many were drafted
	Listed   ID    `json:"listed,omitempty"` // the version that can be traded
}

// KeyProduct is where a product stands.
func KeyProduct(id ID) string { return "product/" + string(id) }

// Version is one version of a product.
type Version struct {
	Product      ID           `json:"product"`
	Number       int64        `json:"number"`
	Facts        Facts        `json:"facts"`
	State        VersionState `json:"state"`
	Since        Millis       `json:"since"`
	Reason       string       `json:"reason,omitempty"`       // of the last rejection, return, suspension or delisting
	PublicityEnd Millis       `json:"publicityEnd,omitempty"` // registration is possible from then on
	Objections   int64        `json:"objections"`             // open ones
	Certificate  string       `json:"certificate,omitempty"`  // registration certificate number
	Attestations []ID         `json:"attestations"`           // that the listing rests on
}

// KeyVersion is where a version stands.
func KeyVersion(id ID) string { return "version/" + string(id) }

// Digest is the digest of a version that attestations and agreements are about. List prices are not part of it: they
// may change while the version is listed.
func (v *Version) Digest(id ID) Hash {
	f := v.Facts
	f.UnitPrice, f.FlatFee = 0, 0
	return HashOf("bund/version/v1", []byte(id), canon.Marshal(f))
}

// ProductDraft drafts a product's first version, or a further one. A change of fields, source or level is a further
// version, and goes through all reviews again.
type ProductDraft struct {
	Product ID    `json:"product,omitempty"`
	Facts   Facts `json:"facts"`
}

// VersionSubmit hands a draft in.
type VersionSubmit struct {
	Version ID `json:"version"`
}

// VersionAmend replaces the facts of a draft, for instance after a return for supplement.
type VersionAmend struct {
	Version ID    `json:"version"`
	Facts   Facts `json:"facts"`
}

// ProductPrice changes the list prices of the listed version; agreements keep theirs.
type ProductPrice struct {
	Version   ID        `json:"version"`
	UnitPrice MicroYuan `json:"unitPrice"`
	FlatFee   Fen       `json:"flatFee"`
}

func (t *tx) version(id ID, field string) (*Version, *Product, *Refusal) {
	v, ok := get[Version](t, KeyVersion(id))
	if !ok {
		return nil, nil, refuse("version.unknown", "no product version has this id").at(field)
	}
	p, ok := get[Product](t, KeyProduct(v.Product))
	if !ok {
		t.fail(fmt.Errorf("%w: version without product", errRule))
		return nil, nil, refuse("version.unknown", "no product version has this id").at(field)
	}
	return v, p, nil
}

func (t *tx) ownVersion(id ID) (*Version, *Product, *Refusal) {
	v, p, r := t.version(id, "version")
	if r == nil && p.Provider != t.me() {
		return nil, nil, refuse("version.foreign", "the product belongs to another member").at("version")
	}
	return v, p, r
}

func (v *Version) want(states ...VersionState) *Refusal {
	if !slices.Contains(states, v.State) {
		return refuse("version.state", "the version is %s, want %s", v.State, join(states)).at("version")
	}
	return nil
}

func (t *tx) moveVersion(id ID, v *Version, to VersionState, event string) {
	v.State, v.Since = to, t.env.Now
	t.put(KeyVersion(id), v)
	t.event(event, id)
}

// checkFacts applies the rules that hold for any version from draft to listing.
func (t *tx) checkFacts(f *Facts) *Refusal {
	if f.Grade == "important" || f.Grade == "core" {
		return refuse("product.important_data", "%s data is not traded on this shelf", f.Grade).at("facts.grade")
	}
	if (f.Grade == "L3" || f.Grade == "L4") && slices.Contains(f.Modes, policy.File) {
		return refuse("product.mode", "%s data does not leave as a file", f.Grade).at("facts.modes")
	}
	if f.CreditInfo && (f.Licence == "" || f.Routing == "") {
		return refuse("product.credit_info", "credit information needs a licence or filing number and the routing reference").at("facts.licence")
	}
	if f.UnitPrice > t.rules.MaxUnitPrice {
		return refuse("price.ceiling", "the unit price exceeds the rulebook's ceiling").at("facts.unitPrice")
	}
	for _, s := range f.Scenarios {
		if !t.rules.scenario(s) {
			return refuse("scenario.unknown", "the rulebook knows no scenario %q", clip(s)).at("facts.scenarios")
		}
	}
	if f.Source == SourceAuthorized {
		return t.checkAuthorization(f, t.me(), f.UnitPrice, f.Scenarios)
	}
	return nil
}

// checkAuthorization refuses data, scenarios or a price beyond what the source authority authorised.
func (t *tx) checkAuthorization(f *Facts, operator ID, price MicroYuan, scenarios []string) *Refusal {
	a, ok := get[SourceAuthorization](t, KeyAuthorization(f.Authorization))
	if !ok {
		return refuse("authorization.unknown", "there is no such authorisation").at("facts.authorization")
	}
	if r := a.inForce(operator, t.env.Now); r != nil {
		return r.at("facts.authorization")
	}
	if r := a.covers(f.DataGroups); r != nil {
		return r.at("facts.dataGroups")
	}
	for _, s := range scenarios {
		if !slices.Contains(a.Scenarios, s) {
			return refuse("authorization.scenario", "the authorisation is not for scenario %q", clip(s)).at("facts.scenarios")
		}
	}
	if price > a.Ceiling {
		return refuse("price.ceiling", "the price exceeds the ceiling that the source authority set").at("facts.unitPrice")
	}
	return nil
}

func applyProductDraft(t *tx, b *ProductDraft) *Refusal {
	if r := t.checkFacts(&b.Facts); r != nil {
		return r
	}
	id, p := b.Product, &Product{Provider: t.me()}
	if id == "" {
		id = t.newID("product")
	} else {
		old, ok := get[Product](t, KeyProduct(id))
		if !ok {
			return refuse("product.unknown", "no product has this id").at("product")
		}
		if old.Provider != t.me() {
			return refuse("version.foreign", "the product belongs to another member").at("product")
		}
		p = old
	}
	p.Versions++
	version := t.newID("version")
	t.put(KeyProduct(id), p)
	v := &Version{Product: id, Number: p.Versions, Facts: b.Facts}
	t.moveVersion(version, v, Draft, "product.drafted")
	return nil
}

func applyVersionAmend(t *tx, b *VersionAmend) *Refusal {
	v, _, r := t.ownVersion(b.Version)
	if r != nil {
		return r
	}
	if r := v.want(Draft); r != nil {
		return r
	}
	if r := t.checkFacts(&b.Facts); r != nil {
		return r
	}
	v.Facts = b.Facts
	t.moveVersion(b.Version, v, Draft, "product.amended")
	return nil
}

func applyVersionSubmit(t *tx, b *VersionSubmit) *Refusal {
	v, _, r := t.ownVersion(b.Version)
	if r != nil {
		return r
	}
	if r := v.want(Draft); r != nil {
		return r
	}
	if r := t.checkFacts(&v.Facts); r != nil {
		return r
	}
	if !t.has(KeyDataset(b.Version)) {
		return refuse("dataset.missing", "the provider's node has not reported the dataset of this version").at("version")
	}
	t.moveVersion(b.Version, v, Submitted, "product.submitted")
	return nil
}

func applyProductPrice(t *tx, b *ProductPrice) *Refusal {
	v, p, r := t.ownVersion(b.Version)
	if r != nil {
		return r
	}
	if r := v.want(Listed, ListingSuspended); r != nil {
		return r
	}
	if p.Listed != b.Version {
		return refuse("product.stale_version", "a later version is listed").at("version")
	}
	v.Facts.UnitPrice, v.Facts.FlatFee = b.UnitPrice, b.FlatFee
	if r := t.checkFacts(&v.Facts); r != nil {
		return r
	}
	t.put(KeyVersion(b.Version), v)
	t.event("product.priced", b.Version)
	return nil
}
