package contracts

import (
	"errors"
	"slices"

	"github.com/bund-exchange/bund/contracts/policy"
)

// AgreementState is active → expired or terminated. Renewal and amendment keep it active.
type AgreementState string

const (
	AgreementActive     AgreementState = "active"
	AgreementExpired    AgreementState = "expired"
	AgreementTerminated AgreementState = "terminated"
)

// Check reports an unknown state.
func (s AgreementState) Check() error {
	return oneOf(s, []AgreementState{AgreementActive, AgreementExpired, AgreementTerminated})
}

// Agreement binds a product version, a scenario, a policy and a commitment to terms, with both signatures.
type Agreement struct {
	Negotiation ID             `json:"negotiation"`
	Provider    ID             `json:"provider"`
	Buyer       ID             `json:"buyer"`
	Product     ID             `json:"product"`
	Version     ID             `json:"version"`
	Scenario    string         `json:"scenario"`
	Kind        AgreementKind  `json:"kind"`
	Billing     Billing        `json:"billing"`
	Policy      policy.Policy  `json:"policy"`
	From        Millis         `json:"from"`
	To          Millis         `json:"to"`
	Terms       Hash           `json:"terms"`               // in force for the open period
	NextTerms   Hash           `json:"nextTerms,omitempty"` // amended: in force from the next period on
	Digest      Hash           `json:"digest"`              // of terms and text, what both signed last
	State       AgreementState `json:"state"`
	Since       Millis         `json:"since"`
	Reason      string         `json:"reason,omitempty"`
	Periods     int64          `json:"periods"`             // closed ones
	FlatMonth   Period         `json:"flatMonth,omitempty"` // the last month whose flat fee was put into a period
}

// KeyAgreement is where an agreement stands. Its grant, periods, usage and escrow hang on the same id.
func KeyAgreement(id ID) string { return "agreement/" + string(id) }

// NodeShare is a provider node's share of the quota.
type NodeShare struct {
	Node       ID    `json:"node"`
	QuotaCalls int64 `json:"quotaCalls"`
}

// AgreementPropose is the provider's signature under the accepted offer (DSP agreement message, → AGREED). Text is the
// digest of the contract rendered from the terms; the rules render it again and refuse another one.
type AgreementPropose struct {
	Negotiation ID   `json:"negotiation"`
	Text        Hash `json:"text"` // SHA-256 with tag bund/contract-text/v1 and the terms' salt, see TextDigest
}

// AgreementVerify is the buyer's signature under the same digest (→ VERIFIED).
type AgreementVerify struct {
	Negotiation ID   `json:"negotiation"`
	Digest      Hash `json:"digest"`
}

// AgreementFinalize makes the agreement and its grant (→ FINALIZED), with the provider's nodes that serve it.
type AgreementFinalize struct {
	Negotiation ID          `json:"negotiation"`
	Nodes       []NodeShare `json:"nodes"`
}

// AgreementAmend replaces terms from the next period on, and policy and end at once; both sign the same bytes.
type AgreementAmend struct {
	Agreement   ID            `json:"agreement"`
	Policy      policy.Policy `json:"policy"`
	To          Millis        `json:"to"`
	QuotaCalls  int64         `json:"quotaCalls"`
	MaxStaleSec int64         `json:"maxStaleSec"`
	Terms       Hash          `json:"terms"`
	Text        Hash          `json:"text"`
}

// AgreementRenew moves the end; both sign, and the version is still listed.
type AgreementRenew struct {
	Agreement  ID     `json:"agreement"`
	To         Millis `json:"to"`
	QuotaCalls int64  `json:"quotaCalls"` // total, from the beginning
}

// AgreementExpire ends an agreement whose term is over; the venue's job sends it.
type AgreementExpire struct {
	Agreement ID `json:"agreement"`
}

// AgreementTerminate ends an agreement: by one party after the notice that the terms state, or by both at once.
type AgreementTerminate struct {
	Agreement ID     `json:"agreement"`
	Effective Millis `json:"effective"` // not before now + noticeDays, unless both sign
	Reason    string `json:"reason"`
}

var agreementKinds = []*spec{
	kind("agreement.propose", applyAgreementPropose, twoPeople(RoleProvider), personal),
	kind("agreement.verify", applyAgreementVerify, twoPeople(RoleBuyer), personal),
	kind("agreement.finalize", applyAgreementFinalize, by(RoleProvider, DutyMaker), personal),
	kind("agreement.amend", applyAgreementAmend, twoPeople(RoleProvider), personal),
	kind("agreement.renew", applyAgreementRenew, twoPeople(RoleProvider), personal),
	kind("agreement.expire", applyAgreementExpire, by(RoleVenue)),
	kind("agreement.terminate", applyAgreementTerminate, by("", DutyMaker, DutyChecker), personal),
	kind("acceptance.record", applyAcceptance, twoPeople(RoleBuyer), personal),
}

// AgreementDigest covers the terms and the contract text rendered from them.
func AgreementDigest(terms, text Hash) Hash {
	return HashOf("bund/agreement/v1", []byte(terms), []byte(text))
}

// render makes the contract's text from an offer whose terms are open, and commits to it.
func (t *tx) render(n *Negotiation, want Hash, field string) (*Proposal, *Refusal) {
	terms, opening, r := open[Terms](t, TagTerms, n.Offer.Terms, field)
	if r != nil {
		return nil, r
	}
	v, _, r := t.version(n.Version, field)
	if r != nil {
		return nil, r
	}
	provider, r := t.activeMember(n.Provider)
	if r != nil {
		return nil, r
	}
	buyer, r := t.activeMember(n.Buyer)
	if r != nil {
		return nil, r
	}
	text := RenderContract(ContractInput{Rules: t.rules, Provider: provider, Buyer: buyer, Version: v, Scenario: n.Scenario, Kind: n.Kind, Offer: &n.Offer, Terms: terms})
	if TextDigest(opening.Salt, text) != want {
		return nil, refuse("agreement.text", "the signed text is not the one that the terms render to").at("text")
	}
	c := t.seal(TagText, opening, text)
	return &Proposal{Digest: AgreementDigest(n.Offer.Terms, want), Text: c, Rules: t.rules.Version}, nil
}

func applyAgreementPropose(t *tx, b *AgreementPropose) *Refusal {
	n, r := t.negotiation(b.Negotiation, providerOf, Accepted)
	if r != nil {
		return r
	}
	v, p, r := t.version(n.Version, "negotiation")
	if r != nil {
		return r
	}
	if r := t.checkOffer(n, v, p); r != nil {
		return r
	}
	n.Proposal, r = t.render(n, b.Text, "terms")
	if r != nil {
		return r
	}
	n.State = Agreed
	t.saveNegotiation(b.Negotiation, n, "agreement.proposed")
	return nil
}

func applyAgreementVerify(t *tx, b *AgreementVerify) *Refusal {
	n, r := t.negotiation(b.Negotiation, buyerOf, Agreed)
	if r != nil {
		return r
	}
	if n.Proposal == nil || b.Digest != n.Proposal.Digest {
		return refuse("agreement.digest", "the digest is not that of the proposed contract").at("digest")
	}
	n.State = Verified
	t.saveNegotiation(b.Negotiation, n, "agreement.verified")
	return nil
}

func applyAgreementFinalize(t *tx, b *AgreementFinalize) *Refusal {
	n, r := t.negotiation(b.Negotiation, providerOf, Verified)
	if r != nil {
		return r
	}
	v, p, r := t.version(n.Version, "negotiation")
	if r != nil {
		return r
	}
	if r := t.checkOffer(n, v, p); r != nil {
		return r
	}
	if _, r := t.activeMember(n.Buyer); r != nil {
		return r
	}
	if r := t.checkShares(b.Nodes, n.Provider, n.Offer.QuotaCalls); r != nil {
		return r
	}
	id := t.newID("agreement")
	a := &Agreement{Negotiation: b.Negotiation, Provider: n.Provider, Buyer: n.Buyer, Product: v.Product, Version: n.Version,
		Scenario: n.Scenario, Kind: n.Kind, Billing: n.Offer.Billing, Policy: n.Offer.Policy, From: n.Offer.From, To: n.Offer.To,
		Terms: n.Offer.Terms, Digest: n.Proposal.Digest, State: AgreementActive}
	g := &Grant{Provider: n.Provider, Buyer: n.Buyer, Product: v.Product, Version: n.Version, Policy: n.Offer.Policy,
		QuotaCalls: n.Offer.QuotaCalls, Nodes: b.Nodes, MaxStaleSec: n.Offer.MaxStaleSec, From: n.Offer.From, To: n.Offer.To,
		ConsentRequired: n.Offer.Policy.ConsentRequired, State: GrantPending}
	if n.Offer.Billing == Postpaid {
		g.State = GrantActive
	}
	n.State = Finalized
	t.saveNegotiation(b.Negotiation, n, "negotiation.finalized")
	t.saveAgreement(id, a, "agreement.finalized")
	t.saveGrant(id, g, "grant."+string(g.State))
	return nil
}

func (t *tx) saveAgreement(id ID, a *Agreement, event string) {
	a.Since = t.env.Now
	t.put(KeyAgreement(id), a)
	t.audience(a.Buyer, a.Provider)
	t.event(event, id)
}

// checkShares refuses shares that exceed the quota or name nodes that can't serve.
func (t *tx) checkShares(shares []NodeShare, provider ID, quota int64) *Refusal {
	if len(shares) == 0 || len(shares) > 32 {
		return refuse("grant.nodes", "a grant is served by 1 to 32 nodes").at("nodes")
	}
	var sum int64
	for i, s := range shares {
		if _, r := t.servingNode(s.Node, provider, "nodes"); r != nil {
			return r
		}
		if s.QuotaCalls < 1 || s.QuotaCalls > quota-sum {
			return refuse("grant.nodes", "the nodes' shares exceed the quota").at("nodes")
		}
		sum += s.QuotaCalls
		if slices.ContainsFunc(shares[:i], func(o NodeShare) bool { return o.Node == s.Node }) {
			return refuse("grant.nodes", "a node is there twice").at("nodes")
		}
	}
	return nil
}

// agreement loads one that the signing member is a party of (or the venue, where a job may act).
func (t *tx) agreement(id ID, venueToo bool, states ...AgreementState) (*Agreement, *Refusal) {
	a, ok := get[Agreement](t, KeyAgreement(id))
	if !ok || (t.me() != a.Provider && t.me() != a.Buyer && !(venueToo && t.me() == t.gen.Venue)) {
		return nil, refuse("agreement.unknown", "no agreement of this member has this id").at("agreement")
	}
	if len(states) > 0 && !slices.Contains(states, a.State) {
		return nil, refuse("agreement.state", "the agreement is %s, want %s", a.State, join(states)).at("agreement")
	}
	t.audience(a.Buyer, a.Provider)
	return a, nil
}

func (t *tx) grant(id ID) (*Grant, *Refusal) {
	g, ok := get[Grant](t, KeyGrant(id))
	if !ok {
		return nil, refuse("grant.unknown", "the agreement has no grant").at("agreement")
	}
	return g, nil
}

// bothChange loads what provider and buyer change together, two people of each, while it is active.
func (t *tx) bothChange(id ID) (*Agreement, *Grant, *Refusal) {
	a, r := t.agreement(id, false, AgreementActive)
	if r != nil {
		return nil, nil, r
	}
	if t.me() != a.Provider {
		return nil, nil, refuse("signature.party", "the provider's signature leads").at("agreement")
	}
	if r := t.signedBy(a.Buyer, RoleBuyer, DutyMaker, DutyChecker); r != nil {
		return nil, nil, r
	}
	g, r := t.grant(id)
	if r != nil {
		return nil, nil, r
	}
	return a, g, nil
}

func applyAgreementAmend(t *tx, b *AgreementAmend) *Refusal {
	a, g, r := t.bothChange(b.Agreement)
	if r != nil {
		return r
	}
	if b.To <= t.env.Now {
		return refuse("agreement.term", "the term has ended before it began").at("to")
	}
	if b.QuotaCalls < g.allocated() {
		return refuse("grant.nodes", "the quota is below the nodes' shares").at("quotaCalls")
	}
	v, p, r := t.version(a.Version, "agreement")
	if r != nil {
		return r
	}
	n := &Negotiation{Buyer: a.Buyer, Provider: a.Provider, Version: a.Version, Scenario: a.Scenario, Kind: a.Kind,
		Offer: Offer{Policy: b.Policy, QuotaCalls: b.QuotaCalls, MaxStaleSec: b.MaxStaleSec, From: a.From, To: b.To, Billing: a.Billing, Terms: b.Terms}}
	if n.Offer.Check() != nil {
		return refuse("agreement.term", "the amended agreement has no term, quota or staleness that could be")
	}
	if r := t.checkOffer(n, v, p); r != nil {
		return r
	}
	pr, r := t.render(n, b.Text, "terms")
	if r != nil {
		return r
	}
	a.Policy, a.To, a.NextTerms, a.Digest = b.Policy, b.To, b.Terms, pr.Digest
	g.Policy, g.To, g.QuotaCalls, g.MaxStaleSec, g.ConsentRequired = b.Policy, b.To, b.QuotaCalls, b.MaxStaleSec, b.Policy.ConsentRequired
	t.saveAgreement(b.Agreement, a, "agreement.amended")
	t.saveGrant(b.Agreement, g, "grant.amended")
	return nil
}

func applyAgreementRenew(t *tx, b *AgreementRenew) *Refusal {
	a, g, r := t.bothChange(b.Agreement)
	if r != nil {
		return r
	}
	if b.To <= a.To {
		return refuse("agreement.term", "a renewal moves the end later").at("to")
	}
	if b.QuotaCalls < g.QuotaCalls {
		return refuse("grant.quota", "a renewal does not lower the quota").at("quotaCalls")
	}
	if r := t.notFrozen(a.Provider, a.Buyer, a.Product, b.Agreement); r != nil {
		return r
	}
	v, _, r := t.version(a.Version, "agreement")
	if r != nil {
		return r
	}
	// What was taken off the list runs out; a longer term would trade it anew.
	if v.State != Listed {
		return refuse("version.state", "the version is %s, not listed", v.State).at("agreement")
	}
	a.To, g.To, g.QuotaCalls = b.To, b.To, b.QuotaCalls
	t.saveAgreement(b.Agreement, a, "agreement.renewed")
	t.saveGrant(b.Agreement, g, "grant.amended")
	return nil
}

func applyAgreementExpire(t *tx, b *AgreementExpire) *Refusal {
	a, r := t.agreement(b.Agreement, true, AgreementActive)
	if r != nil {
		return r
	}
	if t.env.Now < a.To {
		return refuse("agreement.term", "the term has not ended").at("agreement")
	}
	return t.endAgreement(b.Agreement, a, AgreementExpired, "", "agreement.expired")
}

// endAgreement revokes the grant. What was used until now is still closed, reported and settled.
func (t *tx) endAgreement(id ID, a *Agreement, to AgreementState, reason, event string) *Refusal {
	g, r := t.grant(id)
	if r != nil {
		return r
	}
	a.State, a.Reason = to, reason
	a.To = min(a.To, t.env.Now)
	g.State, g.To = GrantRevoked, a.To
	t.saveAgreement(id, a, event)
	t.saveGrant(id, g, "grant.revoked")
	return nil
}

func applyAgreementTerminate(t *tx, b *AgreementTerminate) *Refusal {
	a, r := t.agreement(b.Agreement, false, AgreementActive)
	if r != nil {
		return r
	}
	other := a.Buyer
	if t.me() == a.Buyer {
		other = a.Provider
	}
	both := slices.ContainsFunc(t.signers, func(s signer) bool { return s.member == other })
	if both {
		if r := t.signedBy(other, "", DutyMaker, DutyChecker); r != nil {
			return r
		}
	} else {
		terms, _, r := open[Terms](t, TagTerms, a.Terms, "agreement")
		if r != nil {
			return r
		}
		if b.Effective < t.env.Now.Add(terms.NoticeDays*86400) {
			return refuse("agreement.notice", "one party alone terminates after the notice that the terms state").at("effective")
		}
	}
	if b.Reason == "" {
		return refuse("agreement.reason", "a termination states its reason").at("reason")
	}
	if b.Effective > t.env.Now {
		g, r := t.grant(b.Agreement)
		if r != nil {
			return r
		}
		if b.Effective >= a.To {
			return refuse("agreement.term", "the agreement ends before that").at("effective")
		}
		// Notice: the end moves forward, use goes on until then.
		a.To, g.To, a.Reason = b.Effective, b.Effective, b.Reason
		t.saveAgreement(b.Agreement, a, "agreement.notice_given")
		t.saveGrant(b.Agreement, g, "grant.amended")
		return nil
	}
	return t.endAgreement(b.Agreement, a, AgreementTerminated, b.Reason, "agreement.terminated")
}

// AcceptanceRecord is the buyer's acceptance (验收) of a reported period: it stands between delivery and settlement of each,
// as the contract text says. Silence for the agreed days is acceptance, too.
type AcceptanceRecord struct {
	Agreement ID    `json:"agreement"`
	Period    int64 `json:"period"`
	Report    Hash  `json:"report"` // digest of the acceptance report
}

// Check refuses an acceptance of nothing.
func (b AcceptanceRecord) Check() error {
	if b.Report == "" {
		return errors.New("report is empty")
	}
	return nil
}

func applyAcceptance(t *tx, b *AcceptanceRecord) *Refusal {
	a, r := t.agreement(b.Agreement, false)
	if r != nil {
		return r
	}
	if t.me() != a.Buyer {
		return refuse("agreement.unknown", "the buyer accepts").at("agreement")
	}
	p, ok := get[ClosedPeriod](t, KeyPeriod(b.Agreement, b.Period))
	if !ok || p.Report == nil {
		return refuse("acceptance.early", "nothing was delivered yet: the period is not closed and reported").at("period")
	}
	if p.Acceptance != nil {
		return refuse("acceptance.done", "the delivery was accepted").at("period")
	}
	p.Acceptance = &Acceptance{Report: b.Report, Time: t.env.Now}
	t.put(KeyPeriod(b.Agreement, b.Period), p)
	t.audience(a.Buyer, a.Provider)
	t.event("period.accepted", b.Agreement)
	return nil
}

// Acceptance is a recorded 验收.
type Acceptance struct {
	Report Hash   `json:"report"`
	Time   Millis `json:"time"`
}
