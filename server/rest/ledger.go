package rest

import (
	"context"
	"encoding/hex"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/projection"
)

func (h domainHandlers) LedgerInfo(ctx context.Context, _ api.LedgerInfoRequestObject) (api.LedgerInfoResponseObject, error) {
	m, err := projection.ReadMarket(ctx, h.DB)
	if err != nil {
		return nil, err
	}
	height, err := h.Ledger.Height(ctx)
	if err != nil {
		return nil, err
	}
	now, err := m.Now(h.wall())
	if err != nil {
		return nil, err
	}
	scripted, err := contracts.Scripted(m)
	if err != nil {
		return nil, err
	}
	out := api.LedgerInfo200JSONResponse{Ledger: h.LedgerID, Height: int64(height), Now: int64(now), Scripted: scripted, Venue: string(m.Venue), Rulebook: []byte("null")}
	if m.Rules != nil {
		out.Rulebook = canon.Marshal(m.Rules)
	}
	if p := Event(ctx).Position; p != nil {
		out.Projected = int64(*p) + 1
	}
	return out, nil
}

func (h domainHandlers) Opening(ctx context.Context, req api.OpeningRequestObject) (api.OpeningResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	k, err := h.Openings.Get(ctx, r, req.Commitment)
	if err != nil {
		return nil, err
	}
	return api.Opening200JSONResponse{Tag: k.Tag, Commitment: k.Commitment, Salt: hex.EncodeToString(k.Opening.Salt[:]), Value: string(k.Opening.Value)}, nil
}

// Proof gives an entry's proof file to whoever may read the entry.
func (h domainHandlers) Proof(ctx context.Context, req api.ProofRequestObject) (api.ProofResponseObject, error) {
	r, err := h.reader(ctx)
	if err != nil {
		return nil, err
	}
	es, err := h.Ledger.Entries(ctx, uint64(req.Position), 1)
	if err != nil {
		return nil, err
	}
	if len(es) == 0 || !r.Supervises && !publish.InAudience(r.Member, es[0].Entry) {
		return nil, errNotFound
	}
	p, err := h.Proofs.Proof(ctx, uint64(req.Position))
	if err != nil {
		return nil, errBehind // the log has not published it yet
	}
	p.Extra = es[0].Encoded
	return api.Proof200TextResponse(p.Marshal()), nil
}

func (h domainHandlers) Members(ctx context.Context, req api.MembersRequestObject) (api.MembersResponseObject, error) {
	p, err := projection.SelectPage[contracts.Member](ctx, h.DB, asked(req.Params.Cursor, req.Params.Limit), `proj.members WHERE ($1 = '' OR $1 = ANY (roles))`, value(req.Params.Role))
	if err != nil {
		return nil, err
	}
	return api.Members200JSONResponse{RecordsJSONResponse: pageOf(ctx, p)}, nil
}

func (h domainHandlers) Member(ctx context.Context, req api.MemberRequestObject) (api.MemberResponseObject, error) {
	m, err := projection.One[contracts.Member](ctx, h.DB, `SELECT id, position, record FROM proj.members WHERE id = $1`, string(req.Id))
	if err != nil {
		return nil, err
	}
	return api.Member200JSONResponse{RecordJSONResponse: api.RecordJSONResponse(recordOf(*m))}, nil
}
