// Package policy says what a buyer may do with data, in a closed vocabulary: Bund's profile of ODRL 2.2.
//
// A policy is one permission to use, under constraints, with prohibitions and duties beside it. What it doesn't permit is
// forbidden. Its stored form is canonical JSON, where an unknown term is an error and never read as empty; ODRL gives the
// JSON-LD form for display.
//
//	term             ODRL                                       meaning
//	purposes         purpose isAnyOf                            what for
//	operations       bund:operation isAnyOf                     how the data is reached
//	fields           bund:field isAnyOf                         which fields of the dictionary
//	regions          spatial isAnyOf                            where the answer may be processed
//	notBefore/After  dateTime gteq, lt                          when
//	maxCalls         count lteq                                 how often, over the whole agreement
//	minimumCohort    bund:cohort gteq                           subjects behind one figure of a statistic
//	consentRequired  duty obtainConsent                         of the company or person, before each call
//	retentionDays    bund:retention lteq                        how long an answer may be kept
//	prohibitions     prohibition                                what is forbidden even to a permitted user
//	duties           obligation                                 what a user must do
//
// Evaluate decides the terms that a gate can see. Retention, prohibitions and duties bind the buyer by contract: nobody
// can watch them from outside, and Evaluate doesn't pretend to.
package policy

import (
	"fmt"
	"slices"

	"github.com/bund-exchange/bund/contracts/canon"
)

// Policy is a product's template or an agreement's policy. Lists are ascending and name nothing twice, so that one
// meaning has one digest; Ordered makes them so. Times are milliseconds since the Unix epoch.
type Policy struct {
	Purposes   []Purpose   `json:"purposes"`
	Operations []Operation `json:"operations"`
	Fields     []string    `json:"fields"` // names of the product's field dictionary
	Regions    []Region    `json:"regions"`

	NotBefore int64 `json:"notBefore,omitempty"` // first moment; zero: no bound
	NotAfter  int64 `json:"notAfter,omitempty"`  // first moment that is too late; zero: no bound

	MaxCalls        int64 `json:"maxCalls,omitempty"`      // zero: no bound
	MinimumCohort   int64 `json:"minimumCohort,omitempty"` // of statistics and computations; zero: no bound
	RetentionDays   int64 `json:"retentionDays"`           // zero: an answer is not kept after its use
	ConsentRequired bool  `json:"consentRequired"`

	Prohibitions []Prohibition `json:"prohibitions"`
	Duties       []Duty        `json:"duties"`
}

// Limits of a policy.
const (
	MaxFields        = 512
	maxFieldBytes    = 128
	maxRegions       = 64
	maxCalls         = 1_000_000_000_000
	maxCohort        = 1_000_000_000
	maxRetentionDays = 36_500
	minTime          = 946684800000  // 2000-01-01T00:00:00Z
	maxTime          = 7258118400000 // 2200-01-01T00:00:00Z
)

// Decode reads a policy in its stored form. Its error is a *canon.Error that names the term.
func Decode(b []byte) (Policy, error) {
	var p Policy
	err := canon.Unmarshal(b, &p)
	return p, err
}

// Check reports a policy that permits nothing, contradicts itself or is out of bounds. Unknown terms are reported by the
// terms' own types.
func (p Policy) Check() error {
	for _, err := range []error{
		set(TermPurposes, p.Purposes, 1, len(purposes)), all(p.Purposes),
		set(TermOperations, p.Operations, 1, len(operations)), all(p.Operations),
		set(TermFields, p.Fields, 1, MaxFields),
		set(TermRegions, p.Regions, 1, maxRegions), all(p.Regions),
		set(TermProhibitions, p.Prohibitions, 0, len(prohibitions)), all(p.Prohibitions),
		set(TermDuties, p.Duties, 0, len(duties)), all(p.Duties),
	} {
		if err != nil {
			return err
		}
	}
	for _, f := range p.Fields {
		if !fieldName(f) {
			return fmt.Errorf("%s: want names of 1 to %d bytes without spaces and control characters", TermFields, maxFieldBytes)
		}
	}
	switch {
	case !timeOrZero(p.NotBefore):
		return fmt.Errorf("%s: want a time in 2000–2199", TermNotBefore)
	case !timeOrZero(p.NotAfter):
		return fmt.Errorf("%s: want a time in 2000–2199", TermNotAfter)
	case p.NotBefore != 0 && p.NotAfter != 0 && p.NotBefore >= p.NotAfter:
		return fmt.Errorf("%s: want a time after notBefore", TermNotAfter)
	case p.MaxCalls < 0 || p.MaxCalls > maxCalls:
		return fmt.Errorf("%s: want 0 to %d", TermMaxCalls, int64(maxCalls))
	case p.MinimumCohort < 0 || p.MinimumCohort > maxCohort:
		return fmt.Errorf("%s: want 0 to %d", TermMinimumCohort, maxCohort)
	case p.RetentionDays < 0 || p.RetentionDays > maxRetentionDays:
		return fmt.Errorf("%s: want 0 to %d", TermRetentionDays, maxRetentionDays)
	}
	if slices.Contains(p.Prohibitions, TransferAbroad) && slices.ContainsFunc(p.Regions, Region.Abroad) {
		return fmt.Errorf("%s: a region lies abroad, and transfer_abroad is prohibited", TermRegions)
	}
	return nil
}

func set[T ~string](term Term, xs []T, low, high int) error {
	if len(xs) < low || len(xs) > high {
		return fmt.Errorf("%s: want %d to %d entries", term, low, high)
	}
	for i := range xs {
		if i > 0 && xs[i] <= xs[i-1] {
			return fmt.Errorf("%s: want ascending entries, none twice", term)
		}
	}
	return nil
}

func all[T interface{ Check() error }](xs []T) error {
	for _, x := range xs {
		if err := x.Check(); err != nil {
			return err
		}
	}
	return nil
}

func fieldName(s string) bool {
	for _, r := range s {
		if r <= ' ' || r == 0x7f || r == '\ufffd' {
			return false
		}
	}
	return s != "" && len(s) <= maxFieldBytes
}

func timeOrZero(ms int64) bool { return ms == 0 || ms >= minTime && ms < maxTime }

// Ordered gives the policy with its lists sorted and entries that were there twice once.
func (p Policy) Ordered() Policy {
	p.Purposes, p.Operations, p.Fields, p.Regions = ordered(p.Purposes), ordered(p.Operations), ordered(p.Fields), ordered(p.Regions)
	p.Prohibitions, p.Duties = ordered(p.Prohibitions), ordered(p.Duties)
	return p
}

func ordered[T ~string](xs []T) []T { return slices.Compact(slices.Sorted(slices.Values(xs))) }

// OnlyPurpose reports whether p permits the purpose x and no other.
func (p Policy) OnlyPurpose(x Purpose) bool { return len(p.Purposes) == 1 && p.Purposes[0] == x }
