package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/pg/pgtest"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
)

var (
	anybody = projection.Reader{}
	ctx     = context.Background()
)

// shelfOf is a market with these products listed, in this order.
func shelfOf(t *testing.T, change ...func(*contracts.Facts)) (*projectiontest.Market, []*contractstest.Listing) {
	t.Helper()
	m := projectiontest.Begin(t, nil, catalog.Schema())
	auth, err := m.Authorize()
	m.Must(err)
	var ls []*contractstest.Listing
	for _, c := range change {
		f := m.Facts(auth)
		c(&f)
		l, err := m.List(f)
		m.Must(err)
		ls = append(ls, l)
	}
	m.Project()
	return m, ls
}

func titles(p *catalog.Page) (out []string) {
	for _, l := range p.Listings {
		out = append(out, l.Title)
	}
	return out
}

func TestSearch(t *testing.T) {
	m, _ := shelfOf(t,
		func(f *contracts.Facts) { f.Title, f.TitleEn = "纳税经营指标（12 月）", "Tax indicators" },
		func(f *contracts.Facts) {
			f.Title, f.TitleEn, f.Scenarios = "用电活跃指数", "Power activity index", []string{"quota-review"}
		},
		func(f *contracts.Facts) {
			f.Title, f.TitleEn, f.Grade, f.UnitPrice = "企业税务风险核验", "Tax risk checks", "L2", 0
			f.Modes = []policy.Operation{policy.Query, policy.Verify}
		})
	c := &catalog.Catalog{DB: m.DB}
	const tax, power, risk = "纳税经营指标（12 月）", "用电活跃指数", "企业税务风险核验"
	for _, x := range []struct {
		words  string
		narrow map[catalog.Facet]string
		want   []string
	}{
		{"", nil, []string{risk, power, tax}},
		{"指标", nil, []string{tax}},
		{"税务", nil, []string{risk}},
		{"经营指标", nil, []string{tax}},
		{"指标纳税", nil, nil},                       // both pairs are there, not side by side
		{"tax", nil, []string{risk, power, tax}}, // of the data group tax.vat_returns
		{"INDICAT", nil, []string{tax}},
		{"indicator zebra", nil, nil},
		{"ndicators", nil, nil}, // no prefix of a word
		{"12月", nil, []string{tax}},
		{"浦江", nil, []string{risk, power, tax}}, // the provider's name
		{"", map[catalog.Facet]string{catalog.ByGrade: "L2"}, []string{risk}},
		{"", map[catalog.Facet]string{catalog.ByScenario: "sme-tax-loan-pre"}, []string{risk, tax}},
		{"税务", map[catalog.Facet]string{catalog.ByScenario: "sme-tax-loan-pre", catalog.ByMode: "verify"}, []string{risk}},
		{"税务", map[catalog.Facet]string{catalog.ByScenario: "quota-review", catalog.ByMode: "verify", catalog.ByGrade: "L2", catalog.ByCredit: "yes"}, []string{risk}},
		{"风险 税", nil, []string{risk}}, // one character, beside a word
		{"用电 税", nil, nil},
		{"", map[catalog.Facet]string{catalog.ByPrice: "negotiable"}, []string{risk}},
		{"", map[catalog.Facet]string{catalog.ByProvider: string(m.Buyer.ID)}, nil},
	} {
		p, err := c.Search(ctx, catalog.Query{Words: x.words, Select: x.narrow})
		m.Must(err)
		if got := titles(p); !slices.Equal(got, x.want) {
			t.Errorf("%q %v finds %v", x.words, x.narrow, got)
		}
	}
	p, err := c.Search(ctx, catalog.Query{Words: "tax 企业 税", Count: []catalog.Facet{catalog.ByGrade, catalog.ByMode}})
	m.Must(err)
	if p.Counted != 1 || fmt.Sprint(p.Counts) != "map[grade:map[L2:1] mode:map[query:1 verify:1]]" {
		t.Errorf("counted %d: %v", p.Counted, p.Counts)
	}
	p, err = c.Search(ctx, catalog.Query{Count: []catalog.Facet{catalog.ByGrade}, Limit: 1})
	m.Must(err)
	if p.Counted != 3 || fmt.Sprint(p.Counts) != "map[grade:map[L2:1 L3:2]]" || len(p.Listings) != 1 {
		t.Errorf("counted %d: %v", p.Counted, p.Counts)
	}
	p, err = c.Search(ctx, catalog.Query{Count: []catalog.Facet{catalog.ByGrade}, After: p.Next})
	m.Must(err)
	if p.Counts != nil || len(p.Listings) != 2 {
		t.Errorf("the second page counts %v", p.Counts)
	}
	if l := p.Listings[0]; l.Provider != m.Provider.ID || l.ProviderName != m.Provider.App.Name || l.ListedAt == 0 || !contracts.ValidSerial(l.Certificate) {
		t.Errorf("a listing is %+v", l)
	}
}

func TestSearchRefuses(t *testing.T) {
	c := &catalog.Catalog{DB: pgtest.New(t)}
	long := "纳税经营指标纳税经营指标纳税经营指标纳税经营指标纳税经营指标纳税经营指标纳税经营指标纳税经营指标纳税经营指标纳税经营指标纳税经营指标"
	for field, q := range map[string]catalog.Query{
		"q":     {Words: long},
		"facet": {Select: map[catalog.Facet]string{"colour": "red"}},
		"grade": {Select: map[catalog.Facet]string{catalog.ByGrade: ""}},
		"count": {Count: []catalog.Facet{"colour"}},
		"after": {After: "no cursor"},
	} {
		_, err := c.Search(ctx, q)
		var bad *catalog.BadQuery
		if !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, words := range []string{"，。", "税", "a 税", "a b c d e f g h i"} {
		if _, err := c.Search(ctx, catalog.Query{Words: words}); err == nil {
			t.Errorf("%q was searched for", words)
		}
	}
}

// Pages cover everything once, whatever their size, though many were listed at the same moment.
func TestPages(t *testing.T) {
	var change []func(*contracts.Facts)
	for i := range 7 {
		change = append(change, func(f *contracts.Facts) { f.Title = fmt.Sprintf("指标 %d", i) })
	}
	m, _ := shelfOf(t, change...)
	m.DB.MustExec(`UPDATE proj.shelf SET listed_at = listed_at / 1000000000 * 1000000000`)
	c := &catalog.Catalog{DB: m.DB}
	all, err := c.Search(ctx, catalog.Query{Words: "指标"})
	m.Must(err)
	if len(all.Listings) != 7 || all.Next != "" {
		t.Fatalf("%d listings, next %q", len(all.Listings), all.Next)
	}
	for size := 1; size <= 7; size++ {
		var got []string
		for after, pages := "", 0; ; pages++ {
			p, err := c.Search(ctx, catalog.Query{Words: "指标", After: after, Limit: size})
			m.Must(err)
			got = append(got, titles(p)...)
			if after = p.Next; after == "" {
				break
			}
			if pages > 8 {
				t.Fatal("pages don't end")
			}
		}
		if !slices.Equal(got, titles(all)) {
			t.Errorf("pages of %d give %v", size, got)
		}
	}
}

// Suspension hides a product and leaves its place; a new version replaces the old one; delisting ends it.
func TestShelfFollowsVersions(t *testing.T) {
	m, ls := shelfOf(t, func(f *contracts.Facts) { f.Title = "甲指标" }, func(f *contracts.Facts) { f.Title = "乙指标" })
	c := &catalog.Catalog{DB: m.DB}
	look := func(want ...string) {
		t.Helper()
		m.Project()
		p, err := c.Search(ctx, catalog.Query{Words: "指标"})
		m.Must(err)
		if got := titles(p); !slices.Equal(got, want) {
			t.Errorf("the shelf shows %v instead of %v", got, want)
		}
	}
	look("乙指标", "甲指标")
	turn := func(kind string, l *contractstest.Listing) {
		t.Helper()
		m.Must(m.Do(m.Venue.ID, kind, contracts.VersionTurn{Version: l.Version, Reason: "test"}, nil, m.Venue.Two()...))
	}
	m.Must(m.Advance(3600))
	turn("product.suspend", ls[0])
	look("乙指标")
	m.Must(m.Do(m.Provider.ID, "product.price", contracts.ProductPrice{Version: ls[1].Version, UnitPrice: 700_000}, nil, m.Provider.Two()...))
	turn("product.resume", ls[0])
	look("乙指标", "甲指标")
	p, err := c.Search(ctx, catalog.Query{Words: "乙指"})
	m.Must(err)
	if p.Listings[0].UnitPrice != 700_000 {
		t.Errorf("the price is %d", p.Listings[0].UnitPrice)
	}
	turn("product.delist", ls[1])
	look("甲指标")
	first := dump(m)
	m.Projector.Batch = 2
	m.Must(m.Projector.Rebuild(ctx))
	if dump(m) != first {
		t.Error("a rebuild in small batches gives another shelf")
	}
}

func TestVersionAndAttestations(t *testing.T) {
	m, ls := shelfOf(t, func(*contracts.Facts) {})
	c := &catalog.Catalog{DB: m.DB}
	for _, x := range []struct {
		who  string
		r    projection.Reader
		want int
	}{
		{"anybody", anybody, 0},
		{"the buyer", projection.Reader{Member: m.Buyer.ID}, 0},
		{"the law firm", projection.Reader{Member: m.LawFirm.ID}, 1},
		{"the provider", projection.Reader{Member: m.Provider.ID}, 3},
		{"the regulator", projection.Reader{Member: m.Regulator.ID, Supervises: true}, 3},
	} {
		v, err := c.Version(ctx, x.r, ls[0].Version)
		m.Must(err)
		if len(v.Attestations) != x.want || v.Value.State != contracts.Listed || v.Dataset == nil || v.Dataset.Value.Rows != 5850 {
			t.Errorf("%s sees %d attestations, state %s", x.who, len(v.Attestations), v.Value.State)
		}
	}
	if _, err := c.Version(ctx, anybody, m.Buyer.ID); !errors.Is(err, projection.ErrNotFound) {
		t.Errorf("a version that isn't there: %v", err)
	}
	mine, err := c.Versions(ctx, m.Provider.ID, "", contracts.Listed, projection.PageOf{})
	m.Must(err)
	other, err := c.Versions(ctx, m.Buyer.ID, "", "", projection.PageOf{})
	m.Must(err)
	if len(mine.Items) != 1 || len(other.Items) != 0 {
		t.Errorf("%d and %d versions", len(mine.Items), len(other.Items))
	}
}

func TestDocuments(t *testing.T) {
	db := pgtest.New(t)
	c := &catalog.Catalog{DB: db}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	owner, friend, stranger := contracts.ObjectID("a", "x"), contracts.ObjectID("b", "x"), contracts.ObjectID("c", "x")
	m := manual()
	digest, err := c.PutDocument(ctx, owner, &catalog.Document{Kind: catalog.ManualDocument, Content: canon.Marshal(m)})
	must(err)
	if digest != m.Digest() {
		t.Errorf("stored under %s, the manual's digest is %s", digest, m.Digest())
	}
	got, err := c.Manual(ctx, digest)
	must(err)
	if got.Digest() != digest {
		t.Error("another manual came back")
	}
	secret := func(audience ...contracts.ID) *catalog.Document {
		return &catalog.Document{Kind: catalog.OpinionDocument, ContentType: "text/plain", Content: []byte("法律意见"), Audience: audience}
	}
	digest, err = c.PutDocument(ctx, owner, secret(friend))
	must(err)
	reads := func(who string, r projection.Reader, want bool) {
		t.Helper()
		_, err := c.Document(ctx, r, digest)
		if (err == nil) != want || err != nil && !errors.Is(err, projection.ErrNotFound) {
			t.Errorf("%s reads: %v", who, err)
		}
	}
	reads("the owner", projection.Reader{Member: owner}, true)
	reads("a friend", projection.Reader{Member: friend}, true)
	reads("a stranger", projection.Reader{Member: stranger}, false)
	reads("nobody", anybody, false)
	reads("the regulator", projection.Reader{Member: stranger, Supervises: true}, true)
	// Who has the bytes may read them, and can't make them public.
	public := secret()
	_, err = c.PutDocument(ctx, stranger, public)
	must(err)
	reads("the stranger who stored it too", projection.Reader{Member: stranger}, true)
	reads("nobody, after a stranger published it", anybody, false)
	_, err = c.PutDocument(ctx, owner, public)
	must(err)
	reads("nobody, after the owner published it", anybody, true)
	db.MustExec(`UPDATE app.documents SET content = 'other' WHERE digest = $1`, string(digest))
	if _, err := c.Document(ctx, anybody, digest); err == nil || errors.Is(err, projection.ErrNotFound) {
		t.Errorf("an altered document: %v", err)
	}
	for field, d := range map[string]*catalog.Document{
		"kind":        {Kind: "song", ContentType: "text/plain", Content: []byte("x")},
		"content":     {Kind: catalog.OtherDocument, ContentType: "text/plain"},
		"contentType": {Kind: catalog.OtherDocument, Content: []byte("x")},
		"audience":    {Kind: catalog.OtherDocument, ContentType: "text/plain", Content: []byte("x"), Audience: []contracts.ID{"x"}},
	} {
		_, err := c.PutDocument(ctx, owner, d)
		var bad *catalog.BadDocument
		if !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := c.PutDocument(ctx, owner, &catalog.Document{Kind: catalog.ManualDocument, Content: []byte(`{"header":{}}`)}); err == nil {
		t.Error("a manual of nothing was stored")
	}
}
