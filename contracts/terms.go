package contracts

import (
	"errors"
	"math/bits"
)

// AgreementKind: a test agreement has the purpose evaluation, its own quota and end, and decides no credit.
type AgreementKind string

const (
	Trade AgreementKind = "trade"
	Test  AgreementKind = "test"
)

// Check reports an unknown kind.
func (k AgreementKind) Check() error { return oneOf(k, []AgreementKind{Trade, Test}) }

// Billing is who waits for the money.
type Billing string

const (
	Prepaid  Billing = "prepaid"  // the grant waits for the escrow
	Postpaid Billing = "postpaid" // the grant is active at once, under a credit line
)

// Check reports an unknown billing.
func (b Billing) Check() error { return oneOf(b, []Billing{Prepaid, Postpaid}) }

// Terms are what two parties agree about money and time. They are private: the ledger holds a commitment, the audience
// the opening (tag bund/terms/v1).
type Terms struct {
	Billing        Billing   `json:"billing"`
	UnitPrice      MicroYuan `json:"unitPrice"`      // of a billed unit, tax included
	BillOn         string    `json:"billOn"`         // "found": only answers that found something; "query": NOT_FOUND too
	FlatFee        Fen       `json:"flatFee"`        // of a calendar month that a period belongs to, tax included
	Escrow         Fen       `json:"escrow"`         // prepaid: what must be deposited before the grant is active
	CreditLine     Fen       `json:"creditLine"`     // postpaid: what may be owed
	GraceAmount    Fen       `json:"graceAmount"`    // beyond escrow or credit line
	GraceDays      int64     `json:"graceDays"`      // after the last warning
	WindowAmount   Fen       `json:"windowAmount"`   // receipts: served and not yet acknowledged
	WindowCalls    int64     `json:"windowCalls"`    // the same, in calls
	AcceptanceDays int64     `json:"acceptanceDays"` // silence for so long after a period's close is acceptance
	NoticeDays     int64     `json:"noticeDays"`     // of a termination without cause
}

// Check reports terms that no metering could run on.
func (t Terms) Check() error {
	switch {
	case t.BillOn != "found" && t.BillOn != "query":
		return errors.New("billOn is found or query")
	case t.Billing == Prepaid && t.CreditLine != 0, t.Billing == Postpaid && t.Escrow != 0:
		return errors.New("a prepaid agreement has an escrow, a postpaid one a credit line")
	case t.GraceDays < 0 || t.AcceptanceDays < 0 || t.AcceptanceDays > 90 || t.NoticeDays < 0 || t.NoticeDays > 365:
		return errors.New("days below zero or too many")
	case t.WindowCalls < 1 || t.WindowCalls > 1_000_000:
		return errors.New("windowCalls is 1 to 1000000")
	case int64(t.WindowAmount)*microPerFen < int64(t.UnitPrice):
		return errors.New("windowAmount is below the price of one call: not one call could be served")
	}
	return nil
}

// Limit is the amount at which low funds are warned of: the escrow or the credit line.
func (t *Terms) Limit(balance Fen) Fen {
	if t.Billing == Postpaid {
		return t.CreditLine
	}
	return balance
}

// times multiplies units by a unit price; ok is false on overflow.
func times(units int64, price MicroYuan) (MicroYuan, bool) {
	hi, lo := bits.Mul64(uint64(units), uint64(price))
	return MicroYuan(lo), hi == 0 && lo < 1<<63
}

// toFen rounds half up: the one rounding, once per settlement line and period.
func toFen(m MicroYuan) Fen { return Fen((m + microPerFen/2) / microPerFen) }

// fee is a share in basis points, rounded half up.
func fee(amount Fen, basisPoints int64) Fen { return (amount*Fen(basisPoints) + 5000) / 10000 }
