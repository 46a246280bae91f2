package catalog_test

import (
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/dictionary"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/server/catalog"
)

func manual() *catalog.Manual {
	t := func(zh, en string) catalog.Text { return catalog.Text{Zh: zh, En: en} }
	return &catalog.Manual{
		Header: catalog.Header{Title: t("纳税经营指标（12 月）", "Tax and business indicators, 12 months"), Provider: contracts.SyntheticCreditCode(9), Edition: "1.0"},
		Basic: catalog.Basic{Sector: "inclusive-finance", Industry: "J66", Type: "service", Keywords: []string{"增值税", "小微"},
			Content: t("近十二个月开票与申报的派生指标。", "Indicators derived from invoices and returns of twelve months.")},
		Physical: catalog.Physical{Records: 5850, Bytes: 2 << 20, Update: "monthly", From: "2023-01", Region: "CN-31", Subject: t("企业", "companies")},
		Inputs:   []dictionary.Field{{Name: "credit_code", Title: "统一社会信用代码", TitleEn: "credit code", Type: dictionary.Text}},
		Dictionary: dictionary.Dictionary{Key: "credit_code", Fields: []dictionary.Field{
			{Name: "credit_code", Title: "统一社会信用代码", TitleEn: "credit code", Type: dictionary.Text, Format: dictionary.CreditCodeFormat},
			{Name: "invoiced_12m", Title: "开票额", TitleEn: "invoiced amount", Type: dictionary.Decimal, Scale: 2, Unit: "yuan", Nullable: true, Empty: "无开票", EmptyEn: "no invoice"},
			{Name: "red_ratio", Title: "红冲比例", TitleEn: "share of reversed invoices", Type: dictionary.Decimal, Scale: 4, Nullable: true, Empty: "无开票", EmptyEn: "no invoice"},
			{Name: "tax_score", Title: "纳税信用等级", TitleEn: "tax credit grade", Type: dictionary.Coded, Nullable: true, Empty: "未参评", EmptyEn: "not graded",
				Codes: []dictionary.Code{{Code: "A", Title: "A 级", TitleEn: "A"}, {Code: "M", Title: "新设", TitleEn: "new"}}}}},
		AsOf:           catalog.AsOf{Rule: t("以申报期截止日为准。", "As of the filing deadline."), LagDays: 20},
		Conditions:     catalog.Conditions{Purposes: []policy.Purpose{policy.PreLoan}, User: t("持牌金融机构", "licensed institutions"), RetentionDays: 180, Rules: []policy.Prohibition{policy.Distribute}, Other: t("无", "none")},
		Cases:          []catalog.Text{t("小微企业贷前准入", "pre-loan screening of small companies")},
		Instructions:   catalog.Instructions{Grade: "L3", Modes: []policy.Operation{policy.Query}, Access: t("节点逐笔调用", "calls between nodes")},
		Source:         catalog.Source{Type: contracts.SourceAuthorized, Description: t("税务机关授权运营", "operated under authorisation"), Processing: t("清洗、聚合、分箱", "cleaned, aggregated, binned")},
		Qualifications: []catalog.Qualification{{Kind: "legal_opinion", Title: "法律意见书", Digest: contracts.HashOf("test/opinion")}},
		Price:          catalog.Price{UnitPrice: 800_000, Note: t("按次计费", "per call")},
		ServiceLevel:   contracts.ServiceLevel{AvailabilityBasisPoints: 9990, P99Ms: 300, FreshnessHours: 48, ChangeNoticeDays: 30},
	}
}

func factsOf(m *catalog.Manual) contracts.Facts {
	return contracts.Facts{Title: m.Header.Title.Zh, TitleEn: m.Header.Title.En, Manual: m.Digest(), Dictionary: m.Dictionary.Digest(),
		Fields: m.Dictionary.Names(), Grade: "L3", Source: contracts.SourceAuthorized, Modes: []policy.Operation{policy.Query}, ServiceLevel: m.ServiceLevel}
}

func TestManualDescribesFacts(t *testing.T) {
	m := manual()
	f := factsOf(m)
	if err := m.Describes(&f); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*contracts.Facts){
		"manual":       func(f *contracts.Facts) { f.Manual = contracts.HashOf("x") },
		"dictionary":   func(f *contracts.Facts) { f.Dictionary = contracts.HashOf("x") },
		"title":        func(f *contracts.Facts) { f.Title += "二" },
		"fields":       func(f *contracts.Facts) { f.Fields = append(f.Fields, "unheard_of") },
		"grade":        func(f *contracts.Facts) { f.Grade = "L1" },
		"source":       func(f *contracts.Facts) { f.Source = contracts.SourceProduced },
		"modes":        func(f *contracts.Facts) { f.Modes = append(f.Modes, policy.PSI) },
		"serviceLevel": func(f *contracts.Facts) { f.ServiceLevel.P99Ms++ },
	} {
		f := factsOf(m)
		change(&f)
		if err := m.Describes(&f); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("other %s: %v", field, err)
		}
	}
}

// The digests are part of the ledger's history: another one here means that manuals on a ledger can't be found any more.
func TestManualDigests(t *testing.T) {
	m := manual()
	const wantManual, wantDictionary = "7be3262e8751aa7d2789c060752c61ce38a411d02d4de011f69c9236e30078fb", "b18cf9f82d46332da06d3ca6b314a96ee5ab6cf289542892b1fb0c74abd80c22"
	if got := m.Digest(); got != wantManual {
		t.Errorf("the manual's digest is %s", got)
	}
	if got := m.Dictionary.Digest(); got != wantDictionary {
		t.Errorf("the dictionary's digest is %s", got)
	}
	if contracts.HashOf(dictionary.Tag, canon.Marshal(m.Dictionary)) != m.Dictionary.Digest() {
		t.Error("the dictionary's digest is not over its canonical bytes")
	}
}

func TestManualRefuses(t *testing.T) {
	for name, change := range map[string]func(*catalog.Manual){
		"a field twice":            func(m *catalog.Manual) { m.Dictionary.Fields[2].Name = "invoiced_12m" },
		"an input twice":           func(m *catalog.Manual) { m.Inputs = append(m.Inputs, m.Inputs[0]) },
		"no field":                 func(m *catalog.Manual) { m.Dictionary.Fields = nil },
		"a bad name":               func(m *catalog.Manual) { m.Dictionary.Fields[1].Name = "In-voiced" },
		"an unknown type":          func(m *catalog.Manual) { m.Dictionary.Fields[1].Type = "float" },
		"a code without its list":  func(m *catalog.Manual) { m.Dictionary.Fields[3].Codes = nil },
		"a list without a code":    func(m *catalog.Manual) { m.Dictionary.Fields[1].Codes = m.Dictionary.Fields[3].Codes },
		"a code twice":             func(m *catalog.Manual) { m.Dictionary.Fields[3].Codes[1].Code = "A" },
		"empty without a meaning":  func(m *catalog.Manual) { m.Dictionary.Fields[1].Empty = "" },
		"a title without Chinese":  func(m *catalog.Manual) { m.Header.Title.Zh = "" },
		"a foreign credit code":    func(m *catalog.Manual) { m.Header.Provider = "91310000000000000X" },
		"a lag below zero":         func(m *catalog.Manual) { m.AsOf.LagDays = -1 },
		"a price below zero":       func(m *catalog.Manual) { m.Price.UnitPrice = -1 },
		"an unknown update":        func(m *catalog.Manual) { m.Physical.Update = "often" },
		"a month that is none":     func(m *catalog.Manual) { m.Physical.From = "2023-13" },
		"an unknown product type":  func(m *catalog.Manual) { m.Basic.Type = "thing" },
		"an unknown qualification": func(m *catalog.Manual) { m.Qualifications[0].Kind = "promise" },
		"an unknown grade":         func(m *catalog.Manual) { m.Instructions.Grade = "L9" },
	} {
		m := manual()
		change(m)
		if _, err := catalog.ParseManual(canon.Marshal(m)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzParseManual(f *testing.F) {
	good := canon.Marshal(manual())
	f.Add(good)
	f.Add(append([]byte(" "), good...))
	f.Add([]byte(strings.Replace(string(good), `"asOf"`, `"asof"`, 1)))
	f.Add([]byte(strings.Replace(string(good), `"lagDays":"20"`, `"lagDays":20`, 1)))
	f.Add([]byte(strings.Replace(string(good), `"asOf":`, `"another":"1","asOf":`, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := catalog.ParseManual(b)
		if err == nil && string(canon.Marshal(m)) != string(b) {
			t.Fatal("two forms of one manual")
		}
	})
}
