package trading

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/server/projection"
)

// Book is what parties, the venue and regulators read of trades. To others a trade does not exist.
type Book struct {
	DB       *sqlx.DB
	Openings Openings
}

const columns = `SELECT id, position, record FROM `

// Negotiations lists the reader's negotiations; who supervises sees all.
func (b *Book) Negotiations(ctx context.Context, r projection.Reader, p projection.PageOf) (*projection.Page[contracts.Negotiation], error) {
	return projection.SelectPage[contracts.Negotiation](ctx, b.DB, p, `proj.negotiations WHERE ($1 OR buyer = $2 OR provider = $2)`, r.Supervises, string(r.Member))
}

// Negotiation gives one.
func (b *Book) Negotiation(ctx context.Context, r projection.Reader, id contracts.ID) (*projection.Record[contracts.Negotiation], error) {
	n, err := projection.One[contracts.Negotiation](ctx, b.DB, columns+`proj.negotiations WHERE id = $1`, string(id))
	if err != nil {
		return nil, err
	}
	if !r.May(n.Value.Buyer, n.Value.Provider) {
		return nil, projection.ErrNotFound
	}
	return n, nil
}

// Contract is a contract's text with the digests that are signed.
type Contract struct {
	Text       string
	TextDigest contracts.Hash // what agreement.propose signs
	Digest     contracts.Hash // what agreement.verify signs
}

// Draft renders the contract that a negotiation's last offer makes, by the rules in force. It is a courtesy: the ledger
// renders it again and refuses another one.
func (b *Book) Draft(ctx context.Context, r projection.Reader, id contracts.ID) (*Contract, error) {
	n, err := b.Negotiation(ctx, r, id)
	if err != nil {
		return nil, err
	}
	m, err := projection.ReadMarket(ctx, b.DB)
	if err != nil {
		return nil, err
	}
	var in contracts.ContractInput
	in.Rules, in.Scenario, in.Kind, in.Offer = m.Rules, n.Value.Scenario, n.Value.Kind, &n.Value.Offer
	for _, x := range []struct {
		to **contracts.Member
		id contracts.ID
	}{{&in.Provider, n.Value.Provider}, {&in.Buyer, n.Value.Buyer}} {
		rec, err := projection.One[contracts.Member](ctx, b.DB, columns+`proj.members WHERE id = $1`, string(x.id))
		if err != nil {
			return nil, err
		}
		*x.to = rec.Value
	}
	v, err := projection.One[contracts.Version](ctx, b.DB, columns+`proj.versions WHERE id = $1`, string(n.Value.Version))
	if err != nil {
		return nil, err
	}
	in.Version = v.Value
	k, err := b.Openings.Get(ctx, r, n.Value.Offer.Terms)
	if err != nil {
		return nil, err
	}
	in.Terms = new(contracts.Terms)
	if err := canon.Unmarshal(k.Opening.Value, in.Terms); err != nil {
		return nil, err
	}
	text := contracts.RenderContract(in)
	c := &Contract{Text: string(text), TextDigest: contracts.TextDigest(k.Opening.Salt, text)}
	c.Digest = contracts.AgreementDigest(n.Value.Offer.Terms, c.TextDigest)
	return c, nil
}

// Agreements lists the reader's agreements.
func (b *Book) Agreements(ctx context.Context, r projection.Reader, p projection.PageOf) (*projection.Page[contracts.Agreement], error) {
	return projection.SelectPage[contracts.Agreement](ctx, b.DB, p, `proj.agreements WHERE ($1 OR buyer = $2 OR provider = $2)`, r.Supervises, string(r.Member))
}

// Models lists the models that the reader owns, computes with or is asked to attest.
func (b *Book) Models(ctx context.Context, r projection.Reader, p projection.PageOf) (*projection.Page[contracts.Model], error) {
	return projection.SelectPage[contracts.Model](ctx, b.DB, p,
		`proj.models WHERE ($1 OR assessor = $2 OR agreement IN (SELECT a.id FROM proj.agreements a WHERE a.buyer = $2 OR a.provider = $2))`, r.Supervises, string(r.Member))
}

// Statistics lists the joint statistics that the reader is in.
func (b *Book) Statistics(ctx context.Context, r projection.Reader, p projection.PageOf) (*projection.Page[contracts.StatisticsTask], error) {
	return projection.SelectPage[contracts.StatisticsTask](ctx, b.DB, p,
		`proj.statistics WHERE ($1 OR strpos(parties, $2) > 0 OR EXISTS (SELECT 1 FROM proj.nodes n WHERE n.member = $2 AND strpos(parties, n.id) > 0))`, r.Supervises, string(r.Member))
}

// parties lists who is in a task: members, and the nodes that aggregate.
func parties(s *contracts.StatisticsTask) string {
	out := string(s.Collector)
	for _, ids := range [][]contracts.ID{s.Aggregators, s.Contributors} {
		for _, id := range ids {
			out += " " + string(id)
		}
	}
	return out
}

// Related are the records that hang on an agreement, by noun, in canonical JSON.
type Related map[string]json.RawMessage

// Agreement gives one with its grant, usage, escrow, periods and the rest.
func (b *Book) Agreement(ctx context.Context, r projection.Reader, id contracts.ID) (*projection.Record[contracts.Agreement], Related, error) {
	a, err := b.party(ctx, r, id)
	if err != nil {
		return nil, nil, err
	}
	rel := Related{}
	for noun, table := range map[string]string{"grant": "grants", "usage": "usages", "escrow": "escrows", "debt": "debts", "settled": "settled", "dispute": "disputes"} {
		x, err := projection.One[canon.Raw](ctx, b.DB, columns+`proj.`+table+` WHERE id = $1`, string(id))
		if errors.Is(err, projection.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		rel[noun] = x.JSON
	}
	ps, err := projection.Select[canon.Raw](ctx, b.DB, columns+`proj.periods WHERE agreement = $1 ORDER BY number`, string(id))
	if err != nil {
		return nil, nil, err
	}
	rel["periods"] = list(ps)
	ms, err := projection.Select[canon.Raw](ctx, b.DB, columns+`proj.models WHERE agreement = $1 ORDER BY position, id`, string(id))
	if err != nil {
		return nil, nil, err
	}
	if len(ms) > 0 {
		rel["models"] = list(ms)
	}
	return a, rel, nil
}

func list(rs []projection.Record[canon.Raw]) json.RawMessage {
	out := []byte{'['}
	for i, r := range rs {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, r.JSON...)
	}
	return append(out, ']')
}

// party gives an agreement to its parties and to who supervises.
func (b *Book) party(ctx context.Context, r projection.Reader, id contracts.ID) (*projection.Record[contracts.Agreement], error) {
	a, err := projection.One[contracts.Agreement](ctx, b.DB, columns+`proj.agreements WHERE id = $1`, string(id))
	if err != nil {
		return nil, err
	}
	if !r.May(a.Value.Buyer, a.Value.Provider) {
		return nil, projection.ErrNotFound
	}
	return a, nil
}

// Settled is a settlement with its opened value.
type Settled struct {
	projection.Record[contracts.Settlement]
	Value json.RawMessage // contracts.SettlementValue; nil when its opening was erased
}

// Statement lists an agreement's settlements with their postings.
func (b *Book) Statement(ctx context.Context, r projection.Reader, id contracts.ID) ([]Settled, error) {
	if _, err := b.party(ctx, r, id); err != nil {
		return nil, err
	}
	rs, err := projection.Select[contracts.Settlement](ctx, b.DB, columns+`proj.settlements WHERE agreement = $1 ORDER BY id`, string(id))
	if err != nil {
		return nil, err
	}
	out := make([]Settled, len(rs))
	for i, s := range rs {
		out[i].Record = s
		k, err := b.Openings.Get(ctx, r, s.Value.Value)
		if errors.Is(err, projection.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[i].Value = k.Opening.Value
	}
	return out, nil
}

// Certificates lists an agreement's trade certificates.
func (b *Book) Certificates(ctx context.Context, r projection.Reader, id contracts.ID) ([]projection.Record[contracts.Certificate], error) {
	if _, err := b.party(ctx, r, id); err != nil {
		return nil, err
	}
	return projection.Select[contracts.Certificate](ctx, b.DB, columns+`proj.certificates WHERE agreement = $1 ORDER BY id`, string(id))
}
