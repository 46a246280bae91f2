package meter

import (
	"errors"
	"fmt"
	"math"

	"github.com/bund-exchange/bund/contracts"
)

// Terms are what both nodes read from the agreement and its grant. The same code at both sides turns them into units
// and totals, so that there is nothing to disagree about but facts.
type Terms struct {
	Agreement    contracts.ID
	PriceMicro   contracts.MicroYuan // per billed unit
	BillNotFound bool                // contracts.Terms.BillOn is "query"
	WindowFen    contracts.Fen       // may stand served and not acknowledged; at least one price
	WindowCalls  int64               // leaves that may stand so, billed or not
	EscrowFen    contracts.Fen       // all that was ever paid in, or the credit line less what is owed, with all that was settled
	GraceFen     contracts.Fen       // beyond it; then the node stops
	QuotaCalls   int64               // billed units that the grant allows at this node, since it began; a call after one company is one
	TTLSec       int64               // life of a request id
	SkewSec      int64               // how far the two clocks may differ
	Provider     contracts.PublicKey // receipt keys, ed25519
	Consumer     contracts.PublicKey
}

// Schedule gives the terms in force behind the CLOSE leaf of a period, and at number 0 those that the
// agreement began with: an amended price holds from exactly that leaf on. It reports false while the node hasn't
// followed the ledger so far; the log then waits. It is called often and must be quick.
type Schedule func(number int64) (Terms, bool)

func (s Schedule) at(number int64) (Terms, error) {
	t, ok := s(number)
	if !ok {
		return t, fmt.Errorf("couldn't find the terms in force behind period %d", number)
	}
	if err := t.Check(); err != nil {
		return t, fmt.Errorf("couldn't use the terms in force behind period %d: %w", number, err)
	}
	return t, nil
}

// Fixed is the schedule of an agreement that was never amended.
func Fixed(t Terms) Schedule { return func(int64) (Terms, bool) { return t, true } }

const (
	microPerFen    = 10_000
	maxWindowCalls = 1 << 20 // bounds memory at both sides
	maxTTLSec      = 3600
)

// Check reports terms that no log can be kept under. A window below one price would refuse every call for ever.
func (t *Terms) Check() error {
	if err := t.Agreement.Check(); err != nil {
		return fmt.Errorf("agreement: %w", err)
	}
	if err := errors.Join(t.PriceMicro.Check(), t.WindowFen.Check(), t.EscrowFen.Check(), t.GraceFen.Check()); err != nil {
		return err
	}
	if t.windowMicro() < t.PriceMicro {
		return errors.New("want a window of at least one price")
	}
	if t.WindowCalls < 1 || t.WindowCalls > maxWindowCalls {
		return fmt.Errorf("want a window of 1 to %d calls", maxWindowCalls)
	}
	if t.QuotaCalls < 0 {
		return errors.New("want a quota not below zero")
	}
	if t.TTLSec < 1 || t.TTLSec > maxTTLSec || t.SkewSec < 0 || t.SkewSec > t.TTLSec {
		return fmt.Errorf("want a life of 1 to %d s for request ids and a clock difference not above it", maxTTLSec)
	}
	for _, k := range []contracts.PublicKey{t.Provider, t.Consumer} {
		if k.Suite() != contracts.Ed25519 {
			return errors.New("want ed25519 receipt keys")
		}
		if err := k.Check(); err != nil {
			return fmt.Errorf("receipt key: %w", err)
		}
	}
	if t.Provider == t.Consumer {
		return errors.New("want two receipt keys")
	}
	return nil
}

// MaxUnits bounds what one call may ask for.
const MaxUnits = 1 << 20

// Units is the billing rule: what was found costs the units that were asked for, what was looked for and isn't there
// costs them if the terms say so, and a call that brought no answer costs nothing.
func (t *Terms) Units(o Outcome, asked int64) int64 {
	if o == Found || o == NotFound && t.BillNotFound {
		return asked
	}
	return 0
}

// cost is what so many units come to. It reports false for more than one call may ask for.
func (t *Terms) cost(units int64) (contracts.MicroYuan, bool) {
	if units < 1 || units > MaxUnits || t.PriceMicro > 0 && contracts.MicroYuan(units) > math.MaxInt64/2/t.PriceMicro {
		return 0, false
	}
	return contracts.MicroYuan(units) * t.PriceMicro, true
}

// bill gives the totals after a CALL of so many units. Calls counts billed calls.
func (t *Terms) bill(prev contracts.Totals, units int64) contracts.Totals {
	if units > 0 {
		prev.Calls++
	}
	prev.Units += units
	prev.Micro += contracts.MicroYuan(units) * t.PriceMicro
	return prev
}

// minus gives a − b: what one leaf billed is the difference of two totals, whatever price was then in force.
func minus(a, b contracts.Totals) contracts.Totals {
	return contracts.Totals{Calls: a.Calls - b.Calls, Units: a.Units - b.Units, Micro: a.Micro - b.Micro}
}

// samePrice reports whether both terms bill alike.
func (t *Terms) samePrice(o *Terms) bool {
	return t.PriceMicro == o.PriceMicro && t.BillNotFound == o.BillNotFound
}

func (t *Terms) windowMicro() contracts.MicroYuan {
	return contracts.MicroYuan(t.WindowFen) * microPerFen
}

func (t *Terms) stopMicro() contracts.MicroYuan {
	return contracts.MicroYuan(t.EscrowFen+t.GraceFen) * microPerFen
}

// idLife bounds the time from a leaf to the last moment at which its request id is not refused by its age alone.
func (t *Terms) idLife() contracts.Millis { return t.ttl() + 2*t.skew() }

func (t *Terms) ttl() contracts.Millis  { return contracts.Millis(t.TTLSec) * 1000 }
func (t *Terms) skew() contracts.Millis { return contracts.Millis(t.SkewSec) * 1000 }

// fundsOnly reports whether next differs from t only in what may change while an epoch runs.
func (t *Terms) fundsOnly(next *Terms) bool {
	a, b := *t, *next
	for _, x := range []*Terms{&a, &b} {
		x.WindowFen, x.WindowCalls, x.EscrowFen, x.GraceFen, x.QuotaCalls = 0, 0, 0, 0, 0
	}
	return a == b
}
