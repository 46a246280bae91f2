package blockaudit

import (
	"fmt"
	"slices"

	"github.com/bund-exchange/bund/ledger/evidence"
)

// Report is the answer of an audit.
type Report struct {
	Channel      string           `json:"channel"`
	Blocks       uint64           `json:"blocks"`       // read
	Transactions int              `json:"transactions"` // valid or not
	Valid        int              `json:"valid"`        // as recomputed
	Genesis      string           `json:"genesis"`      // hash of block 0, hex
	Last         string           `json:"last"`         // hash of the last block read, hex
	Config       uint64           `json:"config"`       // number of the block with the config in force
	Definitions  []Definition     `json:"definitions"`  // in force at the end
	Entries      uint64           `json:"entries"`      // derived
	LastEntry    string           `json:"lastEntry"`    // hash of the last entry derived, hex; "" when there is none
	Checks       []evidence.Check `json:"checks"`
}

// OK reports whether nothing failed.
func (r *Report) OK() bool {
	return !slices.ContainsFunc(r.Checks, func(c evidence.Check) bool { return c.Verdict == evidence.Failed })
}

// Check gives the check of a name, nil when there is none.
func (r *Report) Check(name string) *evidence.Check {
	for i := range r.Checks {
		if r.Checks[i].Name == name {
			return &r.Checks[i]
		}
	}
	return nil
}

// The checks, in the order in which they are shown.
const (
	CheckFiles        = "files"
	CheckGenesis      = "genesis"
	CheckChain        = "header chain"
	CheckData         = "block data"
	CheckOrderers     = "orderer signatures"
	CheckConfig       = "channel config"
	CheckCreators     = "creators"
	CheckEndorsements = "endorsements"
	CheckFlags        = "validity flags"
	CheckCertificates = "certificates"
	CheckCommitHash   = "commit hashes"
	CheckEntries      = "entries"
	CheckEvidence     = "evidence package"
)

var checks = []struct{ name, zh string }{
	{CheckFiles, "文件"}, {CheckGenesis, "创世区块"}, {CheckChain, "区块链接"}, {CheckData, "区块数据"}, {CheckOrderers, "排序节点签名"}, {CheckConfig, "通道配置"},
	{CheckCreators, "发起人签名"}, {CheckEndorsements, "背书"}, {CheckFlags, "有效性标志"}, {CheckCertificates, "证书有效期"}, {CheckCommitHash, "提交哈希"},
	{CheckEntries, "条目推导"}, {CheckEvidence, "与证据一致"},
}

// say is one sentence in both languages, with the same verbs in the same order.
type say struct{ en, zh string }

// findings collect what an audit finds.
type findings map[string]*evidence.Check

func newFindings() findings {
	f := findings{}
	for _, c := range checks {
		f[c.name] = &evidence.Check{Name: c.name, NameZh: c.zh, Verdict: evidence.Verified}
	}
	return f
}

func (f findings) list(evidenceGiven bool) (out []evidence.Check) {
	for _, c := range checks {
		if c.name != CheckEvidence || evidenceGiven {
			out = append(out, *f[c.name])
		}
	}
	return out
}

// fail keeps the first failure of a check and counts the others.
func (f findings) fail(name, where string, why say, args ...any) {
	c := f[name]
	c.Failures++
	if c.Verdict != evidence.Failed {
		c.Verdict, c.Where, c.Detail, c.DetailZh = evidence.Failed, where, fmt.Sprintf(why.en, args...), fmt.Sprintf(why.zh, args...)
	}
}

// skip says that things could not be checked.
func (f findings) skip(name string, n int, why say) {
	c := f[name]
	c.Skipped += n
	if c.Verdict == evidence.Verified {
		c.Verdict, c.Detail, c.DetailZh = evidence.NotCheckable, why.en, why.zh
	}
}

func (f findings) count(name string, n int) { f[name].Count += n }

// note adds something worth knowing, if nothing more important is said.
func (f findings) note(name string, what say, args ...any) {
	if c := f[name]; c.Detail == "" {
		c.Detail, c.DetailZh = fmt.Sprintf(what.en, args...), fmt.Sprintf(what.zh, args...)
	}
}
