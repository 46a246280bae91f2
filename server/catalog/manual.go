package catalog

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/dictionary"
	"github.com/bund-exchange/bund/contracts/policy"
)

// Tags of what the ledger holds of a manual. Whoever makes these digests takes HashOf(tag, canonical JSON).
const (
	TagManual = "bund/manual/v1" // contracts.Facts.Manual, over Manual
)

// Text is a text in Chinese with its English beside it.
type Text struct {
	Zh string `json:"zh"`
	En string `json:"en"`
}

// Manual is a product manual (数据产品说明书). Its canonical bytes are a public document.
type Manual struct {
	Header         Header                 `json:"header"`
	Basic          Basic                  `json:"basic"`
	Physical       Physical               `json:"physical"`
	Inputs         []dictionary.Field     `json:"inputs"`     // 输入字段: what a call says
	Dictionary     dictionary.Dictionary  `json:"dictionary"` // 输出字段
	AsOf           AsOf                   `json:"asOf"`
	Conditions     Conditions             `json:"conditions"`
	Cases          []Text                 `json:"cases"`        // 使用案例
	Instructions   Instructions           `json:"instructions"` // 使用说明
	Source         Source                 `json:"source"`       // 来源描述
	Qualifications []Qualification        `json:"qualifications"`
	Price          Price                  `json:"price"`
	ServiceLevel   contracts.ServiceLevel `json:"serviceLevel"`
}

// Header names the product and its provider.
type Header struct {
	Title    Text                 `json:"title"`
	Provider contracts.CreditCode `json:"provider"`
	Edition  string               `json:"edition"` // of the manual, the provider's own
}

// Basic is 基本信息.
type Basic struct {
	Sector   string   `json:"sector"`   // 板块, "inclusive-finance"
	Industry string   `json:"industry"` // GB/T 4754
	Type     string   `json:"type"`     // "dataset", "service", "application", "report", "model"
	Content  Text     `json:"content"`
	Keywords []string `json:"keywords"`
}

// Physical is 物理信息.
type Physical struct {
	Records int64         `json:"records"` // about how many
	Bytes   int64         `json:"bytes"`   // about how large
	Update  string        `json:"update"`  // "real_time", "daily", "weekly", "monthly", "quarterly", "yearly", "once"
	From    string        `json:"from"`    // yyyy-mm of the oldest fact
	Region  policy.Region `json:"region"`  // covered
	Subject Text          `json:"subject"` // what a record is about
}

// AsOf says which state of the world an answer shows (时点规则).
type AsOf struct {
	Rule    Text  `json:"rule"`
	LagDays int64 `json:"lagDays"` // between a fact and its place in the data
}

// Conditions are 使用条件.
type Conditions struct {
	Purposes      []policy.Purpose     `json:"purposes"`
	User          Text                 `json:"user"` // requirements on who uses it
	RetentionDays int64                `json:"retentionDays"`
	Rules         []policy.Prohibition `json:"rules"`
	Other         Text                 `json:"other"`
}

// Instructions are 使用说明.
type Instructions struct {
	Grade  contracts.Grade    `json:"grade"`
	Modes  []policy.Operation `json:"modes"`
	Access Text               `json:"access"` // how a consumer connects
}

// Source is 来源描述.
type Source struct {
	Type        contracts.SourceType `json:"type"`
	Description Text                 `json:"description"`
	Processing  Text                 `json:"processing"` // 实质性加工和创新性劳动
}

// Qualification is a document of 资质信息, by digest.
type Qualification struct {
	Kind   string         `json:"kind"` // "legal_opinion", "quality_report", "undertaking", "valuation", "licence"
	Title  string         `json:"title"`
	Digest contracts.Hash `json:"digest"`
}

// Price is 价格. Both zero: 面议.
type Price struct {
	UnitPrice contracts.MicroYuan `json:"unitPrice"` // of a call
	FlatFee   contracts.Fen       `json:"flatFee"`   // of a month
	Note      Text                `json:"note"`
}

var (
	productTypes = []string{"dataset", "service", "application", "report", "model"}
	updates      = []string{"real_time", "daily", "weekly", "monthly", "quarterly", "yearly", "once"}
	docKinds     = []string{"legal_opinion", "quality_report", "undertaking", "valuation", "licence"}
	monthForm    = regexp.MustCompile(`^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])$`)
)

// Check refuses a text without Chinese: Chinese comes first.
func (t Text) Check() error {
	if t.Zh == "" || len(t.Zh) > 16<<10 || len(t.En) > 16<<10 {
		return errors.New("zh is there, and neither language is longer than 16 KiB")
	}
	return nil
}

// Check refuses a manual that contradicts itself.
func (m Manual) Check() error {
	switch {
	case len([]rune(m.Header.Title.Zh)) > 120:
		return errors.New("the title has 1 to 120 characters")
	case !slices.Contains(productTypes, m.Basic.Type):
		return fmt.Errorf("basic.type is one of %v", productTypes)
	case len(m.Basic.Keywords) > 32:
		return errors.New("basic.keywords has at most 32 entries")
	case !slices.Contains(updates, m.Physical.Update):
		return fmt.Errorf("physical.update is one of %v", updates)
	case m.Physical.Records < 0 || m.Physical.Bytes < 0 || m.AsOf.LagDays < 0 || m.Conditions.RetentionDays < 0:
		return errors.New("a figure is below zero")
	case !monthForm.MatchString(m.Physical.From):
		return errors.New("physical.from is a month as yyyy-mm")
	case m.Price.UnitPrice < 0 || m.Price.FlatFee < 0:
		return errors.New("a price is below zero")
	}
	for _, q := range m.Qualifications {
		if !slices.Contains(docKinds, q.Kind) || q.Title == "" {
			return fmt.Errorf("a qualification has a title and a kind of %v", docKinds)
		}
	}
	return distinct(m.Inputs)
}

// ParseManual reads a manual's canonical bytes; anything else is refused with the field at fault, as a *canon.Error.
func ParseManual(b []byte) (*Manual, error) {
	m := new(Manual)
	if err := canon.Unmarshal(b, m); err != nil {
		return nil, err
	}
	return m, nil
}

// Digest is what the ledger holds of the manual.
func (m *Manual) Digest() contracts.Hash { return contracts.HashOf(TagManual, canon.Marshal(m)) }

// distinct refuses a list of fields with one twice.
func distinct(fields []dictionary.Field) error {
	for i, f := range fields {
		if slices.ContainsFunc(fields[:i], func(o dictionary.Field) bool { return o.Name == f.Name }) {
			return errors.New("a field is there twice")
		}
	}
	return nil
}

// Describes reports the first way in which facts that a provider is about to sign differ from the manual that they
// name. List prices may change later without a new manual.
func (m *Manual) Describes(f *contracts.Facts) error {
	names := m.Dictionary.Names()
	switch {
	case f.Manual != m.Digest():
		return errors.New("manual: the digest is another manual's")
	case f.Dictionary != m.Dictionary.Digest():
		return errors.New("dictionary: the digest is another dictionary's")
	case f.Title != m.Header.Title.Zh || f.TitleEn != m.Header.Title.En:
		return errors.New("title: the manual has another one")
	case slices.ContainsFunc(f.Fields, func(n string) bool { return !slices.Contains(names, n) }):
		return errors.New("fields: one is not in the dictionary")
	case f.Grade != m.Instructions.Grade:
		return errors.New("grade: the manual has another one")
	case f.Source != m.Source.Type:
		return errors.New("source: the manual has another one")
	case !slices.Equal(slices.Sorted(slices.Values(f.Modes)), slices.Sorted(slices.Values(m.Instructions.Modes))):
		return errors.New("modes: the manual has others")
	case f.ServiceLevel != m.ServiceLevel:
		return errors.New("serviceLevel: the manual has another one")
	}
	return nil
}
