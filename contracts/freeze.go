package contracts

// Freeze stops every new use, agreement and payment that touches a member, product or agreement. Nodes act on it at
// once; an offline node within its stale bound.
type Freeze struct {
	By     ID     `json:"by"`
	Order  Hash   `json:"order"` // digest of the written order
	Reason string `json:"reason"`
	Since  Millis `json:"since"`
	Lifted Millis `json:"lifted,omitempty"`
}

// KeyFreeze is where a freeze of a member, product or agreement stands.
func KeyFreeze(target ID) string { return "freeze/" + string(target) }

// FreezeOrder freezes a target, or lifts a freeze.
type FreezeOrder struct {
	Target ID     `json:"target"`
	Order  Hash   `json:"order"`
	Reason string `json:"reason"`
}

var freezeKinds = []*spec{
	kind("freeze.order", applyFreezeOrder, twoPeople(RoleRegulator), public, personal),
	kind("freeze.lift", applyFreezeLift, twoPeople(RoleRegulator), public, personal),
}

func (t *tx) notFrozen(targets ...ID) *Refusal {
	for _, id := range targets {
		if f, ok := peek[Freeze](t, KeyFreeze(id)); ok && f.Lifted == 0 {
			return refuse("freeze.frozen", "a regulator's freeze is in force")
		}
	}
	return nil
}

func applyFreezeOrder(t *tx, b *FreezeOrder) *Refusal {
	if !t.has(KeyMember(b.Target)) && !t.has(KeyProduct(b.Target)) && !t.has(KeyAgreement(b.Target)) {
		return refuse("freeze.target", "a freeze targets a member, a product or an agreement").at("target")
	}
	if f, ok := get[Freeze](t, KeyFreeze(b.Target)); ok && f.Lifted == 0 {
		return refuse("freeze.frozen", "the target is frozen").at("target")
	}
	t.put(KeyFreeze(b.Target), Freeze{By: t.me(), Order: b.Order, Reason: b.Reason, Since: t.env.Now})
	t.event("freeze.ordered", b.Target)
	return nil
}

func applyFreezeLift(t *tx, b *FreezeOrder) *Refusal {
	f, ok := get[Freeze](t, KeyFreeze(b.Target))
	if !ok || f.Lifted != 0 {
		return refuse("freeze.none", "the target is not frozen").at("target")
	}
	if f.By != t.me() {
		return refuse("freeze.foreign", "another regulator ordered this freeze").at("target")
	}
	f.Lifted = t.env.Now
	t.put(KeyFreeze(b.Target), f)
	t.event("freeze.lifted", b.Target)
	return nil
}
