package rest

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/compliance"
	"github.com/bund-exchange/bund/server/identity"
)

// minReason is in characters: what the document asks for, not counting white space.
const minReason = 2

// supervise lets regulators through, after what they are about to read was recorded.
func (h domainHandlers) supervise(ctx context.Context, what, reason string) (contracts.ID, error) {
	c, _ := identity.CallerOf(ctx) // the document wants one
	s, err := h.identity.Standing(ctx, c.Member, c.Person)
	if err != nil {
		return "", err
	}
	if !s.Has(contracts.RoleRegulator) {
		return "", errForbidden
	}
	if utf8.RuneCountInString(strings.TrimSpace(reason)) < minReason {
		return "", newInvalid([]api.FieldError{{Field: "reason", Detail: "say why"}})
	}
	return c.Member, h.Reads.Record(ctx, c.Member, c.Person, what, reason)
}

func (h domainHandlers) Entries(ctx context.Context, req api.EntriesRequestObject) (api.EntriesResponseObject, error) {
	p := req.Params
	q := compliance.Query{Kind: value(p.Kind), Member: value(p.Member), After: value(p.Cursor), Limit: value(p.Limit)}
	if _, err := h.supervise(ctx, fmt.Sprintf("entries kind=%q member=%q after=%q", q.Kind, q.Member, q.After), p.Reason); err != nil {
		return nil, err
	}
	es, cursor, err := compliance.Entries(ctx, h.DB, q)
	if err != nil {
		return nil, err
	}
	next, link := nextPage(ctx, cursor)
	page := api.RecordPage{Items: make([]api.Record, len(es)), Next: next}
	for i, e := range es {
		position := e.Position
		page.Items[i] = api.Record{Id: e.Command, Position: &position, Record: raw(e)}
	}
	return api.Entries200JSONResponse{RecordsJSONResponse: api.RecordsJSONResponse{Body: page, Headers: api.RecordsResponseHeaders{Link: link}}}, nil
}

func (h domainHandlers) Export(ctx context.Context, req api.ExportRequestObject) (api.ExportResponseObject, error) {
	openings := value(req.Body.Openings)
	member, err := h.supervise(ctx, fmt.Sprintf("export openings=%v", openings), req.Body.Reason)
	if err != nil {
		return nil, err
	}
	z, size, err := h.Exporter.Zip(ctx, string(member), req.Body.Reason, openings)
	if err != nil {
		return nil, err
	}
	return api.Export200ApplicationzipResponse{Body: z, ContentLength: size}, nil
}

func (h domainHandlers) ReadsChain(ctx context.Context, req api.ReadsChainRequestObject) (api.ReadsChainResponseObject, error) {
	if _, err := h.supervise(ctx, "reads chain", req.Params.Reason); err != nil {
		return nil, err
	}
	c, err := h.Reads.Chain(ctx)
	if err != nil {
		return nil, err
	}
	out := api.ReadsChain200JSONResponse{Count: c.Count, Head: string(c.Head), Whole: c.Broken == ""}
	if c.Broken != "" {
		out.Detail = &c.Broken
	}
	if a := c.Anchor; a != nil {
		out.Anchor = &api.ReadsAnchor{Count: a.Count, Head: a.Head, Position: int64(a.Position), Time: int64(a.Time)}
	}
	return out, nil
}
