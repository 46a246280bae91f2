package contracts

import (
	"strconv"

	"github.com/bund-exchange/bund/contracts/policy"
)

func itoa(i int) string { return strconv.Itoa(i) }

// Use is one wish to use data, as a provider's node sees it. The node has authenticated the peer by the TLS key that
// the ledger holds for it, and recomputed Subject from the consent's key and the credit code in the call.
type Use struct {
	Agreement ID
	Peer      ID // the member behind the calling node
	Node      ID // the node that is asked
	Operation policy.Operation
	Purpose   policy.Purpose
	Fields    []string
	Region    policy.Region // where the peer's node processes
	Calls     int64         // that the node counts under the agreement so far
	Consent   ID            // "" when the call names none
	Subject   Hash          // meaningful with Consent

	Epoch       int64 // of the lookup table, for private_lookup and consent_lookup
	Version     ID    // of the product, for MayTicket, which sees no agreement
	Model       ID    // for joint_score
	ModelDigest Hash  // of the model's bytes, as the node holds them
}

// MayUse is the gate's question: may this peer do this now? It reads only followed state, so any node can ask it, and
// answers a *Refusal, a failure, or the grant and consent that allow the use. Quota and calls of a consent are counts
// that the node keeps; staleness of the state is the follower's to say, before.
//
// The operations differ in what stands for consent where the grant requires it. Those that name their subjects show it
// for each. A consent_lookup shows tickets of the consent service, which asked MayTicket: the node checks them, and
// the table says whose they are. What hides its subjects and shows no ticket is refused.
func MayUse(st State, now Millis, u Use) (*Grant, *Consent, error) {
	t := question(st, now)
	g, c, r := t.mayUse(u)
	g, err := answered(t, g, r)
	if err != nil {
		return nil, nil, err
	}
	return g, c, nil
}

// question begins a question to followed state.
func question(st State, now Millis) *tx {
	t := &tx{st: st, env: Env{Now: now}, spec: &spec{}, looks: true}
	t.kept, _ = st.(Decoded)
	var ok bool
	if t.rules, ok = get[Rulebook](t, keyRulebook); !ok {
		t.fail(errNoRulebook)
		t.rules = &Rulebook{}
	}
	return t
}

// answered gives what was found, a failure, or a refusal.
func answered[T any](t *tx, found *T, r *Refusal) (*T, error) {
	if t.err != nil {
		return nil, t.err
	}
	if r != nil {
		return nil, r
	}
	return found, nil
}

// MayTicket is the consent service's question before it signs a ticket: may this peer have a consent_lookup about this
// subject of Version now? Node is the service's own, which the consent names. It asks what the service can follow: the
// members, the product and its table, freezes, and the consent, which is to cover every field of the product, since a
// lookup opens whole rows. The grant is none of the service's business: the provider's node asks MayUse when the ticket
// is shown to it. The table is the one that the ticket is for.
func MayTicket(st State, now Millis, u Use) (*LookupTable, *Consent, error) {
	t := question(st, now)
	l, c, r := t.mayTicket(u)
	l, err := answered(t, l, r)
	if err != nil {
		return nil, nil, err
	}
	return l, c, nil
}

func (t *tx) mayTicket(u Use) (*LookupTable, *Consent, *Refusal) {
	if u.Operation != policy.ConsentLookup {
		return nil, nil, refuse("consent.operation", "tickets are for consent_lookup")
	}
	v, ok := get[Version](t, KeyVersion(u.Version))
	if !ok {
		return nil, nil, refuse("version.unknown", "the product version is not on the ledger")
	}
	p, ok := get[Product](t, KeyProduct(v.Product))
	if !ok {
		return nil, nil, refuse("product.unknown", "no product has this id")
	}
	for _, m := range []ID{p.Provider, u.Peer} {
		if _, r := t.activeMember(m); r != nil {
			return nil, nil, r
		}
	}
	if r := t.notFrozen(p.Provider, u.Peer, v.Product, u.Agreement); r != nil {
		return nil, nil, r
	}
	if r := t.deliverable(v, p.Provider); r != nil {
		return nil, nil, r
	}
	l, ok := get[LookupTable](t, KeyLookup(u.Version))
	if !ok || l.ConsentNode != u.Node {
		return nil, nil, refuse("lookup.consent_service", "the product's table names another consent service")
	}
	if l.Epoch != u.Epoch {
		return nil, nil, refuse("lookup.epoch", "the present key epoch is %d", l.Epoch)
	}
	if _, r := t.consentService(u.Node, u.Peer, "node"); r != nil {
		return nil, nil, r
	}
	u.Fields = v.Facts.Fields
	c, r := t.consented(u, v.Product)
	return l, c, r
}

func (t *tx) mayUse(u Use) (*Grant, *Consent, *Refusal) {
	g, r := t.granted(u)
	if r != nil {
		return nil, nil, r
	}
	if g.Share(u.Node) == 0 {
		return nil, nil, refuse("grant.node", "this node does not serve the grant")
	}
	if n, ok := get[Node](t, KeyNode(u.Node)); !ok || n.Retired != 0 {
		return nil, nil, refuse("node.retired", "the node is retired")
	}
	switch u.Operation {
	case policy.PrivateLookup, policy.ConsentLookup:
		if _, r := t.openTable(g.Version, u.Node, u.Epoch); r != nil {
			return nil, nil, r
		}
	case policy.JointScore:
		m, ok := get[Model](t, KeyModel(u.Model))
		if !ok {
			return nil, nil, refuse("model.unknown", "the agreement has no such model")
		}
		if r := m.usable(u.Agreement, u.ModelDigest, t.env.Now); r != nil {
			return nil, nil, r
		}
	}
	switch {
	case !g.ConsentRequired, u.Operation == policy.ConsentLookup:
		return g, nil, nil
	case u.Operation == policy.Query, u.Operation == policy.Verify, u.Operation == policy.JointScore:
		c, r := t.consented(u, g.Product)
		if r != nil {
			return nil, nil, r
		}
		return g, c, nil
	}
	return nil, nil, refuse("consent.operation", "this operation can't show each subject's consent, which the grant requires")
}

// MayGoOn is asked between the calls of one use: while a table, a sealed file or a session's frames are fetched that an
// admitted call opened. It refuses when the grant has ended or been stopped since; of Use only agreement, peer and node
// count.
func MayGoOn(st State, now Millis, u Use) (*Grant, error) {
	t := question(st, now)
	g, r := t.standing(u)
	if r == nil && g.Share(u.Node) == 0 {
		r = refuse("grant.node", "this node does not serve the grant")
	}
	return answered(t, g, r)
}

// granted refuses what no consent could mend.
func (t *tx) granted(u Use) (*Grant, *Refusal) {
	g, r := t.standing(u)
	if r != nil {
		return nil, r
	}
	// Consent has a code of its own. The cohort behind a figure is known when the figure is: the node keeps it out.
	d := policy.Evaluate(g.Policy, policy.Request{Purpose: u.Purpose, Operation: u.Operation, Fields: u.Fields, Region: u.Region,
		Time: int64(t.env.Now), Calls: u.Calls, Consent: true, Cohort: g.Policy.MinimumCohort})
	if !d.Permit {
		return nil, refuse(Code(d.Denial.Code), "%s", d.Denial.En)
	}
	return g, nil
}

// standing gives a grant under which anything at all may be used now.
func (t *tx) standing(u Use) (*Grant, *Refusal) {
	g, ok := get[Grant](t, KeyGrant(u.Agreement))
	if !ok || g.Buyer != u.Peer {
		return nil, refuse("grant.unknown", "this peer has no grant under this agreement")
	}
	for _, m := range []ID{g.Provider, g.Buyer} {
		if _, r := t.activeMember(m); r != nil {
			return nil, r
		}
	}
	if r := t.notFrozen(g.Provider, g.Buyer, g.Product, u.Agreement); r != nil {
		return nil, r
	}
	switch g.State {
	case GrantActive:
	case GrantOnHold:
		return nil, refuse("grant.payment_hold", "the grant is on payment hold")
	default:
		return nil, refuse("grant.state", "the grant is %s", g.State)
	}
	if t.env.Now < g.From || t.env.Now >= g.To {
		return nil, refuse("grant.window", "the grant is not in its window")
	}
	v, ok := get[Version](t, KeyVersion(g.Version))
	if !ok {
		return nil, refuse("version.unknown", "the product version is not on the ledger")
	}
	if r := t.deliverable(v, g.Provider); r != nil {
		return nil, r
	}
	return g, nil
}

// deliverable refuses what may not be used by anybody now. Delisting lets running grants go on; a suspension stops them.
func (t *tx) deliverable(v *Version, provider ID) *Refusal {
	if v.State == ListingSuspended {
		return refuse("version.state", "the product is suspended")
	}
	if v.Facts.Authorization == "" {
		return nil
	}
	a, ok := get[SourceAuthorization](t, KeyAuthorization(v.Facts.Authorization))
	if !ok {
		return refuse("authorization.unknown", "there is no such authorisation")
	}
	return a.inForce(provider, t.env.Now)
}

// consented gives the subject's consent to a use.
func (t *tx) consented(u Use, product ID) (*Consent, *Refusal) {
	if u.Consent == "" {
		return nil, refuse("consent.missing", "this use needs the subject's consent")
	}
	c, ok := get[Consent](t, KeyConsent(u.Consent))
	if !ok {
		return nil, refuse("consent.missing", "there is no such consent")
	}
	if r := c.covers(u.Peer, product, u.Node, u.Subject, u.Purpose, u.Fields, t.env.Now); r != nil {
		return nil, r
	}
	return c, nil
}
