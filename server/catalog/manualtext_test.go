package catalog_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/projection"
)

// A manual's text is searched, whenever it came: after its product was listed, and after the projection was made anew,
// which is the same with it as without.
func TestManualTextIsSearched(t *testing.T) {
	early, late := manual(), manual()
	early.Header.Title = catalog.Text{Zh: "早到的说明书", En: "early"}
	late.Header.Title = catalog.Text{Zh: "迟到的说明书", En: "late"}
	late.Cases = []catalog.Text{{Zh: "绿色信贷尽职调查", En: "due diligence of green loans"}}
	describe := func(m *catalog.Manual) func(*contracts.Facts) {
		return func(f *contracts.Facts) {
			f.Title, f.TitleEn, f.Manual = m.Header.Title.Zh, m.Header.Title.En, m.Digest()
		}
	}
	m, _ := shelfOf(t, describe(early), describe(late), func(f *contracts.Facts) { f.Title, f.Grade = "绿色电力", "L2" })
	c := &catalog.Catalog{DB: m.DB}
	find := func(q catalog.Query, want ...string) {
		t.Helper()
		p, err := c.Search(ctx, q)
		m.Must(err)
		if got := titles(p); !slices.Equal(got, want) {
			t.Errorf("%+v finds %v, want %v", q, got, want)
		}
	}
	put := func(x *catalog.Manual) {
		_, err := c.PutDocument(ctx, m.Provider.ID, &catalog.Document{Kind: catalog.ManualDocument, Content: canon.Marshal(x)})
		m.Must(err)
	}
	put(early)
	find(catalog.Query{Words: "红冲"}, "早到的说明书")
	find(catalog.Query{Words: "信贷"})
	put(late)
	put(late) // twice is once
	dump := func() string {
		var b bytes.Buffer
		m.Must(projection.Dump(ctx, m.DB, "proj", &b))
		return b.String()
	}
	before := dump()
	for range 2 {
		find(catalog.Query{Words: "红冲"}, "迟到的说明书", "早到的说明书")
		find(catalog.Query{Words: "信贷"}, "迟到的说明书")
		find(catalog.Query{Words: "绿色"}, "绿色电力") // the shelf has the word
		find(catalog.Query{Words: "绿色", Select: map[catalog.Facet]string{catalog.ByGrade: "L3"}})
		find(catalog.Query{Words: "红冲", Select: map[catalog.Facet]string{catalog.ByGrade: "L3"}}, "迟到的说明书", "早到的说明书")
		find(catalog.Query{Words: "红冲", Select: map[catalog.Facet]string{catalog.ByGrade: "L2"}})
		find(catalog.Query{Words: "绿色信贷尽职 diligence"}, "迟到的说明书")
		find(catalog.Query{Words: "信贷绿色"})                   // both pairs are there, not side by side
		find(catalog.Query{Words: "说明"}, "迟到的说明书", "早到的说明书") // on the shelf
		// Pages go over manuals as over the shelf.
		var seen []string
		for after := ""; ; {
			p, err := c.Search(ctx, catalog.Query{Words: "红冲", Limit: 1, After: after, Count: []catalog.Facet{catalog.ByGrade}})
			m.Must(err)
			if after == "" && (p.Counted != 2 || p.Counts[catalog.ByGrade]["L3"] != 2) {
				t.Errorf("counted %d: %v", p.Counted, p.Counts)
			}
			seen = append(seen, titles(p)...)
			if after = p.Next; after == "" {
				break
			}
		}
		if !slices.Equal(seen, []string{"迟到的说明书", "早到的说明书"}) {
			t.Errorf("pages show %v", seen)
		}
		for _, n := range nodes(t, explain(t, m.DB, catalog.Query{Words: "绿色信贷", Select: map[catalog.Facet]string{catalog.ByGrade: "L3"}})) {
			if n == "Seq Scan " {
				t.Error("a whole table is read")
			}
		}
		m.Must(m.Projector.Rebuild(ctx))
		if after := dump(); after != before {
			t.Error("the projection made anew differs")
		}
	}
	// Manuals that a program without the index stored are indexed at the start.
	m.DB.MustExec(`DELETE FROM app.manual_texts`)
	find(catalog.Query{Words: "信贷"})
	m.Must(c.IndexManuals(ctx))
	m.Must(c.IndexManuals(ctx))
	find(catalog.Query{Words: "信贷"}, "迟到的说明书")
}
