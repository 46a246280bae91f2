package sample

import (
	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/dictionary"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/server/catalog"
)

// product is one of the sample's products: its manual, and what the manual leaves to the ledger.
type product struct {
	key        string // within the sample
	provider   string // name in the cast
	title      catalog.Text
	content    catalog.Text
	keywords   []string
	sector     string
	industry   string
	subject    catalog.Text
	update     string
	dictionary dictionary.Dictionary
	fields     []string // that a policy may permit; all but the key when empty
	grade      contracts.Grade
	source     contracts.SourceType
	groups     []string
	credit     bool
	modes      []policy.Operation
	cohort     int64  // least subjects behind a figure or in a bucket
	dataset    string // of the provider's running node, "" when there is none
	purposes   []policy.Purpose
	scenarios  []string
	consent    bool
	unitPrice  contracts.MicroYuan
	flatFee    contracts.Fen
	records    int64
	processing catalog.Text
	cases      []catalog.Text
}

func text(zh, en string) catalog.Text { return catalog.Text{Zh: zh, En: en} }

func field(name, zh, en string, t dictionary.Type, unit string, scale int64) dictionary.Field {
	f := dictionary.Field{Name: name, Title: zh, TitleEn: en, Type: t, Unit: unit, Scale: scale, Nullable: true, Empty: "无此项记录", EmptyEn: "no record"}
	return f
}

var creditCodeField = dictionary.Field{Name: "usc", Title: "统一社会信用代码", TitleEn: "unified social credit code", Type: dictionary.Text, Format: dictionary.CreditCodeFormat}

func dict(fields ...dictionary.Field) dictionary.Dictionary {
	return dictionary.Dictionary{Key: "usc", Fields: append([]dictionary.Field{creditCodeField}, fields...)}
}

// products are the shelf of the sample market. Derived indicators or yes/no checks, never tax records.
func products() []*product {
	tax := dict(
		dictionary.Field{Name: "asof", Title: "截止日", TitleEn: "as of", Type: dictionary.Date},
		field("invoiced_12m", "近十二个月开票额", "invoiced amount in twelve months", dictionary.Decimal, "yuan", 2),
		field("red_ratio", "红冲比例", "share of reversed invoices", dictionary.Decimal, "", 4),
		field("tax_score", "纳税评分", "tax score", dictionary.Integer, "", 0),
	)
	tax.AsOf = "asof"
	return append(privateProducts(tax), []*product{
		{key: "tax", dataset: "tax", provider: "浦江公共数据运营", title: text("纳税经营指标（12 月）", "Tax and business indicators, 12 months"),
			content:  text("以企业近十二个月开票与申报为基础加工的经营指标：开票额、红冲比例、纳税评分。仅提供派生指标，不提供发票与申报明细。", "Indicators derived from twelve months of invoices and returns: amount invoiced, share of reversals, a score. Derived figures only, never invoices or returns."),
			keywords: []string{"纳税", "增值税", "小微", "贷前"}, sector: "inclusive-finance", industry: "J66", subject: text("在本市纳税的企业", "companies that pay tax in the city"), update: "monthly",
			dictionary: tax, fields: []string{"invoiced_12m", "red_ratio", "tax_score"}, grade: "L3", source: contracts.SourceAuthorized, groups: []string{"tax.vat_returns"}, credit: true, modes: []policy.Operation{policy.Query},
			purposes: []policy.Purpose{policy.PreLoan, policy.QuotaReview, policy.Evaluation}, scenarios: []string{"quota-review", "sme-tax-loan-pre"}, consent: true,
			unitPrice: 800_000, flatFee: 300_000, records: 400, processing: text("清洗、聚合、派生，剔除可还原明细的字段。", "Cleaned, aggregated and derived; fields from which details could be restored are left out."),
			cases: []catalog.Text{text("小微纳税信用贷的贷前准入与额度年审。", "Pre-loan screening and annual review of small tax-credit loans.")}},
		{key: "elements", provider: "沪信企业征信", title: text("企业四要素核验", "Company four-element check"),
			content:  text("核验企业名称、统一社会信用代码、法定代表人、证件号是否一致，逐要素返回一致或不一致。", "Says for each of name, credit code, legal representative and id number whether it agrees."),
			keywords: []string{"核验", "四要素", "工商"}, sector: "inclusive-finance", industry: "I65", subject: text("全国登记企业", "registered companies"), update: "daily",
			dictionary: dict(field("name_match", "名称一致", "name agrees", dictionary.Boolean, "", 0), field("rep_match", "法定代表人一致", "representative agrees", dictionary.Boolean, "", 0)),
			grade:      "L2", source: contracts.SourceProduced, groups: []string{"registration.basic"}, modes: []policy.Operation{policy.Verify}, purposes: []policy.Purpose{policy.PreLoan, policy.Evaluation},
			scenarios: []string{"sme-tax-loan-pre"}, unitPrice: 153_00, records: 1000, processing: text("比对后仅返回一致性。", "Compared; only agreement is returned."), cases: []catalog.Text{text("开户与贷前核验。", "Checks at account opening and before a loan.")}},
		{key: "power", provider: "申电能源数据", title: text("用电活跃指数", "Electricity activity index"),
			content:  text("以月度用电量相对同业与自身历史的变化合成的活跃指数，0 至 100。", "An index from 0 to 100 of monthly use against peers and own history."),
			keywords: []string{"用电", "活跃", "电力"}, sector: "inclusive-finance", industry: "D44", subject: text("工商业用电户", "commercial customers"), update: "monthly",
			dictionary: dict(field("activity", "活跃指数", "activity index", dictionary.Integer, "", 0)), grade: "L3", source: contracts.SourceProduced, groups: []string{"power.usage"}, modes: []policy.Operation{policy.Query},
			purposes: []policy.Purpose{policy.PreLoan, policy.PostLoan, policy.Evaluation}, scenarios: []string{"quota-review", "sme-tax-loan-pre"}, consent: true, unitPrice: 500_000, records: 800,
			processing: text("归一化、去极值、合成。", "Normalised, trimmed, combined."), cases: []catalog.Text{text("贷后预警与额度年审。", "Post-loan alerts and annual review.")}},
		{key: "scenic", provider: "悦游文旅", title: text("景区客流（日）", "Scenic-area visitors, daily"),
			content:  text("本市景区逐日客流总量与承载率，不含个人信息。", "Daily visitors and load of the city's scenic areas, without personal information."),
			keywords: []string{"景区", "客流", "文旅"}, sector: "culture-tourism", industry: "N78", subject: text("景区", "scenic areas"), update: "daily",
			dictionary: dict(field("visitors", "客流量", "visitors", dictionary.Integer, "person", 0)), grade: "L1", source: contracts.SourceProduced, groups: []string{"tourism.visitors"}, modes: []policy.Operation{policy.File},
			purposes: []policy.Purpose{policy.Operations, policy.Research}, scenarios: []string{"quota-review"}, unitPrice: 0, flatFee: 0, records: 5000,
			processing: text("按日汇总。", "Summed by day."), cases: []catalog.Text{text("民宿与文旅商户经营分析。", "Analysis for guest houses and tourism businesses.")}},
	}...)
}

// manual writes the product's manual (数据产品说明书).
func (p *product) manual(provider contracts.CreditCode) *catalog.Manual {
	return &catalog.Manual{
		Header:     catalog.Header{Title: p.title, Provider: provider, Edition: "1.0"},
		Basic:      catalog.Basic{Sector: p.sector, Industry: p.industry, Type: "service", Content: p.content, Keywords: p.keywords},
		Physical:   catalog.Physical{Records: p.records, Bytes: p.records * 200, Update: p.update, From: "2025-01", Region: "CN-31", Subject: p.subject},
		Inputs:     []dictionary.Field{{Name: "subject", Title: "统一社会信用代码", TitleEn: "credit code", Type: dictionary.Text}},
		Dictionary: p.dictionary,
		AsOf:       catalog.AsOf{Rule: text("以每月最后一日为截止日，申报期结束后入库。", "As of the last day of each month, after the filing period."), LagDays: 20},
		Conditions: catalog.Conditions{Purposes: p.purposes, User: text("持牌金融机构或经会员准入的机构。", "Licensed financial institutions, or members."), RetentionDays: 180,
			Rules: []policy.Prohibition{policy.Distribute, policy.TransferAbroad}, Other: text("无。", "None.")},
		Cases:        p.cases,
		Instructions: catalog.Instructions{Grade: p.grade, Modes: p.modes, Access: text("需方节点按合约逐笔调用供方节点，数据不离开供方。", "The buyer's node calls the provider's node; data stays with the provider.")},
		Source:       catalog.Source{Type: p.source, Description: text("见登记材料。构造数据，仅供示例。", "See the registration file. Constructed data, for the sample only."), Processing: p.processing},
		Price:        catalog.Price{UnitPrice: p.unitPrice, FlatFee: p.flatFee, Note: text("含税；零价为面议。", "Tax included; zero is negotiable.")},
		ServiceLevel: contracts.ServiceLevel{AvailabilityBasisPoints: 9990, P99Ms: 300, FreshnessHours: 48, ChangeNoticeDays: 30},
	}
}

// facts are what the ledger needs to know of the product.
func (p *product) facts(m *catalog.Manual, authorization contracts.ID) contracts.Facts {
	fields := p.fields
	if fields == nil {
		for _, f := range p.dictionary.Fields[1:] {
			fields = append(fields, f.Name)
		}
	}
	f := contracts.Facts{
		Title: p.title.Zh, TitleEn: p.title.En, Manual: m.Digest(), Dictionary: m.Dictionary.Digest(), Fields: fields, Grade: p.grade, Source: p.source,
		DataGroups: p.groups, CreditInfo: p.credit, SubjectVisibility: "identified", Modes: p.modes, Scenarios: p.scenarios,
		Policy: policy.Policy{Purposes: p.purposes, Operations: p.modes, Fields: fields, Regions: []policy.Region{"CN-31"}, RetentionDays: 180,
			ConsentRequired: p.consent, MinimumCohort: p.cohort, Prohibitions: []policy.Prohibition{policy.Distribute, policy.TransferAbroad}, Duties: []policy.Duty{policy.Delete}}.Ordered(),
		UnitPrice: p.unitPrice, FlatFee: p.flatFee, Sample: contracts.HashOf("bund/document/v1", []byte(p.key)), SampleKind: "synthetic", ServiceLevel: m.ServiceLevel,
	}
	if p.source == contracts.SourceAuthorized {
		f.Authorization = authorization
	}
	if p.credit {
		f.Licence, f.Routing = "企业征信备案（示例）001", "市融资信用服务平台（示例）R1"
	}
	return f
}
