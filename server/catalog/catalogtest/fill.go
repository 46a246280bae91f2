// Package catalogtest fills a shelf with generated products, for tests of plans and for figures. It goes through the
// catalogue's own projection, not through the rules: what it makes has no history on a ledger.
package catalogtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
)

var (
	places  = strings.Fields("浦东 黄浦 徐汇 长宁 静安 普陀 虹口 杨浦 闵行 宝山 嘉定 金山 松江 青浦 奉贤 崇明 临港 张江 陆家嘴 虹桥")
	whom    = strings.Fields("小微企业 个体工商户 科创企业 民宿商户 物流企业 制造企业 出口企业 园区租户 供应商 农业合作社 餐饮商户 文旅商户")
	what    = strings.Fields("纳税 开票 红冲 社保 公积金 用电 用水 用气 司法 被执行 工商变更 股权 知产 专利 商标 订单 运单 仓储 租金 停车 客流 入住 招投标 海关 碳排放 设备开工 招聘 舆情 环保处罚 质押")
	form    = strings.Fields("指标 指数 评分 核验 预警 画像 统计 名录 区间 订阅 报告 查询")
	english = strings.Fields("tax invoice reversal social housing power water gas court enforcement registry equity patent mark order waybill storage rent parking visitors stays tenders customs carbon machines hiring sentiment penalty pledge")
)

// Scenarios that generated products are offered for, the first ones most often.
var Scenarios = strings.Fields("sme-tax-loan-pre quota-review post-loan first-loan supply-chain ip-pledge green-credit merchant-loan")

var (
	grades  = []contracts.Grade{"L1", "L2", "L3", "L4"}
	sources = []contracts.SourceType{contracts.SourceProduced, contracts.SourcePublic, contracts.SourceAuthorized, contracts.SourcePurchased}
	modes   = []policy.Operation{policy.Query, policy.Verify, policy.File, policy.PSI, policy.JointScore, policy.Compute}
)

// Words are two-character words that generated titles hold, common and rare ones.
func Words() []string {
	var out []string
	for _, list := range [][]string{places, whom, what, form} {
		for _, w := range list {
			if cs := []rune(w); len(cs) >= 2 {
				out = append(out, string(cs[:2]))
			}
		}
	}
	return out
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// skewed prefers the first ones, as real lists do.
func skewed[T any](r *rand.Rand, from []T) T {
	return from[min(r.IntN(len(from)), r.IntN(len(from)))]
}

func id(kind byte, n int) contracts.ID {
	var b [16]byte
	b[0] = kind
	binary.BigEndian.PutUint64(b[8:], uint64(n))
	return contracts.ID(fmt.Sprintf("%x", b))
}

const providers = 200

// Fill puts n products on the shelf of an empty projection and analyzes it.
func Fill(ctx context.Context, db *sqlx.DB, n int, seed uint64) error {
	p, err := projection.New(db, nil, catalog.Schema())
	if err != nil {
		return err
	}
	if err := p.Prepare(ctx); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(seed, 2))
	base, shelf := projection.Base(), catalog.Schema()
	position := 0
	put := func(nouns []projection.Noun, writes func(add func(key, id string, rec any, listed bool) error) error) error {
		folds := map[string][]projection.Fold{}
		var order []projection.Fold
		for _, noun := range nouns {
			f := noun.Fold()
			folds[noun.Of()] = append(folds[noun.Of()], f)
			order = append(order, f)
		}
		err := writes(func(noun, id string, rec any, listed bool) error {
			e := &ledger.Entry{Position: uint64(position), Time: contracts.Millis(1772413200000 + int64(position)*1000)}
			position++
			if listed {
				e.Events = []contracts.Event{{Name: "product.listed", Object: contracts.ID(id)}}
			}
			for _, f := range folds[noun] {
				if err := f.Add(projection.Write{Entry: &ledger.Stored{Entry: e}, ID: id, Value: canon.Marshal(rec)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return pg.WithTx(ctx, db, func(tx *sqlx.Tx) error {
			for _, f := range order {
				if err := f.Flush(ctx, tx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = put(base.Nouns, func(add func(string, string, any, bool) error) error {
		for i := range providers {
			m := contracts.Member{Name: pick(r, places) + pick(r, what) + "数据（示例）", NameEn: "provider", CreditCode: contracts.SyntheticCreditCode(uint32(i)),
				Roles: []contracts.Role{contracts.RoleProvider}, State: contracts.Active, Since: 1772413200000}
			if err := add("member", string(id('m', i)), m, false); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for from := 0; from < n; from += 2000 {
		err = put(shelf.Nouns, func(add func(string, string, any, bool) error) error {
			for i := from; i < min(n, from+2000); i++ {
				v := version(r, i)
				product := contracts.Product{Provider: id('m', min(r.IntN(providers), r.IntN(providers))), Versions: 1, Listed: id('v', i)}
				if err := add("product", string(v.Product), product, false); err != nil {
					return err
				}
				if err := add("version", string(id('v', i)), v, true); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return p.Analyze(ctx)
}

func version(r *rand.Rand, i int) contracts.Version {
	k := r.IntN(len(what))
	f := contracts.Facts{Title: fmt.Sprintf("%s%s%s%s（%d 月）", pick(r, places), pick(r, whom), what[k], pick(r, form), 3*(1+r.IntN(12))),
		TitleEn: english[min(k, len(english)-1)] + " data", Fields: []string{"value", "as_of"}, Grade: skewed(r, grades), Source: skewed(r, sources),
		DataGroups: []string{english[min(k, len(english)-1)] + ".figures"}, SubjectVisibility: "identified", SampleKind: "synthetic",
		Manual: contracts.HashOf("test/manual", []byte{byte(i), byte(i >> 8), byte(i >> 16)}), Dictionary: contracts.HashOf("test/dictionary"), Sample: contracts.HashOf("test/sample"),
		Modes: []policy.Operation{skewed(r, modes)}, Scenarios: []string{skewed(r, Scenarios)}, UnitPrice: contracts.MicroYuan(r.IntN(1000) * 2800),
		ServiceLevel: contracts.ServiceLevel{AvailabilityBasisPoints: 9990, P99Ms: 300}}
	f.Policy = policy.Policy{Purposes: []policy.Purpose{policy.PreLoan}, Operations: f.Modes, Fields: []string{"as_of", "value"}, Regions: []policy.Region{"CN-31"}}
	if f.Source == contracts.SourceAuthorized {
		f.Authorization = id('a', 1)
	}
	return contracts.Version{Product: id('p', i), Number: 1, Facts: f, State: contracts.Listed, Since: 1772413200000,
		Certificate: fmt.Sprintf("DPR-310115-20260302-%07d0", i)}
}

// Queries gives n random searches: a word of two characters, two facets, and counts of two.
func Queries(n int, seed uint64) []catalog.Query {
	r := rand.New(rand.NewPCG(seed, 3))
	words := Words()
	out := make([]catalog.Query, n)
	for i := range out {
		out[i] = catalog.Query{Words: pick(r, words), Select: map[catalog.Facet]string{}, Count: []catalog.Facet{catalog.BySource, catalog.ByProvider}}
		switch r.IntN(3) {
		case 0:
			out[i].Select[catalog.ByScenario], out[i].Select[catalog.ByGrade] = skewed(r, Scenarios), string(skewed(r, grades))
		case 1:
			out[i].Select[catalog.ByMode], out[i].Select[catalog.ByGrade] = string(skewed(r, modes)), string(skewed(r, grades))
		default:
			out[i].Select[catalog.ByScenario], out[i].Select[catalog.ByMode] = skewed(r, Scenarios), string(skewed(r, modes))
		}
	}
	return out
}
