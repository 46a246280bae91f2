package contracts

// Dispute holds back the money of an agreement until the venue has decided. Parties may still go to court.
type Dispute struct {
	By       ID     `json:"by"`
	Evidence Hash   `json:"evidence"`
	Opened   Millis `json:"opened"`
	Decided  Millis `json:"decided,omitempty"`
	Decision Hash   `json:"decision,omitempty"`
}

// KeyDispute is where an agreement's last dispute stands.
func KeyDispute(agreement ID) string { return "dispute/" + string(agreement) }

// DisputeOpen opens a dispute about an agreement, with the digest of the evidence.
type DisputeOpen struct {
	Agreement ID   `json:"agreement"`
	Evidence  Hash `json:"evidence"`
}

// DisputeDecide closes it, with the digest of the decision.
type DisputeDecide struct {
	Agreement ID   `json:"agreement"`
	Decision  Hash `json:"decision"`
}

// Correction is a data subject's or buyer's objection to a record (异议纠错): the locator is a keyed digest.
type Correction struct {
	By       ID     `json:"by"`
	Product  ID     `json:"product"`
	Locator  Hash   `json:"locator"`
	Evidence Hash   `json:"evidence"`
	Opened   Millis `json:"opened"`
	Outcome  string `json:"outcome,omitempty"` // "corrected" or "upheld"
	Decided  Millis `json:"decided,omitempty"`
}

// KeyCorrection is where a correction stands.
func KeyCorrection(id ID) string { return "correction/" + string(id) }

// CorrectionOpen asks for a correction.
type CorrectionOpen struct {
	Product  ID   `json:"product"`
	Locator  Hash `json:"locator"`
	Evidence Hash `json:"evidence"`
}

// CorrectionDecide is the provider's answer.
type CorrectionDecide struct {
	Correction ID     `json:"correction"`
	Outcome    string `json:"outcome"`
}

var disputeKinds = []*spec{
	kind("dispute.open", applyDisputeOpen, by("", DutyMaker)),
	kind("dispute.decide", applyDisputeDecide, twoPeople(RoleVenue), personal),
	kind("correction.open", applyCorrectionOpen, by("", DutyMaker)),
	kind("correction.decide", applyCorrectionDecide, by(RoleProvider, DutyMaker)),
}

func applyDisputeOpen(t *tx, b *DisputeOpen) *Refusal {
	if _, r := t.agreement(b.Agreement, false); r != nil {
		return r
	}
	if d, ok := get[Dispute](t, KeyDispute(b.Agreement)); ok && d.Decided == 0 {
		return refuse("dispute.open", "a dispute about this agreement is open").at("agreement")
	}
	t.put(KeyDispute(b.Agreement), Dispute{By: t.me(), Evidence: b.Evidence, Opened: t.env.Now})
	t.event("dispute.opened", b.Agreement)
	return nil
}

func applyDisputeDecide(t *tx, b *DisputeDecide) *Refusal {
	if _, r := t.agreement(b.Agreement, true); r != nil {
		return r
	}
	d, ok := get[Dispute](t, KeyDispute(b.Agreement))
	if !ok || d.Decided != 0 {
		return refuse("dispute.none", "no dispute about this agreement is open").at("agreement")
	}
	d.Decided, d.Decision = t.env.Now, b.Decision
	t.put(KeyDispute(b.Agreement), d)
	t.event("dispute.decided", b.Agreement)
	return nil
}

func applyCorrectionOpen(t *tx, b *CorrectionOpen) *Refusal {
	p, ok := get[Product](t, KeyProduct(b.Product))
	if !ok {
		return refuse("product.unknown", "no product has this id").at("product")
	}
	id := t.newID("correction")
	t.put(KeyCorrection(id), Correction{By: t.me(), Product: b.Product, Locator: b.Locator, Evidence: b.Evidence, Opened: t.env.Now})
	t.audience(t.me(), p.Provider)
	t.event("correction.opened", id)
	return nil
}

func applyCorrectionDecide(t *tx, b *CorrectionDecide) *Refusal {
	c, ok := get[Correction](t, KeyCorrection(b.Correction))
	if !ok {
		return refuse("correction.unknown", "there is no such correction").at("correction")
	}
	if p, ok := get[Product](t, KeyProduct(c.Product)); !ok || p.Provider != t.me() {
		return refuse("correction.unknown", "there is no such correction").at("correction")
	}
	if c.Decided != 0 {
		return refuse("correction.decided", "the correction was decided").at("correction")
	}
	if b.Outcome != "corrected" && b.Outcome != "upheld" {
		return refuse("correction.outcome", "an outcome is corrected or upheld").at("outcome")
	}
	c.Outcome, c.Decided = b.Outcome, t.env.Now
	t.put(KeyCorrection(b.Correction), c)
	t.audience(c.By, t.me())
	t.event("correction.decided", b.Correction)
	return nil
}
