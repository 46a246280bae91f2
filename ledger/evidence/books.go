package evidence

import (
	"fmt"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// books are an auditor's own accounts of money, kept from opened movements and settlements. They share no arithmetic
// with the rules.
type books struct {
	escrow   map[contracts.ID]contracts.Fen // by agreement
	due      map[string]contracts.Fen       // provider's net by settlement key, until paid
	payments int
}

func newBooks() *books {
	return &books{escrow: map[contracts.ID]contracts.Fen{}, due: map[string]contracts.Fen{}}
}

// entry follows the money of one replayed entry.
func (b *books) entry(a *audit, it *item, where string) {
	for _, w := range it.e.Writes {
		switch {
		case strings.HasPrefix(w.Key, "clr/movement/"):
			b.movement(a, w, where)
		case strings.HasPrefix(w.Key, "clr/settlement/"):
			b.settlement(a, w, where)
		case strings.HasPrefix(w.Key, "certificate/"):
			certificate(a, w, where)
		}
	}
	for _, w := range it.e.Writes {
		if strings.HasPrefix(w.Key, "clr/escrow/") {
			b.balance(a, w, where)
		}
	}
}

func opened[T any](a *audit, tag string, c contracts.Hash) (*T, bool) {
	o, ok := a.find(tag, c)
	if !ok {
		a.skip(checkMoney, "an opening is not supplied, or erased")
		return nil, false
	}
	v, err := contracts.Read[T](o.Value)
	return v, err == nil
}

func (b *books) movement(a *audit, w contracts.Write, where string) {
	m, err := contracts.Read[contracts.Movement](w.Value)
	if err != nil {
		a.fail(checkMoney, where+": writes", "a movement does not decode")
		return
	}
	v, ok := opened[contracts.MovementValue](a, contracts.TagMovement, m.Value)
	if !ok {
		return
	}
	a.check(checkMoney).Count++
	switch m.Type {
	case "deposit":
		b.escrow[m.Agreement] += v.Amount
	case "refund":
		b.escrow[m.Agreement] -= v.Amount
	case "payout":
		key := contracts.KeySettlement(m.Agreement, m.Period)
		if b.due[key] != v.Amount {
			a.fail(checkMoney, where+": movement", "the payout is not what the settlement owes")
		}
		delete(b.due, key)
	}
}

func (b *books) settlement(a *audit, w contracts.Write, where string) {
	s, err := contracts.Read[contracts.Settlement](w.Value)
	if err != nil {
		a.fail(checkMoney, where+": writes", "a settlement does not decode")
		return
	}
	if !contracts.ValidSerial(s.Number) {
		a.fail(checkCertificates, where+": settlement number", "its check digit is wrong")
	}
	if s.Paid != 0 || s.Collected != 0 {
		return // written again when it was paid; counted at the first time
	}
	v, ok := opened[contracts.SettlementValue](a, contracts.TagSettlement, s.Value)
	if !ok {
		return
	}
	var debit, credit, escrow contracts.Fen
	for _, p := range v.Postings {
		debit, credit = debit+p.Debit, credit+p.Credit
		if p.Account == "escrow" {
			escrow += p.Debit - p.Credit
		}
	}
	if debit != credit {
		a.fail(checkMoney, where+": postings", "debits are %d fen, credits %d", debit, credit)
	}
	if v.Units*int64(v.UnitPrice) > int64(v.Usage)*10_000+5_000 || v.Units*int64(v.UnitPrice) < int64(v.Usage)*10_000-5_000 {
		a.fail(checkMoney, where+": usage", "it is not units times price")
	}
	b.escrow[s.Agreement] -= escrow
	b.due[w.Key] = v.ProviderNet
	a.check(checkMoney).Count++
}

func (b *books) balance(a *audit, w contracts.Write, where string) {
	e, err := contracts.Read[contracts.Escrow](w.Value)
	if err != nil {
		a.fail(checkMoney, where+": writes", "an escrow does not decode")
		return
	}
	v, ok := opened[contracts.EscrowValue](a, contracts.TagEscrow, e.Balance)
	if !ok {
		return
	}
	agreement := contracts.ID(strings.TrimPrefix(w.Key, "clr/escrow/"))
	if v.Balance != b.escrow[agreement] || v.Balance < 0 {
		a.fail(checkMoney, where+": escrow", "the balance is %d fen, movements and settlements make %d", v.Balance, b.escrow[agreement])
	}
	a.check(checkMoney).Count++
}

func certificate(a *audit, w contracts.Write, where string) {
	c, err := contracts.Read[contracts.Certificate](w.Value)
	if err != nil || !contracts.ValidSerial(c.Number) {
		a.fail(checkCertificates, where+": certificate", "it does not decode, or its check digit is wrong")
		return
	}
	ag, err := contracts.Read[contracts.Agreement](a.state[contracts.KeyAgreement(c.Agreement)])
	if err != nil || ag.Digest != c.Digest {
		a.fail(checkCertificates, where+": certificate", "its digest is not the agreement's")
		return
	}
	a.check(checkCertificates).Count++
}

// closeBooks ends the audit of money.
func (a *audit) closeBooks() {
	for id, f := range a.money.escrow {
		if f < 0 {
			a.fail(checkMoney, EntriesFile, "the escrow of agreement %s is below zero", id)
		}
	}
	if n := len(a.money.due); n > 0 && a.check(checkMoney).Verdict == Verified {
		a.check(checkMoney).Detail = fmt.Sprintf("%d settlements are not paid out yet", n)
	}
}
