package evidence

import (
	"fmt"
	"slices"
	"time"

	"github.com/bund-exchange/bund/ledger/publish"
)

// Verdict of one check.
type Verdict string

const (
	Verified     Verdict = "verified"
	Failed       Verdict = "failed"
	NotCheckable Verdict = "not checkable" // wholly or in part: an opening was not supplied, or is erased
)

// Check is one line of an audit.
type Check struct {
	Name     string  `json:"name"`
	NameZh   string  `json:"nameZh"`
	Verdict  Verdict `json:"verdict"`
	Count    int     `json:"count"`              // of things verified
	Skipped  int     `json:"skipped"`            // of things that could not be checked
	Where    string  `json:"where,omitempty"`    // file and field of the first failure
	Detail   string  `json:"detail,omitempty"`   // what is wrong there, or what there is to know
	DetailZh string  `json:"detailZh,omitempty"` // the same
	Failures int     `json:"failures,omitempty"` // how many there are
}

// Report is the answer of an audit.
type Report struct {
	Manifest *Manifest    `json:"manifest,omitempty"` // nil when it is not to be trusted
	Checks   []Check      `json:"checks"`
	State    string       `json:"state"` // SHA-256 of the market's state at the end, as ledger.StateHash gives it
	Head     publish.Head `json:"-"`     // verified
}

// OK reports whether nothing failed.
func (r *Report) OK() bool {
	return !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Verdict == Failed })
}

// Check gives the check of a name, nil when there is none.
func (r *Report) Check(name string) *Check {
	for i := range r.Checks {
		if r.Checks[i].Name == name {
			return &r.Checks[i]
		}
	}
	return nil
}

// The checks, in the order in which they are shown.
const (
	CheckManifest     = "manifest"
	CheckFiles        = "files"
	CheckEntries      = "entries"
	CheckChain        = "hash chain"
	CheckSignatures   = "signatures"
	CheckRules        = "rules replayed"
	CheckTree         = "published log"
	CheckConsistency  = "consistency"
	CheckWitnesses    = "witness cosignatures"
	CheckLosses       = "accepted losses"
	CheckOpenings     = "openings"
	CheckMoney        = "conservation of money"
	CheckCertificates = "certificates"
)

var checks = []struct{ name, zh string }{
	{CheckManifest, "证据清单"}, {CheckFiles, "文件"}, {CheckEntries, "条目格式"}, {CheckChain, "哈希链"}, {CheckSignatures, "签名"}, {CheckRules, "规则重放"},
	{CheckTree, "公开日志"}, {CheckConsistency, "与以往日志头一致"}, {CheckWitnesses, "见证人共签"}, {CheckLosses, "已接受的丢失"}, {CheckOpenings, "私密值开启"},
	{CheckMoney, "资金守恒"}, {CheckCertificates, "凭证"},
}

// say is one sentence in both languages, with the same verbs in the same order.
type say struct{ en, zh string }

// findings collect what an audit finds.
type findings map[string]*Check

func newFindings() findings {
	f := findings{}
	for _, c := range checks {
		f[c.name] = &Check{Name: c.name, NameZh: c.zh, Verdict: Verified}
	}
	return f
}

func (f findings) list() (out []Check) {
	for _, c := range checks {
		if x := f[c.name]; c.name != CheckLosses || x.Count > 0 || x.Failures > 0 { // shown when there is one
			out = append(out, *x)
		}
	}
	return out
}

// fail keeps the first failure of a check and counts the others.
func (f findings) fail(name, where string, why say, args ...any) {
	c := f[name]
	c.Failures++
	if c.Verdict != Failed {
		c.Verdict, c.Where, c.Detail, c.DetailZh = Failed, where, fmt.Sprintf(why.en, args...), fmt.Sprintf(why.zh, args...)
	}
}

// skip says that a thing could not be checked.
func (f findings) skip(name string, why say) {
	c := f[name]
	c.Skipped++
	if c.Verdict == Verified {
		c.Verdict, c.Detail, c.DetailZh = NotCheckable, why.en, why.zh
	}
}

func (f findings) count(name string, n int) { f[name].Count += n }

// note adds something worth knowing, if nothing more important is said.
func (f findings) note(name string, what say, args ...any) {
	if c := f[name]; c.Detail == "" {
		c.Detail, c.DetailZh = fmt.Sprintf(what.en, args...), fmt.Sprintf(what.zh, args...)
	}
}

var unopened = say{"an opening is not supplied, or is erased", "私密值未提供或已删除"}

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }
