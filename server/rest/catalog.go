package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/identity"
)

// shownFacets are counted with every search.
var shownFacets = []catalog.Facet{catalog.ByScenario, catalog.ByMode, catalog.ByGrade, catalog.BySource}

func (h domainHandlers) SearchProducts(ctx context.Context, req api.SearchProductsRequestObject) (api.SearchProductsResponseObject, error) {
	p := req.Params
	q := catalog.Query{Words: value(p.Q), After: value(p.Cursor), Limit: value(p.Limit), Count: shownFacets, Select: map[catalog.Facet]string{}}
	for f, v := range map[catalog.Facet]string{catalog.ByScenario: value(p.Scenario), catalog.ByMode: value(p.Mode), catalog.ByGrade: string(value(p.Grade)),
		catalog.BySource: string(value(p.Source)), catalog.ByProvider: string(value(p.Provider))} {
		if v != "" {
			q.Select[f] = v
		}
	}
	page, err := h.Catalog.Search(ctx, q)
	if err != nil {
		return nil, err
	}
	next, link := nextPage(ctx, page.Next)
	out := api.ProductPage{Items: make([]api.Product, len(page.Listings)), Facets: []api.Facet{}, Next: next}
	for i, l := range page.Listings {
		out.Items[i] = productOf(l)
	}
	for _, f := range shownFacets {
		x := api.Facet{Name: string(f)}
		x.Values = []struct {
			Count int64  `json:"count"`
			Value string `json:"value"`
		}{} // a list without values is a list
		for v, n := range page.Counts[f] {
			x.Values = append(x.Values, struct {
				Count int64  `json:"count"`
				Value string `json:"value"`
			}{n, v})
		}
		sortCounts(x.Values)
		out.Facets = append(out.Facets, x)
	}
	return api.SearchProducts200JSONResponse{Body: out, Headers: api.SearchProducts200ResponseHeaders{Link: link}}, nil
}

func sortCounts(vs []struct {
	Count int64  `json:"count"`
	Value string `json:"value"`
}) {
	for i := range vs {
		for j := i; j > 0 && (vs[j].Count > vs[j-1].Count || vs[j].Count == vs[j-1].Count && vs[j].Value < vs[j-1].Value); j-- {
			vs[j], vs[j-1] = vs[j-1], vs[j]
		}
	}
}

func productOf(l catalog.Listing) api.Product {
	p := api.Product{Version: l.Version, Product: l.Product, Provider: l.Provider, ProviderName: l.ProviderName, Number: l.Number, Title: l.Title, TitleEn: l.TitleEn,
		Grade: string(l.Grade), Source: string(l.Source), Scenarios: l.Scenarios, CreditInfo: l.CreditInfo, Modes: []string{},
		UnitPrice: strconv.FormatInt(int64(l.UnitPrice), 10), FlatFee: strconv.FormatInt(int64(l.FlatFee), 10), Certificate: l.Certificate, ListedAt: int64(l.ListedAt)}
	for _, m := range l.Modes {
		p.Modes = append(p.Modes, string(m))
	}
	return p
}

func (h domainHandlers) Version(ctx context.Context, req api.VersionRequestObject) (api.VersionResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	v, err := h.Catalog.Version(ctx, r, req.Id)
	if err != nil {
		return nil, err
	}
	rel := map[string]json.RawMessage{"product": v.Product.JSON}
	if v.Dataset != nil {
		rel["dataset"] = v.Dataset.JSON
	}
	if v.Lookup != nil {
		rel["lookup"] = v.Lookup.JSON
	}
	if len(v.Objections) > 0 {
		rel["objections"] = raw(recordsOf(v.Objections))
	}
	if len(v.Attestations) > 0 {
		rel["attestations"] = raw(recordsOf(v.Attestations))
	}
	return api.Version200JSONResponse{RecordJSONResponse: api.RecordJSONResponse(related(recordOf(v.Record), rel))}, nil
}

func (h domainHandlers) PutDocument(ctx context.Context, req api.PutDocumentRequestObject) (api.PutDocumentResponseObject, error) {
	c, _ := identity.CallerOf(ctx) // the document wants one
	d := &catalog.Document{Kind: catalog.Kind(req.Body.Kind), ContentType: "text/plain; charset=utf-8", Content: []byte(req.Body.Content)}
	if d.Kind == catalog.ManualDocument || d.Kind == catalog.DictionaryDocument {
		d.ContentType = "application/json"
	}
	if req.Body.Audience != nil {
		d.Audience = append([]contracts.ID(nil), *req.Body.Audience...)
	}
	digest, err := h.Catalog.PutDocument(ctx, c.Member, d)
	if err != nil {
		return nil, err
	}
	return api.PutDocument201JSONResponse{Digest: digest}, nil
}

func (h domainHandlers) Document(ctx context.Context, req api.DocumentRequestObject) (api.DocumentResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	d, err := h.Catalog.Document(ctx, r, req.Digest)
	if err != nil {
		return nil, err
	}
	return api.Document200ApplicationoctetStreamResponse{Body: bytes.NewReader(d.Content), ContentLength: int64(len(d.Content))}, nil
}
