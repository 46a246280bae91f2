package rest

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/compliance"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/trading"
)

// Domain are the capabilities behind the market's own tags.
type Domain struct {
	LedgerID string
	DB       *sqlx.DB
	Ledger   ledger.Ledger
	Proofs   interface {
		Proof(ctx context.Context, index uint64) (publish.Proof, error)
	}
	Catalog  *catalog.Catalog
	Book     *trading.Book
	Openings trading.Openings
	Reads    *compliance.Reads
	Exporter *compliance.Exporter
	Now      func() time.Time
}

// domainHandlers serve the tags ledger, members, catalog, trading and supervision.
type domainHandlers struct {
	Domain
	identity *identity.Directory
}

// reader is on whose behalf a request reads; nobody reads what is public.
func (h domainHandlers) reader(ctx context.Context) (projection.Reader, error) {
	c, ok := identity.CallerOf(ctx)
	if !ok {
		return projection.Reader{}, nil
	}
	s, err := h.identity.Standing(ctx, c.Member, c.Person)
	return projection.Reader{Member: c.Member, Supervises: s.Supervises()}, err
}

func recordOf[T any](r projection.Record[T]) api.Record {
	position := int64(r.Position)
	return api.Record{Id: r.ID, Position: &position, Record: r.JSON}
}

func related(r api.Record, m map[string]json.RawMessage) api.Record {
	if len(m) > 0 {
		r.Related = &m
	}
	return r
}

func recordsOf[T any](rs []projection.Record[T]) []api.Record {
	out := make([]api.Record, len(rs))
	for i, r := range rs {
		out[i] = recordOf(r)
	}
	return out
}

func pageOf[T any](ctx context.Context, p *projection.Page[T]) api.RecordsJSONResponse {
	next, link := nextPage(ctx, p.Next)
	return api.RecordsJSONResponse{Body: api.RecordPage{Items: recordsOf(p.Items), Next: next}, Headers: api.RecordsResponseHeaders{Link: link}}
}

func asked(cursor *string, limit *int) projection.PageOf {
	p := projection.PageOf{Limit: 50}
	if cursor != nil {
		p.After = *cursor
	}
	if limit != nil {
		p.Limit = *limit
	}
	return p
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

func (h domainHandlers) wall() contracts.Millis { return contracts.Millis(h.Now().UnixMilli()) }
