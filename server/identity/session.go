package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/pg"
)

// Session is a person's signing in.
type Session struct {
	Caller  Caller
	Login   string
	Expires time.Time // whatever happens
	Idle    time.Time // unless it is used before
}

// SignIn begins a session. The token is for the cookie only and is not stored.
func (d *Directory) SignIn(ctx context.Context, login, password, address string) (token string, s *Session, err error) {
	login = normalLogin(login)
	if len(login) > 100 || len(password) > maxPasswordBytes {
		return "", nil, errCredentials
	}
	counted, err := d.count(ctx, login, address)
	if err != nil {
		return "", nil, err
	}
	var row struct {
		accountRow
		Password string `db:"password"`
	}
	err = d.DB.GetContext(ctx, &row, `
		SELECT id, login, name, member, person, created_at, disabled_at, password
		FROM app.accounts WHERE login = $1 AND disabled_at IS NULL`, login)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", nil, fmt.Errorf("couldn't read account: %w", err)
	}
	ok, err := d.matches(ctx, row.Password, password)
	if err != nil {
		return "", nil, err
	}
	if !ok {
		return "", nil, errCredentials
	}
	now := d.now()
	token, digest := newToken(prefixSession)
	err = pg.WithTx(ctx, d.DB, func(tx *sqlx.Tx) error {
		if err := counted.forgive(ctx, tx); err != nil {
			return err
		}
		// An account that is disabled at this moment gets no session: the lock makes one of the two wait.
		var id string
		err := tx.GetContext(ctx, &id, `SELECT id FROM app.accounts WHERE id = $1 AND disabled_at IS NULL FOR SHARE`, row.ID)
		if errors.Is(err, sql.ErrNoRows) {
			return errCredentials
		}
		if err != nil {
			return fmt.Errorf("couldn't read account: %w", err)
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO app.sessions (token, account, created_at, expires_at, seen_at)
			VALUES ($1, $2, $3, $4, $3)`, digest, row.ID, now, now.Add(sessionLife))
		if err != nil {
			return fmt.Errorf("couldn't store session: %w", err)
		}
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	return token, &Session{Caller: row.caller(), Login: row.Login, Expires: now.Add(sessionLife), Idle: now.Add(sessionIdle)}, nil
}

func (r accountRow) caller() Caller {
	return Caller{Member: r.Member, Person: r.Person, Account: r.ID, Name: r.Name}
}

// Session finds the session of a token and notes its use.
func (d *Directory) Session(ctx context.Context, token string) (*Session, error) {
	if !strings.HasPrefix(token, prefixSession) || len(token) > 128 {
		return nil, errNoSession
	}
	now, digest := d.now(), digestOf(token)
	var row struct {
		accountRow
		Expires time.Time `db:"expires_at"`
		Seen    time.Time `db:"seen_at"`
	}
	err := d.DB.GetContext(ctx, &row, `
		SELECT a.id, a.login, a.name, a.member, a.person, a.created_at, a.disabled_at, s.expires_at, s.seen_at
		FROM app.sessions s JOIN app.accounts a ON a.id = s.account
		WHERE s.token = $1 AND s.expires_at > $2 AND s.seen_at > $3 AND a.disabled_at IS NULL`, digest, now, now.Add(-sessionIdle))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errNoSession
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read session: %w", err)
	}
	if now.Sub(row.Seen) >= seenEvery {
		// The condition keeps a late request from undoing an earlier one's note.
		if _, err := d.DB.ExecContext(ctx, `UPDATE app.sessions SET seen_at = $2 WHERE token = $1 AND seen_at < $2`, digest, now); err != nil {
			return nil, fmt.Errorf("couldn't note the session's use: %w", err)
		}
	}
	return &Session{Caller: row.caller(), Login: row.Login, Expires: row.Expires, Idle: now.Add(sessionIdle)}, nil
}

// SignOut ends the session of a token. One that is not there has ended already.
func (d *Directory) SignOut(ctx context.Context, token string) error {
	if _, err := d.DB.ExecContext(ctx, `DELETE FROM app.sessions WHERE token = $1`, digestOf(token)); err != nil {
		return fmt.Errorf("couldn't end session: %w", err)
	}
	return nil
}

// SignOutEverywhere ends all sessions of an account.
func (d *Directory) SignOutEverywhere(ctx context.Context, account contracts.ID) error {
	return pg.WithTx(ctx, d.DB, func(tx *sqlx.Tx) error { return endSessions(ctx, tx, account, nil) })
}
