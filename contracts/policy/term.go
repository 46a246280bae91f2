package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Term names a part of a policy, as its stored form does.
type Term string

// The terms of the profile.
const (
	TermPurposes        Term = "purposes"
	TermOperations      Term = "operations"
	TermFields          Term = "fields"
	TermRegions         Term = "regions"
	TermNotBefore       Term = "notBefore"
	TermNotAfter        Term = "notAfter"
	TermMaxCalls        Term = "maxCalls"
	TermMinimumCohort   Term = "minimumCohort"
	TermRetentionDays   Term = "retentionDays"
	TermConsentRequired Term = "consentRequired"
	TermProhibitions    Term = "prohibitions"
	TermDuties          Term = "duties"
)

// Purpose is what data is used for. The list is closed: a use that is not on it is not permitted.
type Purpose string

const (
	PreLoan        Purpose = "pre_loan"        // 贷前准入: deciding on an application
	QuotaReview    Purpose = "quota_review"    // 额度年审
	PostLoan       Purpose = "post_loan"       // 贷后预警
	FirstLoanList  Purpose = "first_loan_list" // 首贷户白名单
	SupplyChain    Purpose = "supply_chain"    // 供应链订单融资
	IPPledge       Purpose = "ip_pledge"       // 科创知产贷
	GreenCredit    Purpose = "green_credit"    // 绿色信贷
	Guarantee      Purpose = "guarantee"       // 融资担保
	Insurance      Purpose = "insurance"       // 保险承保与理赔
	Evaluation     Purpose = "evaluation"      // 测试评估: of the product itself, decides no credit
	BackTest       Purpose = "back_test"       // 模型回测: on past dates, decides no credit
	Operations     Purpose = "operations"      // 经营分析: running one's own business
	Research       Purpose = "research"        // 研究统计
	PublicServices Purpose = "public_services" // 公共服务
	Supervision    Purpose = "supervision"     // 监管报送
)

var purposes = []Purpose{PreLoan, QuotaReview, PostLoan, FirstLoanList, SupplyChain, IPPledge, GreenCredit, Guarantee, Insurance,
	Evaluation, BackTest, Operations, Research, PublicServices, Supervision}

// Check reports a purpose that is not in the closed list.
func (x Purpose) Check() error { return oneOf(TermPurposes, x, purposes) }

// Operation is how data is reached; the words are those of the delivery modes.
type Operation string

const (
	Query           Operation = "query"
	Verify          Operation = "verify"
	File            Operation = "file"
	PrivateLookup   Operation = "private_lookup"
	ConsentLookup   Operation = "consent_lookup"
	PSI             Operation = "psi"
	JointScore      Operation = "joint_score"
	JointStatistics Operation = "joint_statistics"
	Compute         Operation = "compute"
)

var operations = []Operation{Query, Verify, File, PrivateLookup, ConsentLookup, PSI, JointScore, JointStatistics, Compute}

// Check reports an operation that is not in the closed list.
func (x Operation) Check() error { return oneOf(TermOperations, x, operations) }

// NamesSubject reports an operation in which the buyer's node tells the provider's whom it asks about.
func (x Operation) NamesSubject() bool { return x == Query || x == Verify || x == JointScore }

// aggregates reports an operation whose answer is about many subjects at once.
func (x Operation) aggregates() bool { return x == JointStatistics || x == Compute }

// Prohibition is forbidden to the buyer even within what is permitted.
type Prohibition string

const (
	Distribute     Prohibition = "distribute"      // 不得再分发
	TransferAbroad Prohibition = "transfer_abroad" // 不得出境
	Reidentify     Prohibition = "reidentify"      // 不得还原身份
	CreditDecision Prohibition = "credit_decision" // 不得用于授信决策
)

var prohibitions = []Prohibition{Distribute, TransferAbroad, Reidentify, CreditDecision}

// Check reports a prohibition that is not in the closed list.
func (x Prohibition) Check() error { return oneOf(TermProhibitions, x, prohibitions) }

// Duty is what the buyer must do.
type Duty string

const (
	Delete    Duty = "delete"    // 到期删除: every answer, when its retention ends
	Attribute Duty = "attribute" // 注明来源
)

var duties = []Duty{Delete, Attribute}

// Check reports a duty that is not in the closed list.
func (x Duty) Check() error { return oneOf(TermDuties, x, duties) }

func oneOf[T ~string](term Term, x T, set []T) error {
	if slices.Contains(set, x) {
		return nil
	}
	words := make([]string, len(set))
	for i, s := range set {
		words[i] = string(s)
	}
	return fmt.Errorf("%s: unknown term, want one of %s", term, strings.Join(words, ", "))
}

// Region is a place of processing: a country by ISO 3166-1 ("CN", "SG"), and in China also a province ("CN-31") or a
// district ("CN-310115") by GB/T 2260. "CN" is the mainland: for the rules on data export, 71, 81 and 82 are abroad and
// must be named.
type Region string

// provinces are the first two digits of GB/T 2260.
var provinces = []string{"11", "12", "13", "14", "15", "21", "22", "23", "31", "32", "33", "34", "35", "36", "37", "41", "42", "43",
	"44", "45", "46", "50", "51", "52", "53", "54", "61", "62", "63", "64", "65", "71", "81", "82"}

// Check reports what names no place.
func (r Region) Check() error {
	country, division, divided := strings.Cut(string(r), "-")
	if len(country) != 2 || country[0] < 'A' || country[0] > 'Z' || country[1] < 'A' || country[1] > 'Z' {
		return fmt.Errorf("%s: want a country as two capital letters", TermRegions)
	}
	if !divided {
		return nil
	}
	if country != "CN" || len(division) != 2 && len(division) != 6 || !slices.Contains(provinces, division[:2]) {
		return fmt.Errorf("%s: want a province (CN-31) or a district (CN-310115) of GB/T 2260", TermRegions)
	}
	for _, c := range division {
		if c < '0' || c > '9' {
			return fmt.Errorf("%s: want a province (CN-31) or a district (CN-310115) of GB/T 2260", TermRegions)
		}
	}
	return nil
}

// Abroad reports a valid region to which data is exported in the sense of the Chinese rules.
func (r Region) Abroad() bool {
	country, division, _ := strings.Cut(string(r), "-")
	return country != "CN" || strings.HasPrefix(division, "71") || strings.HasPrefix(division, "81") || strings.HasPrefix(division, "82")
}

// holds reports whether the place x lies in r.
func (r Region) holds(x Region) bool {
	if x.Check() != nil {
		return false
	}
	if r == "CN" {
		return !x.Abroad()
	}
	return x == r || len(r) == len("CN-31") && strings.HasPrefix(string(x), string(r))
}
