package identity

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/pg"
)

// Client is a machine of a member that may ask for tokens.
type Client struct {
	ID       contracts.ID
	Member   contracts.ID
	Name     string
	Created  time.Time
	Disabled time.Time // zero: it is not
}

// CreateClient makes a client of a member. The secret is shown this once and is not stored.
func (d *Directory) CreateClient(ctx context.Context, member contracts.ID, name string) (id contracts.ID, secret string, err error) {
	if n := utf8.RuneCountInString(name); n < 1 || n > 100 || !utf8.ValidString(name) {
		return "", "", &contracts.Refusal{Code: "client.name", Field: "name", Detail: "want 1 to 100 characters"}
	}
	if member.Check() != nil {
		return "", "", &contracts.Refusal{Code: "client.member", Field: "member", Detail: "want the id of a member"}
	}
	secret, digest := newToken(prefixSecret)
	id = newID()
	_, err = d.DB.ExecContext(ctx, `
		INSERT INTO app.clients (id, member, name, secret, created_at) VALUES ($1, $2, $3, $4, $5)`, id, member, name, digest, d.now())
	if err != nil {
		return "", "", fmt.Errorf("couldn't store client: %w", err)
	}
	return id, secret, nil
}

type clientRow struct {
	ID       contracts.ID `db:"id"`
	Member   contracts.ID `db:"member"`
	Name     string       `db:"name"`
	Created  time.Time    `db:"created_at"`
	Disabled sql.NullTime `db:"disabled_at"`
}

// Clients lists a member's clients in order of id, after the given one.
func (d *Directory) Clients(ctx context.Context, member, after contracts.ID, limit int) ([]Client, error) {
	var rows []clientRow
	err := d.DB.SelectContext(ctx, &rows, `
		SELECT id, member, name, created_at, disabled_at
		FROM app.clients WHERE member = $1 AND id > $2 ORDER BY id LIMIT $3`, member, after, limit)
	if err != nil {
		return nil, fmt.Errorf("couldn't list clients: %w", err)
	}
	out := make([]Client, len(rows))
	for i, r := range rows {
		out[i] = Client{r.ID, r.Member, r.Name, r.Created, r.Disabled.Time}
	}
	return out, nil
}

// DisableClient ends a client's tokens at once and gives it no more.
func (d *Directory) DisableClient(ctx context.Context, member, id contracts.ID) error {
	return pg.WithTx(ctx, d.DB, func(tx *sqlx.Tx) error {
		res, err := tx.ExecContext(ctx, `
			UPDATE app.clients SET disabled_at = coalesce(disabled_at, $3) WHERE id = $1 AND member = $2`, id, member, d.now())
		if err != nil {
			return fmt.Errorf("couldn't disable client: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil {
			return fmt.Errorf("couldn't disable client: %w", err)
		} else if n == 0 {
			return refuse("client.unknown", "this member has no such client")
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM app.bearers WHERE client = $1`, id); err != nil {
			return fmt.Errorf("couldn't end tokens: %w", err)
		}
		return nil
	})
}

// IssueToken gives a client a token that lives a quarter of an hour. Attempts are not slowed down: there is nothing to
// guess in 256 random bits.
func (d *Directory) IssueToken(ctx context.Context, id contracts.ID, secret string) (token string, c Caller, life time.Duration, err error) {
	now := d.now()
	token, digest := newToken(prefixBearer)
	err = pg.WithTx(ctx, d.DB, func(tx *sqlx.Tx) error {
		var row struct {
			Member contracts.ID `db:"member"`
			Name   string       `db:"name"`
			Secret []byte       `db:"secret"`
		}
		err := tx.GetContext(ctx, &row, `SELECT member, name, secret FROM app.clients WHERE id = $1 AND disabled_at IS NULL FOR SHARE`, id)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("couldn't read client: %w", err)
		}
		if len(secret) > 128 || subtle.ConstantTimeCompare(row.Secret, digestOf(secret)) != 1 {
			return errClient
		}
		c = Caller{Member: row.Member, Client: id, Name: row.Name}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO app.bearers (token, client, created_at, expires_at) VALUES ($1, $2, $3, $4)`, digest, id, now, now.Add(bearerLife))
		if err != nil {
			return fmt.Errorf("couldn't store token: %w", err)
		}
		return nil
	})
	if err != nil {
		return "", Caller{}, 0, err
	}
	return token, c, bearerLife, nil
}

// Bearer finds who holds a token.
func (d *Directory) Bearer(ctx context.Context, token string) (Caller, error) {
	if !strings.HasPrefix(token, prefixBearer) || len(token) > 128 {
		return Caller{}, errBearer
	}
	var row clientRow
	err := d.DB.GetContext(ctx, &row, `
		SELECT c.id, c.member, c.name, c.created_at, c.disabled_at
		FROM app.bearers b JOIN app.clients c ON c.id = b.client
		WHERE b.token = $1 AND b.expires_at > $2 AND c.disabled_at IS NULL`, digestOf(token), d.now())
	if errors.Is(err, sql.ErrNoRows) {
		return Caller{}, errBearer
	}
	if err != nil {
		return Caller{}, fmt.Errorf("couldn't read token: %w", err)
	}
	return Caller{Member: row.Member, Client: row.ID, Name: row.Name}, nil
}

// Revoke ends a token before its time. One that is not there has ended already.
func (d *Directory) Revoke(ctx context.Context, token string) error {
	if _, err := d.DB.ExecContext(ctx, `DELETE FROM app.bearers WHERE token = $1`, digestOf(token)); err != nil {
		return fmt.Errorf("couldn't end token: %w", err)
	}
	return nil
}
