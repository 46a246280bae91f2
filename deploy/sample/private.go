package sample

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/dictionary"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/server/catalog"
)

// privateProducts are those that are used without being handed over.
func privateProducts(tax dictionary.Dictionary) []*product {
	operator, anyone := "浦江公共数据运营", []policy.Purpose{policy.PreLoan, policy.PostLoan, policy.Evaluation}
	derived := text("清洗、派生。构造数据。", "Cleaned and derived. Constructed data.")
	loan := []catalog.Text{text("小微贷款的贷前准入与贷后预警。", "Screening and monitoring of loans to small companies.")}
	taxFields := []string{"invoiced_12m", "red_ratio", "tax_score"}
	return []*product{
		{key: "debtors", dataset: "debtors", provider: operator, title: text("被执行名单（隐私查询与求交）", "Companies under enforcement: private lookup and intersection"),
			content:  text("按企业查询未结执行案件数；供方不知查的是谁。也可与需方名单求交。", "Open enforcement cases by company; the provider does not learn which was asked about. Or an intersection with the buyer's list."),
			keywords: []string{"司法", "被执行", "隐私查询", "求交"}, sector: "inclusive-finance", industry: "S92", subject: text("被执行企业", "companies under enforcement"), update: "daily",
			dictionary: dict(field("cases", "未结案件数", "open cases", dictionary.Integer, "", 0)), grade: "L2", source: contracts.SourceProduced, groups: []string{"court.enforcement"},
			modes: []policy.Operation{policy.PrivateLookup, policy.PSI}, cohort: 30, purposes: anyone, scenarios: []string{"sme-tax-loan-pre"}, unitPrice: 100_000, records: debtorRows, processing: derived, cases: loan},
		{key: "tax-consent", dataset: "tax", provider: operator, title: text("纳税经营指标（授权绑定查询）", "Tax and business indicators: consent-bound lookup"),
			content:  text("仅可查询账本上有本行授权的企业，供方仍不知是谁。", "Only companies whose consent to this bank is on the ledger; the provider still does not learn which."),
			keywords: []string{"纳税", "授权", "隐私查询"}, sector: "inclusive-finance", industry: "J66", subject: text("在本市纳税的企业", "companies that pay tax in the city"), update: "monthly",
			dictionary: tax, fields: taxFields, grade: "L3", source: contracts.SourceProduced, groups: []string{"tax.vat_returns"}, modes: []policy.Operation{policy.ConsentLookup},
			purposes: anyone, scenarios: []string{"sme-tax-loan-pre"}, consent: true, unitPrice: 900_000, records: 400, processing: derived, cases: loan},
		{key: "tax-compute", dataset: "tax", provider: operator, title: text("纳税经营统计（节点内计算）", "Tax statistics, computed in the node"),
			content:  text("在供方节点内计算汇总，加噪后返回；样本过小不返回，隐私预算由全部使用方共用。", "Aggregates computed inside the provider's node and returned with noise; small cohorts are left out; all consumers share the privacy budget."),
			keywords: []string{"纳税", "统计", "差分隐私"}, sector: "inclusive-finance", industry: "J66", subject: text("在本市纳税的企业", "companies that pay tax in the city"), update: "monthly",
			dictionary: tax, fields: taxFields, grade: "L3", source: contracts.SourceProduced, groups: []string{"tax.vat_returns"}, modes: []policy.Operation{policy.Compute}, cohort: 20,
			purposes: []policy.Purpose{policy.PreLoan, policy.Research, policy.Evaluation}, scenarios: []string{"sme-tax-loan-pre"}, unitPrice: 1_000_000, records: 400, processing: derived, cases: loan},
		{key: "tax-score", dataset: "tax", provider: operator, title: text("纳税特征联合评分", "Joint scoring on tax features"),
			content:  text("需方以已登记并经评估的加密评分卡，对供方特征评分；供方不知权重与得分，需方不知特征。", "The buyer's registered, attested, encrypted scorecard scores the provider's features: neither weights nor features are seen by the other side."),
			keywords: []string{"纳税", "联合评分", "同态加密"}, sector: "inclusive-finance", industry: "J66", subject: text("在本市纳税的企业", "companies that pay tax in the city"), update: "monthly",
			dictionary: tax, fields: taxFields, grade: "L3", source: contracts.SourceProduced, groups: []string{"tax.vat_returns"}, modes: []policy.Operation{policy.JointScore},
			purposes: anyone, scenarios: []string{"sme-tax-loan-pre"}, consent: true, unitPrice: 900_000, records: 400, processing: derived, cases: loan},
		{key: "exposure", provider: "沪信企业征信", title: text("多头授信区间（联合统计）", "Multi-lender exposure, a joint statistic"),
			content:  text("多家银行各自拆分报送在贷机构数，由两个独立聚合方求和，加噪后得到分布；任何一方都看不到单家数据。", "Banks split their figures between two independent aggregators; only a noisy distribution comes out, nobody sees one bank's data."),
			keywords: []string{"多头", "授信", "联合统计"}, sector: "inclusive-finance", industry: "J66", subject: text("借款企业", "borrowing companies"), update: "monthly",
			dictionary: dict(field("lenders", "在贷机构数分布", "distribution of the number of lenders", dictionary.Integer, "", 0)), grade: "L3", source: contracts.SourceProduced, groups: []string{"credit.exposure"},
			modes: []policy.Operation{policy.JointStatistics}, cohort: 20, purposes: []policy.Purpose{policy.PreLoan, policy.PostLoan, policy.Research}, scenarios: []string{"sme-tax-loan-pre"},
			unitPrice: 5_000_000, records: 1, processing: derived, cases: loan},
		{key: "directory", dataset: "directory", provider: operator, title: text("机构名录（密封文件）", "Directory of institutions, a sealed file"),
			content:  text("本市注册机构名录，以需方公钥密封交付，可断点续传。", "A directory of institutions, sealed to the buyer's key; an interrupted delivery goes on where it stopped."),
			keywords: []string{"名录", "机构", "文件"}, sector: "public-services", industry: "S91", subject: text("本市机构", "institutions of the city"), update: "monthly",
			dictionary: dict(field("staff", "从业人数", "staff", dictionary.Integer, "person", 0)), grade: "L1", source: contracts.SourceProduced, groups: []string{"registration.directory"},
			modes: []policy.Operation{policy.File}, purposes: []policy.Purpose{policy.PreLoan, policy.Research, policy.Operations}, scenarios: []string{"sme-tax-loan-pre"}, unitPrice: 2_000_000, records: directoryRows,
			processing: derived, cases: loan},
	}
}

// steward is the neutral member that runs the consent service.
const steward = "授权服务运营方"

// collector sells the joint statistic; aggregators sum it up, each without learning a value.
const collector = "沪信企业征信"

var aggregators = [2]string{"港汇聚合服务", "静安交付服务"}

// agreePrivate makes an agreement between the bank and the operator on each private product, billed afterwards.
func (l *loader) agreePrivate() error {
	m, home := l.cast, l.cast.Provider
	var stories []func() error
	for _, p := range privateProducts(dictionary.Dictionary{}) {
		stories = append(stories, func() error {
			l.Exec.Title("agree on %s", p.key)
			x := l.shown.Private[p.key]
			m.Provider = l.by[p.provider]
			terms := contractstest.Postpaid()
			terms.UnitPrice, terms.FlatFee, terms.WindowAmount = p.unitPrice, 0, 200_000
			pol := x.Facts.Policy
			pol.Purposes = []policy.Purpose{policy.PreLoan}
			d, err := m.Agree(&contractstest.Listing{Product: x.Product, Version: x.Version, Facts: x.Facts}, contracts.Trade, pol, terms)
			if err != nil {
				return err
			}
			x.Agreement = d.Agreement
			l.shown.Private[p.key] = x
			return nil
		})
	}
	err := m.Together(stories...)
	m.Provider = home
	if err != nil {
		return err
	}
	return l.providerConfig()
}

// providerConfig tells the operator's node which of its datasets answers for which product.
func (l *loader) providerConfig() error {
	var b strings.Builder
	fmt.Fprintf(&b, "datasets:\n  - product: %s\n    dataset: tax\n", l.shown.Product)
	for _, p := range privateProducts(dictionary.Dictionary{}) {
		if p.dataset != "" {
			fmt.Fprintf(&b, "  - product: %s\n    dataset: %s\n", l.shown.Private[p.key].Product, p.dataset)
			if p.key == "tax-compute" {
				b.WriteString("    compute: {epoch: 1, epsilon: \"20\", delta: \"0.0001\"}\n")
			}
		}
	}
	return l.NodeConfig("provider", l.cast.Provider, l.Serves, l.ProviderLocal, b.String())
}

// computeSpec asks how many companies have a tax score of 75 or more, and what they invoice on average.
const computeSpec = `{"epsilon": "4", "filters": [{"field": "tax_score", "operator": "ge", "values": ["75"]}], "groupBy": [],
 "aggregates": [{"function": "count"}, {"field": "invoiced_12m", "function": "mean", "lower": "0", "upper": "500000"}]}
`

// psiList is the bank's own list: the first hundred companies of the tax dataset.
func psiList() string {
	_, codes := taxRows()
	var b strings.Builder
	for _, c := range codes[:100] {
		b.WriteString(string(c) + "\n")
	}
	return b.String()
}

// scorecard is the bank's, over the operator's fields.
const scorecard = `unit: 0.001
base: 0.420
features:
  - {field: invoiced_12m, bins: [50000, 120000, 300000], weights: [0.812, 0.240, -0.155, -0.481], missing: 0.9}
  - {field: red_ratio, bins: [0.02, 0.04], weights: [-0.210, 0.065, 0.733], missing: 0.5}
  - {field: tax_score, bins: [60, 75, 90], weights: [0.655, 0.118, -0.262, -0.540], missing: 0.7}
`

// model makes the bank's node encrypt a scorecard, registers it and has it attested.
func (l *loader) model() error {
	var x struct {
		Digest   contracts.Hash `json:"digest"`
		Features contracts.Hash `json:"features"`
		Arity    int64          `json:"arity"`
	}
	if err := Local(l.ctx, l.Stack, "buyer", l.BuyerLocal, http.MethodPost, "/v1/models", map[string]string{"card": scorecard}, &x); err != nil {
		return err
	}
	m := l.cast
	m.Now = contracts.Millis(time.Now().UnixMilli())
	if err := m.Do(m.Buyer.ID, "model.register", contracts.ModelRegister{Agreement: l.shown.Private["tax-score"].Agreement, Digest: x.Digest, Features: x.Features, Arity: x.Arity,
		Assessor: m.Assessor.ID}, nil, m.Buyer.Two()...); err != nil {
		return err
	}
	l.shown.Model = m.Last("model")
	if err := m.Do(m.Assessor.ID, "model.attest", contracts.ModelAttest{Model: l.shown.Model, Digest: x.Digest, Document: contracts.HashOf("sample/model opinion"), Expires: m.Now.Add(300 * 86400)},
		nil, m.Assessor.Two()...); err != nil {
		return err
	}
	_, codes := taxRows()
	ids, keys, err := Consents(l.ctx, l.Stack, l.shown.Private["tax-score"].Product, m.Provider.Node, codes[:20], contractstest.Fields, 100)
	if err != nil {
		return err
	}
	var b strings.Builder
	for i, id := range ids {
		fmt.Fprintf(&b, "%s,%s,%s\n", codes[i], id, keys[i])
	}
	return errors.Join(l.Keep("score-subjects.csv", b.String()), l.Keep("psi-list.csv", psiList()), l.Keep("query.json", computeSpec))
}

// Lenders are how many lenders the borrowers of the i-th of the three banks have: what that bank brings to the joint
// statistic.
func Lenders(i int) (values []int64) {
	for n := range 40 + 10*i {
		values = append(values, int64((n*(i+3)+n/4)%7))
	}
	return values
}

// LenderBuckets are the joint statistic's: none, one, two or three, four and more.
var LenderBuckets = []int64{1, 2, 4}

// statistic opens a task, lets everybody join, and brings the three banks' values.
func (l *loader) statistic() error {
	m := l.cast
	m.Now = contracts.Millis(time.Now().UnixMilli())
	owner := l.by[collector]
	banks := []*contractstest.Actor{m.Buyer, l.by["沪东农商行"], l.by["长三角科创银行"]}
	sums := []*contractstest.Actor{l.by[aggregators[0]], l.by[aggregators[1]]}
	if err := m.Do(owner.ID, "statistics.propose", contracts.StatisticsPropose{Version: l.shown.Private["exposure"].Version, Aggregators: []contracts.ID{sums[0].Node, sums[1].Node},
		Contributors: []contracts.ID{banks[0].ID, banks[1].ID, banks[2].ID}, Measure: contracts.Measure{Kind: "histogram", Buckets: LenderBuckets}, MinBatch: 100, EpsilonMicro: 1_000_000,
		From: m.Now, To: m.Now.Add(90 * 86400)}, nil, owner.Two()...); err != nil {
		return err
	}
	l.shown.Task = m.Last("statistics")
	for _, a := range append(banks, sums...) {
		if err := m.Do(a.ID, "statistics.join", contracts.StatisticsTurn{Task: l.shown.Task}, nil, a.Two()...); err != nil {
			return err
		}
	}
	for i, node := range []string{"buyer", "bank2", "bank3"} {
		q := map[string]any{"id": fmt.Sprintf("%032x", i+1), "values": Lenders(i)}
		if err := l.again(func() error {
			return Local(l.ctx, l.Stack, node, l.LocalOf(node), http.MethodPost, "/v1/statistics/"+string(l.shown.Task)+"/contributions", q, nil)
		}); err != nil {
			return err
		}
	}
	return nil
}

const (
	debtorRows    = 600
	directoryRows = 3000
)

// debtorsCSV has every fifth company of the tax dataset, and others.
func debtorsCSV() string {
	var b strings.Builder
	b.WriteString("usc,cases\n")
	for i := range debtorRows {
		n := 700_000 + i*5 // the tax dataset has 700,000 to 700,199
		fmt.Fprintf(&b, "%s,%d\n", contracts.SyntheticCreditCode(uint32(n)), 1+i%7)
	}
	return b.String()
}

func directoryCSV() string {
	var b strings.Builder
	b.WriteString("usc,staff\n")
	for i := range directoryRows {
		fmt.Fprintf(&b, "%s,%d\n", contracts.SyntheticCreditCode(uint32(800_000+i)), 3+i*7%500)
	}
	return b.String()
}

const debtorsSchema = `key: usc
fields:
  - {name: usc, title: 统一社会信用代码, titleEn: unified social credit code, type: text, format: credit_code}
  - {name: cases, title: 未结案件数, titleEn: open cases, type: integer, nullable: true, empty: 无此项记录, emptyEn: no record}
`

const directorySchema = `key: usc
fields:
  - {name: usc, title: 统一社会信用代码, titleEn: unified social credit code, type: text, format: credit_code}
  - {name: staff, title: 从业人数, titleEn: staff, type: integer, unit: person, nullable: true, empty: 无此项记录, emptyEn: no record}
`
