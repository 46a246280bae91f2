package contracts

// DebtValue is what a postpaid buyer owes: settled and not yet collected, fees and flat fees included (tag bund/debt/v1).
type DebtValue struct {
	Owed Fen `json:"owed"`
}

// Debt is a postpaid agreement's counterpart of an escrow. It uses up the credit line together with what has accrued and
// isn't settled: see grant.hold.
type Debt struct {
	Settlements int64 `json:"settlements"` // that were added
	Collections int64 `json:"collections"` // that were taken off
	Owed        Hash  `json:"owed"`        // commitment
}

// KeyDebt is where an agreement's debt stands, from its first settlement that the buyer owes something by.
func KeyDebt(agreement ID) string { return "clr/debt/" + string(agreement) }

// owed opens an agreement's debt; one without a record owes nothing.
func (t *tx) owed(id ID) (Fen, *Refusal) {
	d, ok := get[Debt](t, KeyDebt(id))
	if !ok {
		return 0, nil
	}
	v, _, r := open[DebtValue](t, TagDebt, d.Owed, "agreement")
	if r != nil {
		return 0, r
	}
	return v.Owed, nil
}

// owe changes an agreement's debt by delta: what a settlement adds and a collection takes off.
func (t *tx) owe(id ID, delta Fen, o *Opening) *Refusal {
	owed, r := t.owed(id)
	if r != nil {
		return r
	}
	d, ok := get[Debt](t, KeyDebt(id))
	if !ok {
		d = &Debt{}
	}
	if owed += delta; owed > maxFen {
		return refuse("settlement.overflow", "a buyer owes at most one hundred billion yuan").at("period")
	}
	if delta > 0 {
		d.Settlements++
	} else {
		d.Collections++
	}
	d.Owed = t.seal(TagDebt, o, DebtValue{owed})
	t.put(KeyDebt(id), d)
	return nil
}
