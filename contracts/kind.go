package contracts

import (
	"fmt"
	"slices"

	"github.com/bund-exchange/bund/contracts/canon"
)

// spec is all that the ledger knows of a kind of command.
type spec struct {
	name      string
	role      Role   // the member must hold it; "" for any
	duties    []Duty // one distinct person of the member for each; none: any active command key, a machine's too
	public    bool   // the entry's body is for all
	clearing  bool   // belongs to the clearing definition: writes only keys under clr/
	personal  bool   // keys in the venue's custody may not sign it outside the sample market
	suspended bool   // a suspended member may still sign it
	outsider  bool   // signed by keys that are not on the ledger yet; the handler checks them
	decode    func([]byte) (any, error)
	apply     func(*tx, any) *Refusal
}

// option sets one property of a kind.
type option func(*spec)

func by(role Role, duties ...Duty) option {
	return func(s *spec) { s.role, s.duties = role, duties }
}

// twoPeople is what admission, listing, signing, price and freeze need.
func twoPeople(role Role) option { return by(role, DutyMaker, DutyChecker) }

// money is what movements need.
func money(role Role) option { return by(role, DutyFinance, DutyChecker) }

func public(s *spec)    { s.public = true }
func clearing(s *spec)  { s.clearing = true }
func personal(s *spec)  { s.personal = true }
func suspended(s *spec) { s.suspended = true }
func outsider(s *spec)  { s.outsider = true }

func kind[B any](name string, apply func(*tx, *B) *Refusal, opts ...option) *spec {
	s := &spec{
		name: name,
		decode: func(b []byte) (any, error) {
			v := new(B)
			return v, canon.Unmarshal(b, v)
		},
		apply: func(t *tx, body any) *Refusal { return apply(t, body.(*B)) },
	}
	for _, o := range opts {
		o(s)
	}
	return s
}

// kinds is the closed set of commands. It is filled once, before any goroutine can read it.
var kinds = map[string]*spec{}

func init() {
	for _, group := range [][]*spec{
		rulebookKinds, memberKinds, keyKinds, nodeKinds, authorityKinds, productKinds, attestationKinds, negotiationKinds,
		agreementKinds, grantKinds, consentKinds, usageKinds, movementKinds, settlementKinds, certificateKinds,
		freezeKinds, disputeKinds, evidenceKinds, readsKinds, lookupKinds, modelKinds, statisticsKinds,
	} {
		for _, s := range group {
			if kinds[s.name] != nil {
				panic(fmt.Sprintf("contracts: kind %s is there twice", s.name))
			}
			kinds[s.name] = s
		}
	}
}

// ClearingKind reports whether the clearing definition decides a kind of command, and whether there is such a kind.
func ClearingKind(name string) (clearing, known bool) {
	s, known := kinds[name]
	return known && s.clearing, known
}

// KindDoc describes a kind for the reference.
type KindDoc struct {
	Name     string
	Role     Role
	Duties   []Duty
	Public   bool
	Clearing bool
}

// Kinds lists every kind in order of name.
func Kinds() []KindDoc {
	var out []KindDoc
	for _, s := range kinds {
		out = append(out, KindDoc{s.name, s.role, s.duties, s.public, s.clearing})
	}
	slices.SortFunc(out, func(a, b KindDoc) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}
