package headline

import (
	"fmt"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

var variantNames = map[string][2]string{
	"bank":  {"仅银行数据", "bank's data alone"},
	"both":  {"银行 + 供方数据", "bank's and provider's"},
	"wrong": {"错配（供方数据接到别的企业）", "wrong join (rows of other companies)"},
}

// caveats say what the table is and what not. They belong to it: no caller may print it without them.
var caveats = []string{
	"这是什么：波兰企业破产数据（UCI，CC BY 4.0，Zięba、Tomczak、Tomczak 2016，doi 10.24432/C5F600）的横截面，企业代码为构造；样本外（%d 折）评分，“坏”指报表后一年内破产。",
	"这不是：不良贷款率，不是规划所说的 7% → 1%；没有跨期检验，没有被拒绝的申请人；破产企业与其余企业的记录方式不同，差异可能有一部分来自于此。",
	"What it is: a cross-section of Polish bankruptcies (UCI, CC BY 4.0, Zięba, Tomczak & Tomczak 2016, doi 10.24432/C5F600) under synthetic codes, scored out of sample (%d folds); bad means bankrupt within a year of the statement.",
	"What it is not: an NPL ratio, nor the plan's 7 % → 1 %; no out-of-time test, no refused applicants; bankrupt companies were recorded otherwise than the rest, and part of any difference may come from that.",
}

// Text is the table in Chinese and English, the same bytes for the same data.
func (t *Table) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "企业 companies %d · 破产 bankrupt %d (%s) · 取数 calls %d · 种子 seed %d · 折 folds %d\n", t.N, t.Bad, percent(t.Bad, t.N), t.Calls, Seed, Folds)
	fmt.Fprintf(&b, "模型 model: 逻辑回归整数评分卡，单调分箱 logistic regression as an integer scorecard: one weight for each bin, bins monotone, fixed point 1/%d\n", Unit)
	b.WriteString("通过客户的坏账率（95 % Wilson 区间） bad rate among approved (95 % Wilson interval)\n\n")
	for i := range t.Variants {
		v := &t.Variants[i]
		name := variantNames[v.Name]
		fmt.Fprintf(&b, "%s · %s · %d 项 inputs\n", name[0], name[1], v.Inputs)
		v.rows(&b, fmt.Sprintf("  popStability %.4f", v.Stability))
	}
	if t.Joint != nil {
		t.Joint.text(&b)
	}
	b.WriteString("\n与仅银行数据相比，同一批企业（95 % 区间） against the bank's data alone, same companies (95 %)\n")
	for _, g := range t.Gains {
		name := variantNames[g.Name]
		fmt.Fprintf(&b, "%s · %s\n  AUC 增加 higher by %+.4f [%+.4f, %+.4f]  %s\n", name[0], name[1], g.AUC, g.Interval.Low, g.Interval.High, verdict(g.Interval))
		for _, a := range g.Approved {
			fmt.Fprintf(&b, "  通过 approve %d%%: 坏账率降低 bad rate lower by %s [%s, %s]  %s\n", a.Percent, share(a.Rate), share(a.Interval.Low), share(a.Interval.High), verdict(a.Interval))
		}
	}
	b.WriteString("\n")
	for _, c := range caveats {
		if strings.Contains(c, "%d") {
			c = fmt.Sprintf(c, Folds)
		}
		b.WriteString(c + "\n")
	}
	return b.String()
}

func (v *Variant) rows(b *strings.Builder, more string) {
	for _, a := range v.Approved {
		fmt.Fprintf(b, "  通过 approve %d%%: %s [%s, %s]  %d/%d\n", a.Percent, percent(a.Bad, a.N), share(a.Interval.Low), share(a.Interval.High), a.Bad, a.N)
	}
	fmt.Fprintf(b, "  AUC %.4f  Gini %.4f  KS %.4f%s\n", v.Ranking.AUC, v.Ranking.Gini, v.Ranking.KS, more)
}

// Digest is the digest of the table's text.
func (t *Table) Digest() contracts.Hash {
	return contracts.HashOf("bund/headline/v1", []byte(t.Text()))
}

func verdict(i Interval) string {
	switch {
	case i.Low > 0:
		return "区间高于零 interval above zero"
	case i.High < 0:
		return "区间低于零 interval below zero"
	}
	return "区间含零 interval has zero"
}

func percent(k, n int) string { return share(float64(k) / float64(n)) }

func share(p float64) string { return fmt.Sprintf("%.2f %%", 100*p) }
