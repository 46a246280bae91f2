package policy

import (
	"fmt"
	"slices"
)

// Widening says which term of a policy permits more than its template.
type Widening struct{ Term Term }

func (w *Widening) Error() string { return fmt.Sprintf("%s: the template permits less", w.Term) }

// Narrows reports, as a *Widening, the first term by which p permits more, or binds less, than the template. When it
// gives nil, whatever Evaluate permits under p it permits under the template. Both policies are valid.
func (p Policy) Narrows(template Policy) error {
	for _, t := range []struct {
		term Term
		ok   bool
	}{
		{TermPurposes, subset(p.Purposes, template.Purposes)},
		{TermOperations, subset(p.Operations, template.Operations)},
		{TermFields, subset(p.Fields, template.Fields)},
		{TermRegions, !slices.ContainsFunc(p.Regions, func(r Region) bool { return !within(template.Regions, r) })},
		{TermNotBefore, p.NotBefore >= template.NotBefore},
		{TermNotAfter, bounded(p.NotAfter, template.NotAfter)},
		{TermMaxCalls, bounded(p.MaxCalls, template.MaxCalls)},
		{TermMinimumCohort, p.MinimumCohort >= template.MinimumCohort},
		{TermRetentionDays, p.RetentionDays <= template.RetentionDays},
		{TermConsentRequired, p.ConsentRequired || !template.ConsentRequired},
		{TermProhibitions, subset(template.Prohibitions, p.Prohibitions)},
		{TermDuties, subset(template.Duties, p.Duties)},
	} {
		if !t.ok {
			return &Widening{t.term}
		}
	}
	return nil
}

// subset walks two ascending lists side by side.
func subset[T ~string](xs, of []T) bool {
	for _, x := range xs {
		i, ok := slices.BinarySearch(of, x)
		if !ok {
			return false
		}
		of = of[i+1:]
	}
	return true
}

func within(regions []Region, x Region) bool {
	return slices.ContainsFunc(regions, func(r Region) bool { return r.holds(x) })
}

// bounded compares upper bounds of which zero is none.
func bounded(x, by int64) bool { return by == 0 || x != 0 && x <= by }
