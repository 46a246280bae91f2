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
}

// MayUse is the gate's question: may this peer do this now? It reads only followed state, so any node can ask it, and
// answers a *Refusal, a failure, or the grant and consent that allow the use. Quota and calls of a consent are counts
// that the node keeps; staleness of the state is the follower's to say, before.
func MayUse(st State, now Millis, u Use) (*Grant, *Consent, error) {
	t := &tx{st: st, env: Env{Now: now}, spec: &spec{}, looks: true}
	t.kept, _ = st.(Decoded)
	var ok bool
	if t.rules, ok = get[Rulebook](t, keyRulebook); !ok {
		t.fail(errNoRulebook)
		return nil, nil, t.err
	}
	g, c, r := t.mayUse(u)
	if t.err != nil {
		return nil, nil, t.err
	}
	if r != nil {
		return nil, nil, r
	}
	return g, c, nil
}

func (t *tx) mayUse(u Use) (*Grant, *Consent, *Refusal) {
	g, ok := get[Grant](t, KeyGrant(u.Agreement))
	if !ok || g.Buyer != u.Peer {
		return nil, nil, refuse("grant.unknown", "this peer has no grant under this agreement")
	}
	if g.Share(u.Node) == 0 {
		return nil, nil, refuse("grant.node", "this node does not serve the grant")
	}
	for _, m := range []ID{g.Provider, g.Buyer} {
		if _, r := t.activeMember(m); r != nil {
			return nil, nil, r
		}
	}
	if r := t.notFrozen(g.Provider, g.Buyer, g.Product, u.Agreement); r != nil {
		return nil, nil, r
	}
	if n, ok := get[Node](t, KeyNode(u.Node)); !ok || n.Retired != 0 {
		return nil, nil, refuse("node.retired", "the node is retired")
	}
	switch g.State {
	case GrantActive:
	case GrantOnHold:
		return nil, nil, refuse("grant.payment_hold", "the grant is on payment hold")
	default:
		return nil, nil, refuse("grant.state", "the grant is %s", g.State)
	}
	if t.env.Now < g.From || t.env.Now >= g.To {
		return nil, nil, refuse("grant.window", "the grant is not in its window")
	}
	v, ok := get[Version](t, KeyVersion(g.Version))
	if !ok {
		return nil, nil, refuse("version.unknown", "the product version is not on the ledger")
	}
	// Delisting lets running grants go on; a suspension stops them.
	if v.State == ListingSuspended {
		return nil, nil, refuse("version.state", "the product is suspended")
	}
	if v.Facts.Authorization != "" {
		a, ok := get[SourceAuthorization](t, KeyAuthorization(v.Facts.Authorization))
		if !ok {
			return nil, nil, refuse("authorization.unknown", "there is no such authorisation")
		}
		if r := a.inForce(g.Provider, t.env.Now); r != nil {
			return nil, nil, r
		}
	}
	// Consent is decided below, with a code of its own.
	d := policy.Evaluate(g.Policy, policy.Request{Purpose: u.Purpose, Operation: u.Operation, Fields: u.Fields, Region: u.Region,
		Time: int64(t.env.Now), Calls: u.Calls, Consent: true})
	if !d.Permit {
		return nil, nil, refuse(Code(d.Denial.Code), "%s", d.Denial.En)
	}
	if !g.ConsentRequired {
		return g, nil, nil
	}
	if u.Consent == "" {
		return nil, nil, refuse("consent.missing", "this use needs the subject's consent")
	}
	c, ok := get[Consent](t, KeyConsent(u.Consent))
	if !ok {
		return nil, nil, refuse("consent.missing", "there is no such consent")
	}
	if r := c.covers(u.Peer, g.Product, u.Node, u.Subject, u.Purpose, u.Fields, t.env.Now); r != nil {
		return nil, nil, r
	}
	return g, c, nil
}
