package contracts

import (
	"errors"
	"slices"

	"github.com/bund-exchange/bund/contracts/policy"
)

// NegotiationState has the names of the Dataspace Protocol's contract negotiation.
type NegotiationState string

const (
	Requested  NegotiationState = "REQUESTED"
	Offered    NegotiationState = "OFFERED"
	Accepted   NegotiationState = "ACCEPTED"
	Agreed     NegotiationState = "AGREED"
	Verified   NegotiationState = "VERIFIED"
	Finalized  NegotiationState = "FINALIZED"
	Terminated NegotiationState = "TERMINATED"
)

// Check reports an unknown state.
func (s NegotiationState) Check() error {
	return oneOf(s, []NegotiationState{Requested, Offered, Accepted, Agreed, Verified, Finalized, Terminated})
}

// Offer is what one side proposes: a policy, a term, and a commitment to the terms.
type Offer struct {
	Policy      policy.Policy `json:"policy"`
	QuotaCalls  int64         `json:"quotaCalls"`
	MaxStaleSec int64         `json:"maxStaleSec"` // 0: a fresh cosigned checkpoint in every call
	From        Millis        `json:"from"`
	To          Millis        `json:"to"`
	Billing     Billing       `json:"billing"`
	Terms       Hash          `json:"terms"` // commitment, tag bund/terms/v1
}

// Check reports an offer without a term or quota.
func (o Offer) Check() error {
	switch {
	case o.From == 0 || o.To <= o.From:
		return errors.New("want from < to")
	case o.QuotaCalls < 1:
		return errors.New("quotaCalls is at least 1")
	case o.MaxStaleSec < 0:
		return errors.New("maxStaleSec is not below zero")
	}
	return nil
}

// Negotiation runs between a buyer and a product's provider about one version and one scenario.
type Negotiation struct {
	Buyer    ID               `json:"buyer"`
	Provider ID               `json:"provider"`
	Version  ID               `json:"version"`
	Scenario string           `json:"scenario"`
	Kind     AgreementKind    `json:"kind"`
	State    NegotiationState `json:"state"`
	Offer    Offer            `json:"offer"` // the last one made, by the side that State names
	Rounds   int64            `json:"rounds"`
	Proposal *Proposal        `json:"proposal,omitempty"`
	Since    Millis           `json:"since"`
	Reason   string           `json:"reason,omitempty"`
}

// Proposal is the contract that the provider signed and the buyer is to sign.
type Proposal struct {
	Digest Hash  `json:"digest"` // covers the terms and the rendered text
	Text   Hash  `json:"text"`   // commitment, tag bund/text/v1
	Rules  int64 `json:"rules"`  // rulebook version that the text was rendered under
}

// KeyNegotiation is where a negotiation stands.
func KeyNegotiation(id ID) string { return "negotiation/" + string(id) }

// maxRounds ends a negotiation that goes nowhere.
const maxRounds = 50

// NegotiationRequest opens a negotiation and makes the buyer's first offer.
type NegotiationRequest struct {
	Version  ID            `json:"version"`
	Scenario string        `json:"scenario"`
	Kind     AgreementKind `json:"kind"`
	Offer    Offer         `json:"offer"`
}

// NegotiationOffer is a counter-offer, of the provider (→ OFFERED) or of the buyer (→ REQUESTED).
type NegotiationOffer struct {
	Negotiation ID    `json:"negotiation"`
	Offer       Offer `json:"offer"`
}

// NegotiationStep moves a negotiation without a new offer.
type NegotiationStep struct {
	Negotiation ID     `json:"negotiation"`
	Reason      string `json:"reason,omitempty"`
}

var negotiationKinds = []*spec{
	kind("negotiation.request", applyNegotiationRequest, twoPeople(RoleBuyer), personal),
	kind("negotiation.counter", applyNegotiationCounter, twoPeople(RoleBuyer), personal),
	kind("negotiation.offer", applyNegotiationOffer, twoPeople(RoleProvider), personal),
	kind("negotiation.accept", applyNegotiationAccept, by(RoleBuyer, DutyMaker), personal),
	kind("negotiation.terminate", applyNegotiationTerminate, by("", DutyMaker)),
}

// checkOffer applies what holds for any offer on a version, whoever makes it.
func (t *tx) checkOffer(n *Negotiation, v *Version, p *Product) *Refusal {
	o := &n.Offer
	if v.State != Listed {
		if v.State == Delisted && p.Listed != "" {
			return refuse("product.stale_version", "a later version is listed").at("version")
		}
		return refuse("version.state", "the version is %s, not listed", v.State).at("version")
	}
	if p.Listed != n.Version {
		return refuse("product.stale_version", "a later version is listed").at("version")
	}
	if r := t.notFrozen(n.Provider, n.Buyer, v.Product); r != nil {
		return r
	}
	if !slices.Contains(v.Facts.Scenarios, n.Scenario) {
		return refuse("scenario.not_offered", "the product is not offered for this scenario").at("scenario")
	}
	if err := o.Policy.Narrows(v.Facts.Policy); err != nil {
		return refuse("policy.widens", "%s", err.Error()).at("offer.policy")
	}
	onlyEvaluation := slices.Equal(o.Policy.Purposes, []policy.Purpose{policy.Evaluation})
	if n.Kind == Test && (!onlyEvaluation || !slices.Contains(o.Policy.Prohibitions, policy.CreditDecision)) {
		return refuse("agreement.test_purpose", "a test agreement has the purpose evaluation and no other, and prohibits credit decisions").at("offer.policy")
	}
	if n.Kind == Trade && onlyEvaluation {
		return refuse("agreement.test_purpose", "a trade needs a purpose beside evaluation").at("offer.policy")
	}
	if o.To <= t.env.Now {
		return refuse("agreement.term", "the term has ended before it began").at("offer.to")
	}
	if o.MaxStaleSec > t.rules.MaxStaleSec {
		return refuse("agreement.stale", "maxStaleSec exceeds the rulebook's ceiling").at("offer.maxStaleSec")
	}
	terms, _, r := open[Terms](t, TagTerms, o.Terms, "offer.terms")
	if r != nil {
		return r
	}
	if terms.Billing != o.Billing {
		return refuse("terms.billing", "billing differs from the terms").at("offer.billing")
	}
	if terms.GraceDays > t.rules.MaxGraceDays {
		return refuse("terms.grace", "graceDays exceeds the rulebook's ceiling").at("offer.terms")
	}
	if terms.UnitPrice > t.rules.MaxUnitPrice {
		return refuse("price.ceiling", "the unit price exceeds the rulebook's ceiling").at("offer.terms")
	}
	if v.Facts.Source == SourceAuthorized {
		if r := t.checkAuthorization(&v.Facts, n.Provider, terms.UnitPrice, []string{n.Scenario}); r != nil {
			return r
		}
	}
	return nil
}

func applyNegotiationRequest(t *tx, b *NegotiationRequest) *Refusal {
	v, p, r := t.version(b.Version, "version")
	if r != nil {
		return r
	}
	if p.Provider == t.me() {
		return refuse("negotiation.self", "nobody buys from itself").at("version")
	}
	if _, r := t.activeMember(p.Provider); r != nil {
		return r
	}
	n := &Negotiation{Buyer: t.me(), Provider: p.Provider, Version: b.Version, Scenario: b.Scenario, Kind: b.Kind, State: Requested,
		Offer: b.Offer, Rounds: 1, Since: t.env.Now}
	if r := t.checkOffer(n, v, p); r != nil {
		return r
	}
	id := t.newID("negotiation")
	t.saveNegotiation(id, n, "negotiation.requested")
	return nil
}

func (t *tx) saveNegotiation(id ID, n *Negotiation, event string) {
	n.Since = t.env.Now
	t.put(KeyNegotiation(id), n)
	t.audience(n.Buyer, n.Provider)
	t.event(event, id)
}

// negotiation loads one that the signing member is a party of, in one of the states.
func (t *tx) negotiation(id ID, party func(*Negotiation) ID, states ...NegotiationState) (*Negotiation, *Refusal) {
	n, ok := get[Negotiation](t, KeyNegotiation(id))
	if !ok {
		return nil, refuse("negotiation.unknown", "no negotiation of this member has this id").at("negotiation")
	}
	if party(n) != t.me() {
		// A non-party learns nothing about whose it is, nor that it exists.
		return nil, refuse("negotiation.unknown", "no negotiation of this member has this id").at("negotiation")
	}
	if !slices.Contains(states, n.State) {
		return nil, refuse("negotiation.state", "the negotiation is %s, want %s", n.State, join(states)).at("negotiation")
	}
	return n, nil
}

func buyerOf(n *Negotiation) ID    { return n.Buyer }
func providerOf(n *Negotiation) ID { return n.Provider }

func (t *tx) counter(id ID, offer Offer, party func(*Negotiation) ID, to NegotiationState, event string, from ...NegotiationState) *Refusal {
	n, r := t.negotiation(id, party, from...)
	if r != nil {
		return r
	}
	if n.Rounds >= maxRounds {
		return refuse("negotiation.rounds", "a negotiation ends after %d offers", maxRounds).at("negotiation")
	}
	v, p, r := t.version(n.Version, "negotiation")
	if r != nil {
		return r
	}
	n.Offer, n.State = offer, to
	n.Rounds++
	if r := t.checkOffer(n, v, p); r != nil {
		return r
	}
	t.saveNegotiation(id, n, event)
	return nil
}

func applyNegotiationCounter(t *tx, b *NegotiationOffer) *Refusal {
	return t.counter(b.Negotiation, b.Offer, buyerOf, Requested, "negotiation.requested", Offered)
}

func applyNegotiationOffer(t *tx, b *NegotiationOffer) *Refusal {
	return t.counter(b.Negotiation, b.Offer, providerOf, Offered, "negotiation.offered", Requested)
}

func applyNegotiationAccept(t *tx, b *NegotiationStep) *Refusal {
	n, r := t.negotiation(b.Negotiation, buyerOf, Offered)
	if r != nil {
		return r
	}
	n.State = Accepted
	t.saveNegotiation(b.Negotiation, n, "negotiation.accepted")
	return nil
}

func applyNegotiationTerminate(t *tx, b *NegotiationStep) *Refusal {
	side := func(n *Negotiation) ID {
		if t.me() == n.Provider {
			return n.Provider
		}
		return n.Buyer
	}
	n, r := t.negotiation(b.Negotiation, side, Requested, Offered, Accepted, Agreed, Verified)
	if r != nil {
		return r
	}
	n.State, n.Reason = Terminated, b.Reason
	t.saveNegotiation(b.Negotiation, n, "negotiation.terminated")
	return nil
}
