package contracts

import (
	"errors"
)

// Bund holds no money. A movement is what the custodian bank (存管银行) says happened in its books; its reference is
// unique per custodian.

// MovementValue is the private part of a movement (tag bund/movement/v1).
type MovementValue struct {
	Amount    Fen    `json:"amount"`
	Reference string `json:"reference"` // the bank's
	ValueDate string `json:"valueDate"` // yyyy-mm-dd
}

// Check refuses a movement of nothing.
func (m MovementValue) Check() error {
	if m.Amount <= 0 || m.Reference == "" || len(m.Reference) > 64 {
		return errors.New("want an amount above zero and a reference of 1 to 64 characters")
	}
	return Day(m.ValueDate).Check()
}

// EscrowValue is an escrow's balance (tag bund/escrow/v1).
type EscrowValue struct {
	Balance Fen `json:"balance"`
}

// Escrow is an agreement's money at the custodian.
type Escrow struct {
	Custodian ID    `json:"custodian"`
	Movements int64 `json:"movements"`
	Balance   Hash  `json:"balance"` // commitment
}

// KeyEscrow is where an agreement's escrow stands.
func KeyEscrow(agreement ID) string { return "clr/escrow/" + string(agreement) }

// Movement is one on the ledger.
type Movement struct {
	Custodian ID     `json:"custodian"`
	Type      string `json:"type"` // "deposit", "payout", "refund", "collection"
	Agreement ID     `json:"agreement"`
	Period    int64  `json:"period,omitempty"` // of the settlement, for payout and collection
	Value     Hash   `json:"value"`            // commitment
	Time      Millis `json:"time"`
}

// KeyMovement is where a movement stands, under its agreement.
func KeyMovement(agreement, id ID) string {
	return "clr/movement/" + string(agreement) + "/" + string(id)
}

// MovementRecord records a movement. RefTag is the custodian's keyed tag of its reference: equal references have equal
// tags, and nobody else can test a guess.
type MovementRecord struct {
	Agreement ID    `json:"agreement"`
	Period    int64 `json:"period,omitempty"`
	Value     Hash  `json:"value"`
	RefTag    Hash  `json:"refTag"`
}

var movementKinds = []*spec{
	kind("movement.deposit", applyDeposit, money(RoleCustodian), clearing, personal),
	kind("movement.refund", applyRefund, money(RoleCustodian), clearing, personal),
	kind("movement.payout", applyPayout, money(RoleCustodian), clearing, personal),
	kind("movement.collection", applyCollection, money(RoleCustodian), clearing, personal),
}

// balance opens an agreement's escrow; an agreement without one has nothing.
func (t *tx) balance(id ID) (Fen, *Refusal) {
	e, ok := get[Escrow](t, KeyEscrow(id))
	if !ok {
		return 0, nil
	}
	v, _, r := open[EscrowValue](t, TagEscrow, e.Balance, "agreement")
	if r != nil {
		return 0, r
	}
	return v.Balance, nil
}

// record checks what every movement must satisfy and writes it, its event and its reference tag.
func (t *tx) record(b *MovementRecord, typ string) (*Agreement, *MovementValue, *Opening, *Refusal) {
	a, ok := get[Agreement](t, KeyAgreement(b.Agreement))
	if !ok {
		return nil, nil, nil, refuse("agreement.unknown", "there is no such agreement").at("agreement")
	}
	t.ahead(KeyEscrow(b.Agreement), KeyFreeze(a.Provider), KeyFreeze(a.Buyer), KeyFreeze(a.Product), KeyFreeze(b.Agreement))
	v, o, r := open[MovementValue](t, TagMovement, b.Value, "value")
	if r != nil {
		return nil, nil, nil, r
	}
	ref := "clr/ref/" + string(t.me()) + "/" + string(b.RefTag)
	if t.has(ref) {
		return nil, nil, nil, refuse("movement.reference", "this custodian has used this reference").at("refTag")
	}
	id := t.newID("movement")
	t.write(ref, []byte(`"`+string(id)+`"`))
	t.put(KeyMovement(b.Agreement, id), Movement{Custodian: t.me(), Type: typ, Agreement: b.Agreement, Period: b.Period, Value: b.Value, Time: t.env.Now})
	t.audience(a.Buyer, a.Provider, t.me())
	t.event("movement."+typ, b.Agreement)
	return a, v, o, nil
}

// move changes an escrow's balance by delta.
func (t *tx) move(agreement ID, delta Fen, o *Opening) *Refusal {
	e, ok := get[Escrow](t, KeyEscrow(agreement))
	if !ok {
		e = &Escrow{Custodian: t.me()}
	} else if e.Custodian != t.me() && t.spec.role == RoleCustodian {
		return refuse("movement.custodian", "another custodian keeps this escrow").at("agreement")
	}
	balance, r := t.balance(agreement)
	if r != nil {
		return r
	}
	if balance += delta; balance < 0 {
		return refuse("escrow.funds", "the escrow does not hold this amount").at("value")
	}
	if balance > maxFen {
		return refuse("escrow.limit", "an escrow holds at most one hundred billion yuan").at("value")
	}
	e.Movements++
	e.Balance = t.seal(TagEscrow, o, EscrowValue{balance})
	t.put(KeyEscrow(agreement), e)
	return nil
}

func applyDeposit(t *tx, b *MovementRecord) *Refusal {
	a, v, o, r := t.record(b, "deposit")
	if r != nil {
		return r
	}
	if a.Billing != Prepaid {
		return refuse("movement.billing", "a postpaid agreement has no escrow").at("agreement")
	}
	if a.State != AgreementActive {
		return refuse("agreement.state", "the agreement is %s", a.State).at("agreement")
	}
	if r := t.notFrozen(a.Provider, a.Buyer, a.Product, b.Agreement); r != nil {
		return r
	}
	return t.move(b.Agreement, v.Amount, o)
}

// applyRefund gives back what is left of an escrow when the agreement has ended and every closed period is settled.
func applyRefund(t *tx, b *MovementRecord) *Refusal {
	a, v, o, r := t.record(b, "refund")
	if r != nil {
		return r
	}
	if a.State == AgreementActive {
		return refuse("agreement.state", "the agreement still runs").at("agreement")
	}
	if r := t.quiet(b.Agreement, a); r != nil {
		return r
	}
	s, ok := get[Settled](t, KeySettled(b.Agreement))
	if a.Periods > 0 && (!ok || s.Period != a.Periods) {
		return refuse("settlement.open", "a closed period is not settled").at("agreement")
	}
	if u, had := get[Usage](t, KeyUsage(b.Agreement)); had && (!ok || u.Totals != s.Totals) {
		return refuse("settlement.open", "reported usage is not settled").at("agreement")
	}
	return t.move(b.Agreement, -v.Amount, o)
}

// quiet refuses while the money of an agreement is disputed or frozen.
func (t *tx) quiet(agreement ID, a *Agreement) *Refusal {
	if d, ok := get[Dispute](t, KeyDispute(agreement)); ok && d.Decided == 0 {
		return refuse("dispute.open", "a dispute about this agreement is open").at("agreement")
	}
	return t.notFrozen(a.Provider, a.Buyer, a.Product, agreement)
}

func applyPayout(t *tx, b *MovementRecord) *Refusal {
	return t.payOff(b, "payout", func(v *SettlementValue) Fen { return v.ProviderNet })
}

func applyCollection(t *tx, b *MovementRecord) *Refusal {
	return t.payOff(b, "collection", func(v *SettlementValue) Fen { return v.BuyerTotal })
}

// payOff records that a settlement's amount was paid, once and exactly.
func (t *tx) payOff(b *MovementRecord, typ string, amount func(*SettlementValue) Fen) *Refusal {
	a, v, o, r := t.record(b, typ)
	if r != nil {
		return r
	}
	if r := t.quiet(b.Agreement, a); r != nil {
		return r
	}
	s, ok := get[Settlement](t, KeySettlement(b.Agreement, b.Period))
	if !ok {
		return refuse("settlement.unknown", "this period is not settled").at("period")
	}
	if e, ok := get[Escrow](t, KeyEscrow(b.Agreement)); ok && e.Custodian != t.me() {
		return refuse("movement.custodian", "another custodian keeps this escrow").at("agreement")
	}
	if typ == "collection" {
		if a.Billing != Postpaid {
			return refuse("movement.billing", "a prepaid agreement pays from its escrow").at("agreement")
		}
		if s.Collected != 0 {
			return refuse("movement.done", "this settlement was collected").at("period")
		}
		s.Collected = t.env.Now
	} else {
		if a.Billing == Postpaid && s.Collected == 0 {
			return refuse("movement.uncollected", "the buyer has not paid yet").at("period")
		}
		if s.Paid != 0 {
			return refuse("movement.done", "this settlement was paid out").at("period")
		}
		s.Paid = t.env.Now
	}
	value, _, r := open[SettlementValue](t, TagSettlement, s.Value, "period")
	if r != nil {
		return r
	}
	if v.Amount != amount(value) {
		return refuse("movement.amount", "the amount is not what the settlement says").at("value")
	}
	if typ == "collection" {
		if r := t.owe(b.Agreement, -v.Amount, o); r != nil {
			return r
		}
	}
	t.put(KeySettlement(b.Agreement, b.Period), s)
	return nil
}
