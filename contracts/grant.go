package contracts

import (
	"slices"

	"github.com/bund-exchange/bund/contracts/policy"
)

// GrantState: pending until the money is in, active, payment_hold, suspended, revoked.
type GrantState string

const (
	GrantPending   GrantState = "pending"
	GrantActive    GrantState = "active"
	GrantOnHold    GrantState = "payment_hold"
	GrantSuspended GrantState = "suspended"
	GrantRevoked   GrantState = "revoked"
)

// Check reports an unknown state.
func (s GrantState) Check() error {
	return oneOf(s, []GrantState{GrantPending, GrantActive, GrantOnHold, GrantSuspended, GrantRevoked})
}

// Grant is what an agreement lets be done. It stands under the agreement's id.
type Grant struct {
	Provider        ID            `json:"provider"`
	Buyer           ID            `json:"buyer"`
	Product         ID            `json:"product"`
	Version         ID            `json:"version"`
	Policy          policy.Policy `json:"policy"`
	QuotaCalls      int64         `json:"quotaCalls"`
	Nodes           []NodeShare   `json:"nodes"`
	MaxStaleSec     int64         `json:"maxStaleSec"`
	From            Millis        `json:"from"`
	To              Millis        `json:"to"`
	ConsentRequired bool          `json:"consentRequired"`
	State           GrantState    `json:"state"`
	Since           Millis        `json:"since"`
	Reason          string        `json:"reason,omitempty"`
	Warned          int64         `json:"warned"`             // highest percentage warned of since the last top-up
	WarnedAt        Millis        `json:"warnedAt,omitempty"` // of that warning
}

// KeyGrant is where an agreement's grant stands.
func KeyGrant(agreement ID) string { return "grant/" + string(agreement) }

func (g *Grant) allocated() (sum int64) {
	for _, n := range g.Nodes {
		sum += n.QuotaCalls
	}
	return sum
}

// Share gives the node's part of the quota, 0 when it serves nothing of the grant.
func (g *Grant) Share(node ID) int64 {
	for _, n := range g.Nodes {
		if n.Node == node {
			return n.QuotaCalls
		}
	}
	return 0
}

// GrantActivate starts a prepaid grant: the escrow holds what the terms ask for. The venue's job sends it.
type GrantActivate struct {
	Agreement ID `json:"agreement"`
}

// GrantAllocate spreads the quota over the provider's nodes anew.
type GrantAllocate struct {
	Agreement ID          `json:"agreement"`
	Nodes     []NodeShare `json:"nodes"`
}

// GrantWarn records that usage has reached a percentage of escrow or credit line. A feed that decides something is
// never cut without warning.
type GrantWarn struct {
	Agreement ID    `json:"agreement"`
	Percent   int64 `json:"percent"`
}

// GrantHold is PAYMENT_HOLD: warned, and the grace (amount or days) used up.
type GrantHold struct {
	Agreement ID `json:"agreement"`
}

// GrantRelease lifts a payment hold after a top-up.
type GrantRelease struct {
	Agreement ID `json:"agreement"`
}

// GrantTurn suspends, resumes or revokes a grant, by the provider, with its reason.
type GrantTurn struct {
	Agreement ID     `json:"agreement"`
	Reason    string `json:"reason"`
}

var grantKinds = []*spec{
	kind("grant.activate", applyGrantActivate, by(RoleVenue)),
	kind("grant.allocate", applyGrantAllocate, by(RoleProvider, DutyMaker)),
	kind("grant.warn", applyGrantWarn, by(RoleVenue)),
	kind("grant.hold", applyGrantHold, by(RoleVenue)),
	kind("grant.release", applyGrantRelease, by(RoleVenue)),
	kind("grant.suspend", applyGrantSuspend, by(RoleProvider, DutyMaker)),
	kind("grant.resume", applyGrantResume, by(RoleProvider, DutyMaker)),
	kind("grant.revoke", applyGrantRevoke, twoPeople(RoleProvider), personal),
}

func (t *tx) saveGrant(id ID, g *Grant, event string) {
	g.Since = t.env.Now
	t.put(KeyGrant(id), g)
	t.audience(g.Buyer, g.Provider)
	t.event(event, id)
}

// running loads agreement and grant, the grant in one of the states.
func (t *tx) running(id ID, states ...GrantState) (*Agreement, *Grant, *Refusal) {
	a, r := t.agreement(id, true)
	if r != nil {
		return nil, nil, r
	}
	g, r := t.grant(id)
	if r != nil {
		return nil, nil, r
	}
	if !slices.Contains(states, g.State) {
		return nil, nil, refuse("grant.state", "the grant is %s, want %s", g.State, join(states)).at("agreement")
	}
	return a, g, nil
}

func applyGrantActivate(t *tx, b *GrantActivate) *Refusal {
	a, g, r := t.running(b.Agreement, GrantPending)
	if r != nil {
		return r
	}
	terms, _, r := open[Terms](t, TagTerms, a.Terms, "agreement")
	if r != nil {
		return r
	}
	balance, r := t.balance(b.Agreement)
	if r != nil {
		return r
	}
	if balance < terms.Escrow {
		return refuse("grant.funds", "the escrow is below what the terms ask for").at("agreement")
	}
	g.State = GrantActive
	t.saveGrant(b.Agreement, g, "grant.active")
	return nil
}

func applyGrantAllocate(t *tx, b *GrantAllocate) *Refusal {
	a, g, r := t.running(b.Agreement, GrantPending, GrantActive, GrantOnHold, GrantSuspended)
	if r != nil {
		return r
	}
	if t.me() != a.Provider {
		return refuse("agreement.unknown", "the provider allocates").at("agreement")
	}
	if r := t.checkShares(b.Nodes, a.Provider, g.QuotaCalls); r != nil {
		return r
	}
	g.Nodes = b.Nodes
	t.saveGrant(b.Agreement, g, "grant.allocated")
	return nil
}

// funds gives what has accrued and is not settled, and what is settled and not collected; the limit it counts against;
// and the terms. It opens the terms, the last report and the last settled one, for prepaid the escrow, for postpaid
// the debt.
func (t *tx) funds(id ID, a *Agreement) (accrued, limit Fen, terms *Terms, r *Refusal) {
	terms, _, r = open[Terms](t, TagTerms, a.Terms, "agreement")
	if r != nil {
		return
	}
	u, ok := get[Usage](t, KeyUsage(id))
	if !ok {
		return 0, 0, nil, refuse("usage.missing", "no usage is reported").at("agreement")
	}
	now, _, r := open[Totals](t, TagUsage, u.Totals, "agreement")
	if r != nil {
		return
	}
	settled := &Totals{}
	if s, ok := get[Settled](t, KeySettled(id)); ok {
		if settled, _, r = open[Totals](t, TagUsage, s.Totals, "agreement"); r != nil {
			return
		}
	}
	accrued = toFen(now.Micro - settled.Micro)
	var balance Fen
	if a.Billing == Prepaid {
		if balance, r = t.balance(id); r != nil {
			return
		}
	} else {
		var owed Fen
		if owed, r = t.owed(id); r != nil {
			return
		}
		accrued += owed
	}
	return accrued, terms.Limit(balance), terms, nil
}

func applyGrantWarn(t *tx, b *GrantWarn) *Refusal {
	a, g, r := t.running(b.Agreement, GrantActive)
	if r != nil {
		return r
	}
	if !slices.Contains(t.rules.WarnPercents, b.Percent) {
		return refuse("grant.percent", "the rulebook does not warn at this percentage").at("percent")
	}
	if b.Percent <= g.Warned {
		return refuse("grant.warned", "this was warned of").at("percent")
	}
	accrued, limit, _, r := t.funds(b.Agreement, a)
	if r != nil {
		return r
	}
	if accrued*100 < limit*Fen(b.Percent) {
		return refuse("grant.funds", "usage has not reached this percentage").at("percent")
	}
	g.Warned, g.WarnedAt = b.Percent, t.env.Now
	t.saveGrant(b.Agreement, g, "grant.warned")
	return nil
}

func applyGrantHold(t *tx, b *GrantHold) *Refusal {
	a, g, r := t.running(b.Agreement, GrantActive)
	if r != nil {
		return r
	}
	last := t.rules.WarnPercents[len(t.rules.WarnPercents)-1]
	if g.Warned < last {
		return refuse("grant.not_warned", "no hold before the warning at %d %%", last).at("agreement")
	}
	accrued, limit, terms, r := t.funds(b.Agreement, a)
	if r != nil {
		return r
	}
	overAmount := accrued >= limit+terms.GraceAmount
	overDays := t.env.Now >= g.WarnedAt.Add(terms.GraceDays*86400) && accrued*100 >= limit*Fen(last)
	if !overAmount && !overDays {
		return refuse("grant.grace", "the grace is not used up").at("agreement")
	}
	g.State = GrantOnHold
	t.saveGrant(b.Agreement, g, "grant.payment_hold")
	return nil
}

func applyGrantRelease(t *tx, b *GrantRelease) *Refusal {
	a, g, r := t.running(b.Agreement, GrantOnHold)
	if r != nil {
		return r
	}
	accrued, limit, _, r := t.funds(b.Agreement, a)
	if r != nil {
		return r
	}
	if accrued*100 >= limit*Fen(t.rules.WarnPercents[0]) {
		return refuse("grant.funds", "funds are still below the first warning").at("agreement")
	}
	g.State, g.Warned, g.WarnedAt = GrantActive, 0, 0
	t.saveGrant(b.Agreement, g, "grant.active")
	return nil
}

func (t *tx) turnGrant(b *GrantTurn, to GrantState, event string, from ...GrantState) *Refusal {
	a, g, r := t.running(b.Agreement, from...)
	if r != nil {
		return r
	}
	if t.me() != a.Provider {
		return refuse("agreement.unknown", "the provider suspends, resumes and revokes").at("agreement")
	}
	g.State, g.Reason = to, b.Reason
	t.saveGrant(b.Agreement, g, event)
	return nil
}

func applyGrantSuspend(t *tx, b *GrantTurn) *Refusal {
	return t.turnGrant(b, GrantSuspended, "grant.suspended", GrantActive)
}

func applyGrantResume(t *tx, b *GrantTurn) *Refusal {
	return t.turnGrant(b, GrantActive, "grant.active", GrantSuspended)
}

func applyGrantRevoke(t *tx, b *GrantTurn) *Refusal {
	return t.turnGrant(b, GrantRevoked, "grant.revoked", GrantPending, GrantActive, GrantOnHold, GrantSuspended)
}
