// Package sample loads the sample market: members with full-length manuals, products on the shelf and on their way to
// it, a running trade between a bank and an operator of tax data. All of it happens by signed commands through the API,
// on the sample ledger's scripted clock, and is labelled 示例.
package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/deploy/cast"
	"github.com/bund-exchange/bund/deploy/stack"
)

// Shown is what a person needs to try the market: ids, sign-ins, a consent. It is kept in sample.json.
type Shown struct {
	Model      contracts.ID         `json:"model"`
	Task       contracts.ID         `json:"task"`    // of the joint statistic
	Private    map[string]Offered   `json:"private"` // products that are used without being handed over, by key
	Agreement  contracts.ID         `json:"agreement"`
	Product    contracts.ID         `json:"product"`
	Version    contracts.ID         `json:"version"`
	Subject    contracts.CreditCode `json:"subject"`
	Debtor     contracts.CreditCode `json:"debtor"` // in the dataset of private lookup, where Subject is not
	Consent    contracts.ID         `json:"consent"`
	ConsentKey string               `json:"consentKey"`
	SignIns    []SignIn             `json:"signIns"`
}

// Offered is a product of the running provider's node.
type Offered struct {
	Product   contracts.ID    `json:"product"`
	Version   contracts.ID    `json:"version"`
	Agreement contracts.ID    `json:"agreement,omitempty"`
	Facts     contracts.Facts `json:"-"`
}

// SignIn is a person's account.
type SignIn struct {
	Who      string `json:"who"`
	Login    string `json:"login"`
	Password string `json:"password"`
}

// loader is the loading under way.
type loader struct {
	*cast.Stack
	ctx   context.Context
	cast  *contractstest.Market
	by    map[string]*contractstest.Actor // providers by name
	shown Shown
}

// Load fills a market that has just begun.
func Load(ctx context.Context, s *cast.Stack) (*Shown, error) {
	l := &loader{Stack: s, ctx: ctx, cast: s.Cast, by: map[string]*contractstest.Actor{}, shown: Shown{Private: map[string]Offered{}}}
	l.by["浦江公共数据运营"] = l.cast.Provider
	for _, step := range []struct {
		say string
		run func() error
	}{
		{"正在准入其余会员 · admitting more members", l.members},
		{"正在登记并挂牌产品 · registering and listing products", l.shelf},
		{"正在开立登录账户 · making sign-ins", l.signIns},
		{"正在成交第一笔 · making the first agreement", l.trade},
		{"正在就隐私计算产品签约 · agreeing on the products that are used without being handed over", l.agreePrivate},
		{"正在登记授权服务的节点 · registering the consent service's node", l.neutral},
		{"正在登记企业授权并试调用 · registering consents, making the first call", l.use},
		{"正在登记评分模型 · registering a model for joint scoring", l.model},
		{"三家银行正在联合统计 · three banks make a joint statistic", l.statistic},
		{"正在公布隐私查询表并试查 · publishing tables of private lookup, asking them once", l.lookups},
	} {
		fmt.Fprintln(s.Out, step.say)
		if err := step.run(); err != nil {
			return nil, err
		}
	}
	b, err := json.MarshalIndent(l.shown, "", "  ")
	if err != nil {
		return nil, err
	}
	return &l.shown, os.WriteFile(filepath.Join(s.Dir, "sample.json"), append(b, '\n'), 0o600)
}

// Read gives what an earlier Load has shown.
func Read(dir string) (*Shown, error) {
	b, err := os.ReadFile(filepath.Join(dir, "sample.json"))
	if err != nil {
		return nil, err
	}
	s := new(Shown)
	return s, json.Unmarshal(b, s)
}

// members admits the rest of the cast. Each admission is a story of its own, so that all wait for the same few blocks
// where a ledger has blocks.
func (l *loader) members() error {
	if err := l.cast.Together(slices.Concat(l.providers(), l.partners(), l.fates())...); err != nil {
		return err
	}
	for _, f := range l.Further {
		if err := l.WriteNode(l.ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// providers are the further ones, with a node each.
func (l *loader) providers() (stories []func() error) {
	m := l.cast
	for i, name := range []string{"沪信企业征信", "申电能源数据", "悦游文旅"} {
		stories = append(stories, func() error {
			a := m.Actor(name, contracts.RoleProvider)
			l.by[name] = a
			if err := m.Admit(a); err != nil {
				return err
			}
			if name == collector {
				_, err := l.AddNode(l.ctx, "collector", a, true)
				return err
			}
			// The other providers' nodes are not part of the sample: their products are on the shelf, calls to them are not.
			err := m.Do(a.ID, "node.register", contracts.NodeRegister{TLSKey: a.TLS.Public.ID(), ReceiptKey: a.Receipt.Public.ID(), URL: fmt.Sprintf("https://127.0.0.1:%d", 9001+i), Region: "CN-31"}, nil, a.Admin)
			a.Node = m.Last("node")
			return err
		})
	}
	return stories
}

// partners are who buys, and who stands between the two sides.
func (l *loader) partners() (stories []func() error) {
	m := l.cast
	for _, x := range []struct {
		name   string
		role   contracts.Role
		node   string // that runs, "" for none
		serves bool
	}{{"沪东农商行", contracts.RoleBuyer, "bank2", false}, {"长三角科创银行", contracts.RoleBuyer, "bank3", false}, {"普惠融资担保", contracts.RoleBuyer, "", false},
		{steward, contracts.RoleConsentService, "", false}, {aggregators[0], contracts.RoleDelivery, "summer", true}, {aggregators[1], contracts.RoleDelivery, "adder", true}} {
		stories = append(stories, func() error {
			a := m.Actor(x.name, x.role)
			l.by[x.name] = a
			if err := m.Admit(a); err != nil || x.node == "" {
				return err
			}
			_, err := l.AddNode(l.ctx, x.node, a, x.serves)
			return err
		})
	}
	return stories
}

// fates are on show: one member turned away, one suspended, one gone.
func (l *loader) fates() (stories []func() error) {
	m := l.cast
	stories = append(stories, func() error {
		a := m.Actor("虚名数据（被退回）", contracts.RoleProvider)
		if err := m.Do("", "member.apply", contracts.MemberApply{Application: a.App}, nil, a.Admin, a.Check); err != nil {
			return err
		}
		return m.Do(m.Venue.ID, "member.turn_away", contracts.MemberTurn{Subject: m.Last("member"), Reason: "营业执照与控制人链条不符"}, nil, m.Venue.Two()...)
	})
	for _, x := range []struct{ name, kind, reason string }{{"泊位出行", "member.suspend", "安全能力证明到期未续"}, {"旧港数据", "member.exit", "自愿退出"}} {
		stories = append(stories, func() error {
			a := m.Actor(x.name, contracts.RoleProvider)
			if err := m.Admit(a); err != nil {
				return err
			}
			return m.Do(m.Venue.ID, x.kind, contracts.MemberTurn{Subject: a.ID, Reason: x.reason}, nil, m.Venue.Two()...)
		})
	}
	return stories
}

// document stores a document and checks that the market computed the same digest.
func (l *loader) document(kind string, content []byte, want contracts.Hash) error {
	var a struct {
		Digest contracts.Hash `json:"digest"`
	}
	if _, err := l.Venue.JSON(l.ctx, http.MethodPost, "/documents", map[string]any{"kind": kind, "content": string(content)}, &a); err != nil {
		return err
	}
	if a.Digest != want {
		return fmt.Errorf("the market stored the %s under another digest", kind)
	}
	return nil
}

// taxRows is the sample's dataset: 200 companies, two months.
func taxRows() (csv string, codes []contracts.CreditCode) {
	var b strings.Builder
	b.WriteString("usc,asof,invoiced_12m,red_ratio,tax_score\n")
	for i := range 200 {
		c := contracts.SyntheticCreditCode(uint32(700_000 + i))
		codes = append(codes, c)
		for k, day := range []string{"2026-01-31", "2026-02-28"} {
			fmt.Fprintf(&b, "%s,%s,%d.%02d,0.0%d%d,%d\n", c, day, 12_000*(i%37+1)+1_000*k, (i*7)%100, i%6, i%10, 55+(i*13)%45)
		}
	}
	return b.String(), codes
}

// dataset is what `datanode import` says.
type dataset struct {
	Digest  contracts.Hash            `json:"digest"`
	Schema  contracts.Hash            `json:"schema"`
	Rows    int64                     `json:"rows"`
	AsOf    contracts.Millis          `json:"asOf"`
	Quality []contracts.QualityFigure `json:"quality"`
}

// Import imports a CSV into a stopped node's vault.
func Import(ctx context.Context, s *cast.Stack, node, name string, dictionaryJSON []byte, csv, asOf string) ([]byte, error) {
	schema, file := filepath.Join(s.Dir, name+".schema.yaml"), filepath.Join(s.Dir, name+".csv")
	if err := errors.Join(os.WriteFile(schema, dictionaryJSON, 0o600), os.WriteFile(file, []byte(csv), 0o600)); err != nil {
		return nil, err
	}
	args := []string{"import", "--config", filepath.Join(s.Dir, node+".yaml"), "--dataset", name, "--schema", schema, "--csv", file}
	if asOf != "" {
		args = append(args, "--as-of", asOf)
	}
	return stack.Run(ctx, nil, filepath.Join(s.Bin, "datanode"), args...)
}

const taxSchema = `key: usc
asOf: asof
fields:
  - {name: usc, title: 统一社会信用代码, titleEn: unified social credit code, type: text, format: credit_code}
  - {name: asof, title: 截止日, titleEn: as of, type: date}
  - {name: invoiced_12m, title: 近十二个月开票额, titleEn: invoiced amount in twelve months, type: decimal, unit: yuan, scale: 2, nullable: true, empty: 无此项记录, emptyEn: no record}
  - {name: red_ratio, title: 红冲比例, titleEn: share of reversed invoices, type: decimal, scale: 4, nullable: true, empty: 无此项记录, emptyEn: no record}
  - {name: tax_score, title: 纳税评分, titleEn: tax score, type: integer, nullable: true, empty: 无此项记录, emptyEn: no record}
`

// shelf takes every product to the shelf: manuals stored, datasets reported, reviewed, publicised, registered, listed;
// and leaves one in publicity, one rejected and one suspended.
func (l *loader) shelf() error {
	m := l.cast
	auth, err := m.Authorize()
	if err != nil {
		return err
	}
	csv, codes := taxRows()
	l.shown.Subject, l.shown.Debtor = codes[7], codes[5]
	imported := map[string]dataset{}
	for _, x := range []struct{ name, schema, csv, asOf string }{{"tax", taxSchema, csv, ""}, {"debtors", debtorsSchema, debtorsCSV(), "2026-02-28"}, {"directory", directorySchema, directoryCSV(), "2026-02-28"}} {
		out, err := Import(l.ctx, l.Stack, "provider", x.name, []byte(x.schema), x.csv, x.asOf)
		if err != nil {
			return err
		}
		var d dataset
		if err := json.Unmarshal(out, &d); err != nil {
			return err
		}
		imported[x.name] = d
	}
	home := m.Provider
	defer func() { m.Provider = home }()
	var toPublicity, toShelf []func() error
	for _, p := range products() {
		x := new(contractstest.Listing) // known when the way to publicity is told
		toPublicity = append(toPublicity, func() error { return l.publicise(p, auth, imported, x) })
		toShelf = append(toShelf, func() error {
			if err := m.Do(m.Venue.ID, "product.register", contracts.VersionRegister{Version: x.Version, Region: "310115"}, nil, m.Venue.Two()...); err != nil {
				return err
			}
			return m.Do(m.Venue.ID, "product.list", contracts.VersionList{Version: x.Version, Attestations: x.Attestations}, nil, m.Venue.Two()...)
		})
	}
	if err := m.Together(toPublicity...); err != nil {
		return err
	}
	if err := m.Advance(8 * 86400); err != nil {
		return err
	}
	if err := m.Together(append(toShelf, l.states(auth)...)...); err != nil {
		return err
	}
	return m.Do(m.Venue.ID, "clock.release", contracts.ClockRelease{Reason: "样例历史到此为止，其后为真实时间"}, nil, m.Venue.Machine)
}

// publicise takes a product from its draft into publicity, as x.
func (l *loader) publicise(p *product, auth contracts.ID, imported map[string]dataset, x *contractstest.Listing) error {
	m := l.cast
	m.Provider = l.by[p.provider]
	man := p.manual(m.Provider.App.CreditCode)
	if err := l.document("manual", canon.Marshal(man), man.Digest()); err != nil {
		return err
	}
	f := p.facts(man, auth)
	if err := m.Do(m.Provider.ID, "product.draft", contracts.ProductDraft{Facts: f}, nil, m.Provider.Maker); err != nil {
		return err
	}
	*x = contractstest.Listing{Product: m.Last("product"), Version: m.Last("version"), Facts: f}
	d := dataset{Digest: contracts.HashOf("sample/dataset", []byte(p.key)), Schema: f.Dictionary, Rows: p.records, AsOf: m.Now}
	if in, ok := imported[p.dataset]; ok {
		if in.Schema != f.Dictionary {
			return fmt.Errorf("the node's schema of %s is not the manual's dictionary", p.dataset)
		}
		d.Digest, d.Rows, d.Quality = in.Digest, in.Rows, in.Quality
		if d.AsOf = in.AsOf; d.AsOf == 0 {
			d.AsOf = m.Now
		}
	}
	if p.key == "tax" {
		l.shown.Product, l.shown.Version = x.Product, x.Version
	} else {
		l.shown.Private[p.key] = Offered{Product: x.Product, Version: x.Version, Facts: f}
	}
	if d.Quality == nil {
		d.Quality = []contracts.QualityFigure{{Dimension: "completeness", Rule: "not empty", Satisfying: p.records, Tested: p.records}}
	}
	if err := m.Do(m.Provider.ID, "dataset.report", contracts.DatasetReport{Version: x.Version, Node: m.Provider.Node, Digest: d.Digest, Schema: d.Schema, Rows: d.Rows,
		AsOf: d.AsOf, Quality: d.Quality}, nil, m.Provider.Machine); err != nil {
		return err
	}
	return errors.Join(m.Attest(x), m.Review(x))
}

// named gives a product of the sample by its key.
func named(key string) *product {
	ps := products()
	return ps[slices.IndexFunc(ps, func(p *product) bool { return p.key == key })]
}

// states leaves versions in the states that a shelf must be able to show.
func (l *loader) states(auth contracts.ID) (stories []func() error) {
	m := l.cast
	for i, x := range []struct {
		zh, en string
		then   func(*contractstest.Listing) error
	}{
		{"用电缴费稳定性（公示中）", "Electricity payment stability (in publicity)", func(x *contractstest.Listing) error { return m.Review(x) }},
		{"用电明细（被驳回）", "Electricity details (rejected)", func(x *contractstest.Listing) error {
			if err := m.Do(m.Provider.ID, "product.submit", contracts.VersionSubmit{Version: x.Version}, nil, m.Provider.Two()...); err != nil {
				return err
			}
			return m.Do(m.Venue.ID, "product.review", contracts.VersionReview{Version: x.Version, Decision: "reject", Checklist: contracts.HashOf("sample/checklist"), Reason: "可还原单户用电明细，不具可交易性"}, nil, m.Venue.Check)
		}},
		{"用电负荷曲线（退回补充）", "Load curve (returned for supplement)", func(x *contractstest.Listing) error {
			if err := m.Do(m.Provider.ID, "product.submit", contracts.VersionSubmit{Version: x.Version}, nil, m.Provider.Two()...); err != nil {
				return err
			}
			return m.Do(m.Venue.ID, "product.review", contracts.VersionReview{Version: x.Version, Decision: "return", Checklist: contracts.HashOf("sample/checklist"), Reason: "请补充来源合法性说明"}, nil, m.Venue.Check)
		}},
	} {
		stories = append(stories, func() error {
			m.Provider = l.by["申电能源数据"]
			p := named("power")
			p.title, p.key = text(x.zh, x.en), fmt.Sprintf("power-%d", i)
			man := p.manual(m.Provider.App.CreditCode)
			if err := l.document("manual", canon.Marshal(man), man.Digest()); err != nil {
				return err
			}
			v, err := m.Draft(p.facts(man, auth))
			if err != nil {
				return err
			}
			return x.then(v)
		})
	}
	return stories
}

// signIns makes one account for each of the members that a visitor may want to be.
func (l *loader) signIns() error {
	m := l.cast
	for _, x := range []struct {
		login string
		who   string
		a     *contractstest.Actor
		name  string
	}{{"venue", "交易所制单人 · venue", m.Venue, "外滩数据交易所（示例）"}, {"regulator", "监管 · regulator", m.Regulator, "市数据局（示例）"},
		{"provider", "供方 · provider", l.by["浦江公共数据运营"], "浦江公共数据运营（示例）"}, {"bank", "银行 · bank", m.Buyer, "江湾城市商业银行（示例）"}} {
		b := m.Random()
		s := SignIn{Who: x.who, Login: x.login, Password: fmt.Sprintf("%x", b[:8])}
		if _, err := l.Venue.JSON(l.ctx, http.MethodPost, "/accounts", map[string]any{"member": x.a.ID, "person": x.a.Person(1), "login": s.Login, "name": x.name, "password": s.Password}, nil); err != nil {
			return err
		}
		l.shown.SignIns = append(l.shown.SignIns, s)
	}
	return nil
}

// trade makes a prepaid agreement between the bank and the operator, and pays in.
func (l *loader) trade() error {
	m := l.cast
	m.Now = contracts.Millis(time.Now().UnixMilli())
	var r struct {
		Record json.RawMessage `json:"record"`
	}
	if _, err := l.Venue.JSON(l.ctx, http.MethodGet, fmt.Sprintf("/versions/%s?min_position=%d", l.shown.Version, l.Exec.Last.Position), nil, &r); err != nil {
		return err
	}
	v, err := contracts.Read[contracts.Version](r.Record)
	if err != nil {
		return err
	}
	d, err := m.Agree(&contractstest.Listing{Product: l.shown.Product, Version: l.shown.Version, Facts: v.Facts}, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	if err != nil {
		return err
	}
	l.shown.Agreement = d.Agreement
	if err := m.Deposit(d, 1_000_000); err != nil {
		return err
	}
	return nil
}
