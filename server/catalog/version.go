package catalog

import (
	"context"
	"errors"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// Version is a product version with what belongs to it. All but its attestations is public.
type Version struct {
	projection.Record[contracts.Version]
	Product      projection.Record[contracts.Product]
	Dataset      *projection.Record[contracts.Dataset]     // nil before the provider's node has reported
	Lookup       *projection.Record[contracts.LookupTable] // nil without private lookups
	Objections   []projection.Record[contracts.Objection]
	Attestations []projection.Record[contracts.Attestation] // those that the reader may see
}

// Version gives a version of any state: what happens to a product on its way to the shelf is public.
func (c *Catalog) Version(ctx context.Context, r projection.Reader, id contracts.ID) (*Version, error) {
	v, err := projection.One[contracts.Version](ctx, c.DB, `SELECT id, position, record FROM proj.versions WHERE id = $1`, string(id))
	if err != nil {
		return nil, err
	}
	out := &Version{Record: *v}
	p, err := projection.One[contracts.Product](ctx, c.DB, `SELECT id, position, record FROM proj.products WHERE id = $1`, string(v.Value.Product))
	if err != nil {
		return nil, err
	}
	out.Product = *p
	out.Dataset, err = projection.One[contracts.Dataset](ctx, c.DB, `SELECT id, position, record FROM proj.datasets WHERE id = $1`, string(id))
	if err != nil && !errors.Is(err, projection.ErrNotFound) {
		return nil, err
	}
	out.Lookup, err = projection.One[contracts.LookupTable](ctx, c.DB, `SELECT id, position, record FROM proj.lookups WHERE id = $1`, string(id))
	if err != nil && !errors.Is(err, projection.ErrNotFound) {
		return nil, err
	}
	out.Objections, err = projection.Select[contracts.Objection](ctx, c.DB,
		`SELECT id, position, record FROM proj.objections WHERE version = $1 ORDER BY position, id`, string(id))
	if err != nil {
		return nil, err
	}
	all, err := projection.Select[contracts.Attestation](ctx, c.DB,
		`SELECT id, position, record FROM proj.attestations WHERE version = $1 ORDER BY position, id`, string(id))
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if r.May(a.Value.By, p.Value.Provider) {
			out.Attestations = append(out.Attestations, a)
		}
	}
	return out, nil
}

// Versions lists versions, by provider, product and state where these are not empty.
func (c *Catalog) Versions(ctx context.Context, provider, product contracts.ID, state contracts.VersionState, p projection.PageOf) (*projection.Page[contracts.Version], error) {
	const from = `proj.versions
 WHERE ($1 = '' OR product IN (SELECT p.id FROM proj.products p WHERE p.provider = $1)) AND ($2 = '' OR product = $2) AND ($3 = '' OR state = $3)`
	return projection.SelectPage[contracts.Version](ctx, c.DB, p, from, string(provider), string(product), string(state))
}
