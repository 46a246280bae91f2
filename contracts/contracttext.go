package contracts

import (
	"fmt"
	"strings"

	"github.com/bund-exchange/bund/contracts/policy"
)

// ContractInput is all that the contract's text depends on.
type ContractInput struct {
	Rules    *Rulebook
	Provider *Member
	Buyer    *Member
	Version  *Version
	Scenario string
	Kind     AgreementKind
	Offer    *Offer
	Terms    *Terms
}

// TextDigest is the digest of a rendered contract that the parties sign. The terms' salt keeps outsiders from testing
// guesses of the terms against it.
func TextDigest(salt [32]byte, text []byte) Hash {
	return HashOf("bund/contract-text/v1", salt[:], text)
}

// RenderContract renders the Chinese contract from its terms: a pure function, so that the parties, every executor and
// an auditor get the same bytes. Its order follows the national model text 数据提供合同 (2025): subject, rights,
// delivery, fees, acceptance, security and confidentiality, liability and disputes. A change of wording is a branch on
// the rulebook's version.
func RenderContract(in ContractInput) []byte {
	f, o, terms := in.Version.Facts, in.Offer, in.Terms
	scenario := in.Scenario
	for _, s := range in.Rules.Scenarios {
		if s.Code == in.Scenario {
			scenario = s.Zh + "（" + s.Code + "）"
		}
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	title := "数据提供合同"
	if in.Kind == Test {
		title = "数据产品测试合同"
	}
	p("%s", title)
	p("")
	p("甲方（数据供方）：%s，统一社会信用代码 %s", in.Provider.Name, in.Provider.CreditCode)
	p("乙方（数据需方）：%s，统一社会信用代码 %s", in.Buyer.Name, in.Buyer.CreditCode)
	p("规则版本：第 %d 版", in.Rules.Version)
	p("")
	p("第一条 标的")
	p("1.1 数据产品：%s，第 %d 版，登记凭证号 %s，说明书摘要 %s。", f.Title, in.Version.Number, in.Version.Certificate, f.Manual)
	p("1.2 数据级别 %s；来源：%s；数据组：%s。", f.Grade, sourceZh[f.Source], strings.Join(f.DataGroups, "、"))
	p("1.3 使用场景：%s。无场景不交易，乙方不得用于其他场景。", scenario)
	p("")
	p("第二条 权利安排")
	for i, line := range policyZh(&o.Policy) {
		p("2.%d %s", i+1, line)
	}
	p("")
	p("第三条 交付")
	p("3.1 乙方节点向甲方节点逐笔调用，数据不离开甲方节点，仅返回约定字段。期限自 %s 至 %s。", dayZh(o.From), dayZh(o.To))
	p("3.2 调用总量不超过 %d 次。账本状态超过 %d 秒未经见证的，不得开始新的使用。", o.QuotaCalls, o.MaxStaleSec)
	p("3.3 服务水平：月可用率 %s%%，99%% 的调用不超过 %d 毫秒，数据时效 %d 小时，变更提前 %d 日通知。",
		hundredths(f.ServiceLevel.AvailabilityBasisPoints), f.ServiceLevel.P99Ms, f.ServiceLevel.FreshnessHours, f.ServiceLevel.ChangeNoticeDays)
	p("")
	p("第四条 费用")
	p("4.1 计费单价：每次 %s 元（含税），%s计费。", micros(terms.UnitPrice), billZh[terms.BillOn])
	p("4.2 固定费用：每结算月 %s 元（含税）。", yuan(terms.FlatFee))
	if terms.Billing == Prepaid {
		p("4.3 预付：乙方先向存管银行存入 %s 元，到账后授权生效。", yuan(terms.Escrow))
	} else {
		p("4.3 后付：授权即时生效，应付未付金额不超过 %s 元。", yuan(terms.CreditLine))
	}
	p("4.4 余额不足时按 %s%% 逐级提示；最后一次提示后宽限 %d 日或 %s 元，届满暂停服务。", percents(in.Rules.WarnPercents), terms.GraceDays, yuan(terms.GraceAmount))
	p("4.5 双方节点逐笔计量，未经确认的用量不超过 %s 元且不超过 %d 次；以双方签署的用量报告为结算依据，每期每项四舍五入至分一次。", yuan(terms.WindowAmount), terms.WindowCalls)
	p("4.6 交易服务费：乙方另付价款的 %s%%，甲方由价款中支付 %s%%。", hundredths(in.Rules.BuyerFeeBasisPoints), hundredths(in.Rules.ProviderFeeBasisPoint))
	p("")
	p("第五条 验收")
	p("5.1 乙方应在结算期关闭后 %d 日内验收；逾期未提出异议的，视为验收通过。仅因使用才能发现的问题，使用不等于验收。", terms.AcceptanceDays)
	p("")
	p("第六条 安全与保密")
	p("6.1 涉及企业信息的，逐笔取得企业授权；授权撤回即时生效，不溯及既往。")
	p("6.2 双方对本合同价格、用量及数据内容保密；账本仅记录其承诺值。")
	p("")
	p("第七条 终止与争议")
	p("7.1 任何一方可提前 %d 日通知终止；双方一致的，即时终止。终止前的使用照常结算。", terms.NoticeDays)
	p("7.2 发生争议的，先由交易场所调解；调解不成的，提交有管辖权的人民法院。争议期间相关款项不予划付。")
	if in.Kind == Test {
		p("7.3 本合同仅供测试评估，乙方不得据测试结果作出授信决定。")
	}
	return []byte(b.String())
}

var (
	sourceZh = map[SourceType]string{SourceProduced: "自行生产", SourcePublic: "公开数据获取", SourceAuthorized: "公共数据授权运营", SourcePurchased: "数据产品交易取得"}
	billZh   = map[string]string{"found": "查得", "query": "查询"}
)

func dayZh(m Millis) string { return m.Time().In(Shanghai).Format("2006年01月02日 15:04") }
func yuan(f Fen) string     { return fmt.Sprintf("%d.%02d", f/100, f%100) }

func micros(m MicroYuan) string {
	s := fmt.Sprintf("%d.%06d", m/1_000_000, m%1_000_000)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func hundredths(bp int64) string {
	s := fmt.Sprintf("%d.%02d", bp/100, bp%100)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func percents(ps []int64) string {
	var s []string
	for _, p := range ps {
		s = append(s, fmt.Sprint(p))
	}
	return strings.Join(s, "/")
}

// policyZh says a policy's terms in words.
func policyZh(p *policy.Policy) []string {
	lines := []string{
		"使用目的限于：" + words(p.Purposes, purposeZh) + "。",
		"使用方式限于：" + words(p.Operations, operationZh) + "。",
		"可用字段：" + strings.Join(p.Fields, "、") + "。",
		"处理地限于：" + words(p.Regions, nil) + "。",
	}
	if p.MaxCalls > 0 {
		lines = append(lines, fmt.Sprintf("调用不超过 %d 次。", p.MaxCalls))
	}
	if p.MinimumCohort > 0 {
		lines = append(lines, fmt.Sprintf("统计结果的样本数不少于 %d。", p.MinimumCohort))
	}
	if p.ConsentRequired {
		lines = append(lines, "每次使用须具备数据主体的有效授权。")
	}
	lines = append(lines, fmt.Sprintf("结果留存不超过 %d 日。", p.RetentionDays))
	for _, x := range p.Prohibitions {
		lines = append(lines, prohibitionZh[x]+"。")
	}
	for _, x := range p.Duties {
		lines = append(lines, dutyZh[x]+"。")
	}
	return lines
}

func words[T ~string](xs []T, zh map[T]string) string {
	s := make([]string, len(xs))
	for i, x := range xs {
		s[i] = string(x)
		if zh[x] != "" {
			s[i] = zh[x]
		}
	}
	return strings.Join(s, "、")
}

var (
	purposeZh = map[policy.Purpose]string{policy.PreLoan: "贷前准入", policy.QuotaReview: "额度年审", policy.PostLoan: "贷后预警",
		policy.FirstLoanList: "首贷户白名单", policy.SupplyChain: "供应链订单融资", policy.IPPledge: "科创知产贷", policy.GreenCredit: "绿色信贷",
		policy.Guarantee: "融资担保", policy.Insurance: "保险承保与理赔", policy.Evaluation: "测试评估", policy.BackTest: "模型回测",
		policy.Operations: "经营分析", policy.Research: "研究统计", policy.PublicServices: "公共服务", policy.Supervision: "监管报送"}
	operationZh = map[policy.Operation]string{policy.Query: "查询", policy.Verify: "核验", policy.File: "文件交付", policy.PrivateLookup: "隐匿查询",
		policy.ConsentLookup: "授权隐匿查询", policy.PSI: "隐私求交", policy.JointScore: "联合评分", policy.JointStatistics: "联合统计", policy.Compute: "受控计算"}
	prohibitionZh = map[policy.Prohibition]string{policy.Distribute: "不得再分发", policy.TransferAbroad: "不得出境",
		policy.Reidentify: "不得还原身份", policy.CreditDecision: "不得用于授信决策"}
	dutyZh = map[policy.Duty]string{policy.Delete: "留存期满即删除", policy.Attribute: "注明数据来源"}
)
