package rest

import (
	"context"
	"encoding/json"

	"github.com/bund-exchange/bund/server/api"
)

func (h domainHandlers) Negotiations(ctx context.Context, req api.NegotiationsRequestObject) (api.NegotiationsResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	p, err := h.Book.Negotiations(ctx, r, asked(req.Params.Cursor, req.Params.Limit))
	if err != nil {
		return nil, err
	}
	return api.Negotiations200JSONResponse{RecordsJSONResponse: pageOf(ctx, p)}, nil
}

func (h domainHandlers) Negotiation(ctx context.Context, req api.NegotiationRequestObject) (api.NegotiationResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	n, err := h.Book.Negotiation(ctx, r, req.Id)
	if err != nil {
		return nil, err
	}
	return api.Negotiation200JSONResponse{RecordJSONResponse: api.RecordJSONResponse(recordOf(*n))}, nil
}

func (h domainHandlers) DraftContract(ctx context.Context, req api.DraftContractRequestObject) (api.DraftContractResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	c, err := h.Book.Draft(ctx, r, req.Id)
	if err != nil {
		return nil, err
	}
	return api.DraftContract200JSONResponse{Text: c.Text, TextDigest: c.TextDigest, Digest: c.Digest}, nil
}

func (h domainHandlers) Agreements(ctx context.Context, req api.AgreementsRequestObject) (api.AgreementsResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	p, err := h.Book.Agreements(ctx, r, asked(req.Params.Cursor, req.Params.Limit))
	if err != nil {
		return nil, err
	}
	return api.Agreements200JSONResponse{RecordsJSONResponse: pageOf(ctx, p)}, nil
}

func (h domainHandlers) Models(ctx context.Context, req api.ModelsRequestObject) (api.ModelsResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	p, err := h.Book.Models(ctx, r, asked(req.Params.Cursor, req.Params.Limit))
	if err != nil {
		return nil, err
	}
	return api.Models200JSONResponse{RecordsJSONResponse: pageOf(ctx, p)}, nil
}

func (h domainHandlers) Statistics(ctx context.Context, req api.StatisticsRequestObject) (api.StatisticsResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	p, err := h.Book.Statistics(ctx, r, asked(req.Params.Cursor, req.Params.Limit))
	if err != nil {
		return nil, err
	}
	return api.Statistics200JSONResponse{RecordsJSONResponse: pageOf(ctx, p)}, nil
}

func (h domainHandlers) Agreement(ctx context.Context, req api.AgreementRequestObject) (api.AgreementResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	a, rel, err := h.Book.Agreement(ctx, r, req.Id)
	if err != nil {
		return nil, err
	}
	return api.Agreement200JSONResponse{RecordJSONResponse: api.RecordJSONResponse(related(recordOf(*a), rel))}, nil
}

func (h domainHandlers) Statement(ctx context.Context, req api.StatementRequestObject) (api.StatementResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	ss, err := h.Book.Statement(ctx, r, req.Id)
	if err != nil {
		return nil, err
	}
	page := api.RecordPage{Items: make([]api.Record, len(ss))}
	for i, s := range ss {
		page.Items[i] = recordOf(s.Record)
		if s.Value != nil {
			page.Items[i] = related(page.Items[i], map[string]json.RawMessage{"value": s.Value})
		}
	}
	return api.Statement200JSONResponse{RecordsJSONResponse: api.RecordsJSONResponse{Body: page}}, nil
}

func (h domainHandlers) Certificates(ctx context.Context, req api.CertificatesRequestObject) (api.CertificatesResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	cs, err := h.Book.Certificates(ctx, r, req.Id)
	if err != nil {
		return nil, err
	}
	return api.Certificates200JSONResponse{RecordsJSONResponse: api.RecordsJSONResponse{Body: api.RecordPage{Items: recordsOf(cs)}}}, nil
}
