package catalog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// Facet is a property that a search can be narrowed by.
type Facet string

const (
	ByScenario Facet = "scenario" // code of the rulebook
	ByMode     Facet = "mode"     // how answers leave the owner's node
	ByGrade    Facet = "grade"
	BySource   Facet = "source"
	ByProvider Facet = "provider" // member id
	ByPrice    Facet = "price"    // "call", "month", "both", "negotiable"
	ByCredit   Facet = "credit"   // "yes" when it is credit information
)

// Facets are all of them, in the order in which screens show them.
var Facets = []Facet{ByScenario, ByMode, ByGrade, BySource, ByPrice, ByCredit, ByProvider}

// tag is a facet with its value. No word of a text contains "=".
type tag struct {
	facet Facet
	value string
}

func (t tag) term() string { return string(t.facet) + "=" + t.value }

func tagsOf(f *contracts.Facts, provider contracts.ID) (tags []tag) {
	for _, s := range f.Scenarios {
		tags = append(tags, tag{ByScenario, s})
	}
	for _, m := range f.Modes {
		tags = append(tags, tag{ByMode, string(m)})
	}
	credit := "no"
	if f.CreditInfo {
		credit = "yes"
	}
	return append(tags, tag{ByGrade, string(f.Grade)}, tag{BySource, string(f.Source)}, tag{ByProvider, string(provider)},
		tag{ByPrice, priceModel(f)}, tag{ByCredit, credit})
}

// tagTerms gives the index terms of tags: each, and each pair of those that are often chosen together. A facet alone is
// common, and reading two long lists to keep what stands in both takes most of a search's time; a pair has a shorter
// list of its own.
func tagTerms(tags []tag) (terms []string) {
	for i, t := range tags {
		terms = append(terms, t.term())
		for _, o := range tags[:i] {
			if paired(o.facet) && paired(t.facet) && o.facet != t.facet {
				terms = append(terms, pairTerm(o, t))
			}
		}
	}
	return terms
}

func paired(f Facet) bool { return f == ByScenario || f == ByMode || f == ByGrade || f == BySource }

func pairTerm(a, b tag) string {
	if b.facet < a.facet {
		a, b = b, a
	}
	return a.term() + "&" + b.term()
}

// tagLookup gives the fewest terms that all tags of a query are looked up by. The query names a facet once.
func tagLookup(tags []tag) (terms []string) {
	slices.SortFunc(tags, func(a, b tag) int { return strings.Compare(string(a.facet), string(b.facet)) })
	var half *tag
	for i, t := range tags {
		switch {
		case !paired(t.facet):
			terms = append(terms, t.term())
		case half == nil:
			half = &tags[i]
		default:
			terms = append(terms, pairTerm(*half, t))
			half = nil
		}
	}
	if half != nil {
		terms = append(terms, half.term())
	}
	return terms
}

func priceModel(f *contracts.Facts) string {
	switch {
	case f.UnitPrice > 0 && f.FlatFee > 0:
		return "both"
	case f.UnitPrice > 0:
		return "call"
	case f.FlatFee > 0:
		return "month"
	}
	return "negotiable"
}

// name turns counts by code into counts by value, of these facets. What a code means never changes, so it is read once.
func (c *Catalog) name(ctx context.Context, by []Facet, counts map[int64]int64) (map[Facet]map[string]int64, error) {
	var unknown []string
	for code := range counts {
		if _, ok := c.tags.Load(code); !ok {
			unknown = append(unknown, strconv.FormatInt(code, 10))
		}
	}
	if len(unknown) > 0 {
		var rows []struct {
			Code  int64  `db:"code"`
			Facet Facet  `db:"facet"`
			Value string `db:"value"`
		}
		const read = `SELECT code, facet, value FROM proj.facets WHERE code = ANY($1::bigint[])`
		if err := sqlx.SelectContext(ctx, c.DB, &rows, read, projection.Array(unknown)); err != nil {
			return nil, fmt.Errorf("couldn't read the facets' names: %w", err)
		}
		for _, r := range rows {
			c.tags.Store(r.Code, tag{r.Facet, r.Value})
		}
	}
	out := map[Facet]map[string]int64{}
	for _, facet := range by {
		out[facet] = map[string]int64{}
	}
	for code, n := range counts {
		if t, ok := c.tags.Load(code); ok && out[t.(tag).facet] != nil {
			out[t.(tag).facet][t.(tag).value] = n
		}
	}
	return out, nil
}
