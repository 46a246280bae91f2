package contracts

import (
	"errors"
	"slices"
)

// SourceAuthorization is what a source authority (tax bureau, market regulation, courts) lets one operator do with its
// data. The authority never sells. It may withdraw at once.
type SourceAuthorization struct {
	Authority ID        `json:"authority"`
	Operator  ID        `json:"operator"`
	Scope     []string  `json:"scope"`     // data groups, "tax.vat_returns"
	Scenarios []string  `json:"scenarios"` // codes of the rulebook
	From      Millis    `json:"from"`
	To        Millis    `json:"to"`
	Ceiling   MicroYuan `json:"ceiling"` // highest price of one call
	Basis     Hash      `json:"basis"`   // digest of the instrument
	Withdrawn Millis    `json:"withdrawn,omitempty"`
}

// KeyAuthorization is where an authorization stands.
func KeyAuthorization(id ID) string { return "authorization/" + string(id) }

// AuthorityGrant authorises an operator.
type AuthorityGrant struct {
	Operator  ID        `json:"operator"`
	Scope     []string  `json:"scope"`
	Scenarios []string  `json:"scenarios"`
	From      Millis    `json:"from"`
	To        Millis    `json:"to"`
	Ceiling   MicroYuan `json:"ceiling"`
	Basis     Hash      `json:"basis"`
}

// Check reports an authorisation of nothing.
func (b AuthorityGrant) Check() error {
	if len(b.Scope) == 0 || len(b.Scope) > 64 || len(b.Scenarios) == 0 || len(b.Scenarios) > 64 {
		return errors.New("scope and scenarios have 1 to 64 entries")
	}
	if b.From == 0 || b.To <= b.From {
		return errors.New("want from < to")
	}
	return nil
}

// AuthorityWithdraw ends an authorisation at once: products that rest on it can't be used any more.
type AuthorityWithdraw struct {
	Authorization ID     `json:"authorization"`
	Reason        string `json:"reason"`
}

var authorityKinds = []*spec{
	kind("authority.grant", applyAuthorityGrant, twoPeople(RoleSourceAuthority), public, personal),
	kind("authority.withdraw", applyAuthorityWithdraw, by(RoleSourceAuthority, DutyMaker), public),
}

func applyAuthorityGrant(t *tx, b *AuthorityGrant) *Refusal {
	op, r := t.activeMember(b.Operator)
	if r != nil {
		return r.at("operator")
	}
	if !op.Has(RoleProvider) {
		return refuse("member.role", "an operator has the role provider").at("operator")
	}
	for _, s := range b.Scenarios {
		if !t.rules.scenario(s) {
			return refuse("scenario.unknown", "the rulebook knows no scenario %q", clip(s)).at("scenarios")
		}
	}
	id := t.newID("authorization")
	t.put(KeyAuthorization(id), SourceAuthorization{Authority: t.me(), Operator: b.Operator, Scope: b.Scope, Scenarios: b.Scenarios,
		From: b.From, To: b.To, Ceiling: b.Ceiling, Basis: b.Basis})
	t.event("authority.granted", id)
	return nil
}

func applyAuthorityWithdraw(t *tx, b *AuthorityWithdraw) *Refusal {
	a, ok := get[SourceAuthorization](t, KeyAuthorization(b.Authorization))
	if !ok || a.Authority != t.me() {
		return refuse("authorization.unknown", "this authority has given no such authorisation").at("authorization")
	}
	if a.Withdrawn != 0 {
		return refuse("authorization.withdrawn", "the authorisation was withdrawn").at("authorization")
	}
	a.Withdrawn = t.env.Now
	t.put(KeyAuthorization(b.Authorization), a)
	t.event("authority.withdrawn", b.Authorization)
	return nil
}

// inForce refuses an authorisation that does not cover the operator now.
func (a *SourceAuthorization) inForce(operator ID, now Millis) *Refusal {
	switch {
	case a.Operator != operator:
		return refuse("authorization.foreign", "the authorisation names another operator")
	case a.Withdrawn != 0:
		return refuse("authorization.withdrawn", "the source authority withdrew its authorisation")
	case now < a.From || now >= a.To:
		return refuse("authorization.term", "the authorisation is not in force now")
	}
	return nil
}

// covers refuses data groups beyond the authorised scope.
func (a *SourceAuthorization) covers(groups []string) *Refusal {
	for _, g := range groups {
		if !slices.Contains(a.Scope, g) {
			return refuse("authorization.scope", "the authorisation does not cover %q", clip(g))
		}
	}
	return nil
}
