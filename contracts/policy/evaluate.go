package policy

import "slices"

// Request is one intended use.
type Request struct {
	Purpose   Purpose
	Operation Operation
	Fields    []string // every field whose value goes into the answer; only psi may name none
	Region    Region   // where the answer will be processed
	Time      int64    // ms since the Unix epoch
	Calls     int64    // made under the agreement before this one
	Consent   bool     // a valid consent covers this call; the caller has checked it
	Cohort    int64    // subjects behind each figure, for joint_statistics and compute
}

// Code is the stable name of a denial.
type Code string

// The denials, in the order in which Evaluate looks for them.
const (
	DenyWindow    Code = "policy.window"
	DenyPurpose   Code = "policy.purpose"
	DenyOperation Code = "policy.operation"
	DenyField     Code = "policy.field"
	DenyRegion    Code = "policy.region"
	DenyConsent   Code = "policy.consent"
	DenyQuota     Code = "policy.quota"
	DenyCohort    Code = "policy.cohort"
)

// Denial explains a code for people.
type Denial struct {
	Code Code
	Term Term // whose bound was hit
	Zh   string
	En   string
}

// Denials lists every denial in order of precedence, for the documentation.
func Denials() []Denial {
	return []Denial{
		{DenyWindow, TermNotAfter, "不在约定的使用期限内", "The time lies outside the agreed window."},
		{DenyPurpose, TermPurposes, "使用目的不在约定范围内", "The purpose is not among those agreed."},
		{DenyOperation, TermOperations, "使用方式不在约定范围内", "The operation is not among those agreed."},
		{DenyField, TermFields, "请求了约定以外的字段，或未指明字段", "A field that was not agreed is asked for, or none is named."},
		{DenyRegion, TermRegions, "处理地不在约定范围内", "The place of processing is not among those agreed."},
		{DenyConsent, TermConsentRequired, "缺少有效授权", "A valid consent is required and missing."},
		{DenyQuota, TermMaxCalls, "调用次数已达约定上限", "The agreed number of calls is used up."},
		{DenyCohort, TermMinimumCohort, "统计样本数低于约定下限", "Fewer subjects stand behind a figure than agreed."},
	}
}

// Decision is the answer to a request: permitted, or the first denial.
type Decision struct {
	Permit bool
	Denial Denial // when not permitted
}

// Evaluate decides whether a valid policy permits a request. It is pure: the same arguments always give the same
// decision. A request with an unknown purpose, operation or region is denied, since no policy names it.
func Evaluate(p Policy, r Request) Decision {
	switch {
	case r.Time < p.NotBefore || r.Time < minTime:
		d := deny(DenyWindow)
		d.Denial.Term = TermNotBefore
		return d
	case p.NotAfter != 0 && r.Time >= p.NotAfter || r.Time >= maxTime:
		return deny(DenyWindow)
	case !slices.Contains(p.Purposes, r.Purpose):
		return deny(DenyPurpose)
	case !slices.Contains(p.Operations, r.Operation):
		return deny(DenyOperation)
	case !p.permitsFields(r):
		return deny(DenyField)
	case !within(p.Regions, r.Region):
		return deny(DenyRegion)
	case p.ConsentRequired && !r.Consent:
		return deny(DenyConsent)
	case r.Calls < 0 || p.MaxCalls != 0 && r.Calls >= p.MaxCalls:
		return deny(DenyQuota)
	case r.Operation.aggregates() && r.Cohort < p.MinimumCohort:
		return deny(DenyCohort)
	}
	return Decision{Permit: true}
}

func (p Policy) permitsFields(r Request) bool {
	if len(r.Fields) == 0 {
		return r.Operation == PSI
	}
	for _, f := range r.Fields {
		if _, ok := slices.BinarySearch(p.Fields, f); !ok {
			return false
		}
	}
	return true
}

func deny(code Code) Decision {
	ds := Denials()
	return Decision{Denial: ds[slices.IndexFunc(ds, func(d Denial) bool { return d.Code == code })]}
}
