// Package trading is the market's desk: commands on their way to the ledger, the openings of private values, and what
// the parties of a negotiation or an agreement may read of it.
package trading

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/projection"
)

// Openings keeps private values for their audience. It is what the ledger waits for before it writes an entry.
type Openings struct{ DB *sqlx.DB }

var _ ledger.Openings = Openings{}

// Put makes openings durable, in one statement however many there are. An opening that comes again, with another
// command, widens the audience to that command's: whoever takes part in a later step may read what it rests on.
func (o Openings) Put(ctx context.Context, os []ledger.Opening) error {
	if len(os) == 0 {
		return nil
	}
	rows := map[contracts.Hash]ledger.Opening{}
	for _, x := range os { // one statement touches a row once
		if had, ok := rows[x.Commitment]; ok {
			x.Audience = union(had.Audience, x.Audience)
			x.Command = had.Command
		}
		rows[x.Commitment] = x
	}
	var commitments, tags, commands, audiences, salts, values []string
	for c, x := range rows {
		commitments, tags, commands = append(commitments, string(c)), append(tags, x.Tag), append(commands, string(x.Command))
		salts, values = append(salts, hex.EncodeToString(x.Opening.Salt[:])), append(values, hex.EncodeToString(x.Opening.Value))
		ids := make([]string, len(x.Audience))
		for i, id := range x.Audience {
			ids[i] = string(id)
		}
		audiences = append(audiences, strings.Join(ids, ","))
	}
	_, err := o.DB.ExecContext(ctx, `
		INSERT INTO app.openings (commitment, tag, salt, value, audience, command)
		SELECT commitment, tag, decode(salt, 'hex'), decode(value, 'hex'), string_to_array(audience, ','), command
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS t (commitment, tag, salt, value, audience, command)
		ON CONFLICT (commitment) DO UPDATE SET audience = (
			SELECT coalesce(array_agg(DISTINCT a ORDER BY a), '{}') FROM unnest(app.openings.audience || excluded.audience) AS a)`,
		projection.Array(commitments), projection.Array(tags), projection.Array(salts), projection.Array(values), projection.Array(audiences), projection.Array(commands))
	if err != nil {
		return fmt.Errorf("couldn't keep openings: %w", err)
	}
	return nil
}

func union(a, b []contracts.ID) []contracts.ID {
	u := append(slices.Clone(a), b...)
	slices.Sort(u)
	return slices.Compact(u)
}

// openingRow is a row of app.openings.
type openingRow struct {
	Commitment string `db:"commitment"`
	Tag        string `db:"tag"`
	Salt       []byte `db:"salt"`
	Value      []byte `db:"value"`
	Audience   string `db:"audience"`
}

func (r openingRow) kept() contracts.KeptOpening {
	k := contracts.KeptOpening{Tag: r.Tag, Commitment: contracts.Hash(r.Commitment), Opening: contracts.Opening{Salt: [32]byte(r.Salt), Value: r.Value}}
	if r.Audience != "" {
		for _, id := range strings.Split(r.Audience, ",") {
			k.Audience = append(k.Audience, contracts.ID(id))
		}
	}
	return k
}

const selectOpening = `SELECT commitment, tag, salt, value, array_to_string(audience, ',') AS audience FROM app.openings`

// Get gives an opening to a reader in its audience. To others it does not exist: projection.ErrNotFound.
func (o Openings) Get(ctx context.Context, r projection.Reader, c contracts.Hash) (*contracts.KeptOpening, error) {
	k, err := o.Find(ctx, c)
	if err != nil {
		return nil, err
	}
	if !r.May(k.Audience...) {
		return nil, projection.ErrNotFound
	}
	return k, nil
}

// Find gives an opening to the market's own jobs.
func (o Openings) Find(ctx context.Context, c contracts.Hash) (*contracts.KeptOpening, error) {
	var row openingRow
	err := o.DB.GetContext(ctx, &row, selectOpening+` WHERE commitment = $1`, string(c))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, projection.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read opening: %w", err)
	}
	k := row.kept()
	return &k, nil
}

// All calls fn with every opening in ascending order of commitment, as an export wants them.
func (o Openings) All(ctx context.Context, fn func(contracts.KeptOpening) error) error {
	rows, err := o.DB.QueryxContext(ctx, selectOpening+` ORDER BY commitment COLLATE "C"`)
	if err != nil {
		return fmt.Errorf("couldn't read openings: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var row openingRow
		if err := rows.StructScan(&row); err != nil {
			return fmt.Errorf("couldn't read openings: %w", err)
		}
		if err := fn(row.kept()); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Destroy removes openings after their erasure is on the ledger.
func (o Openings) Destroy(ctx context.Context, cs []contracts.Hash) error {
	if _, err := o.DB.ExecContext(ctx, `DELETE FROM app.openings WHERE commitment = ANY ($1::text[])`, projection.Array(cs)); err != nil {
		return fmt.Errorf("couldn't destroy openings: %w", err)
	}
	return nil
}
