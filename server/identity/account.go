package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/pg"
)

// NewAccount is a person who is to sign in.
type NewAccount struct {
	Login    string       // 3 to 100 of a–z, 0–9 and @ . _ + -; capitals are made small
	Password string       // at least 12 characters
	Name     string       // for display
	Member   contracts.ID // on the ledger
	Person   contracts.ID // on the ledger, of that member; "" for somebody who only reads
}

// Account is a person who may sign in.
type Account struct {
	ID       contracts.ID
	Login    string
	Name     string
	Member   contracts.ID
	Person   contracts.ID
	Created  time.Time
	Disabled time.Time // zero: it is not
}

var loginForm = regexp.MustCompile(`^[a-z0-9][a-z0-9@._+-]{2,99}$`)

func normalLogin(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// CreateAccount makes an account.
func (d *Directory) CreateAccount(ctx context.Context, a NewAccount) (contracts.ID, error) {
	login := normalLogin(a.Login)
	if !loginForm.MatchString(login) {
		return "", &contracts.Refusal{Code: "account.login", Field: "login", Detail: "want 3 to 100 of a–z, 0–9 and @ . _ + -"}
	}
	if n := utf8.RuneCountInString(a.Name); n < 1 || n > 100 || !utf8.ValidString(a.Name) {
		return "", &contracts.Refusal{Code: "account.name", Field: "name", Detail: "want 1 to 100 characters"}
	}
	if a.Member.Check() != nil || a.Person != "" && a.Person.Check() != nil {
		return "", &contracts.Refusal{Code: "account.person", Field: "person", Detail: "want the ids of a member and of a person"}
	}
	if err := checkPassword(login, a.Password); err != nil {
		return "", err
	}
	h, err := d.hashPassword(ctx, a.Password)
	if err != nil {
		return "", err
	}
	id := newID()
	_, err = d.DB.ExecContext(ctx, `
		INSERT INTO app.accounts (id, login, member, person, name, password, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, id, login, a.Member, a.Person, a.Name, h, d.now())
	if pg.IsUnique(err, "accounts_login") {
		return "", &contracts.Refusal{Code: "account.login_taken", Field: "login", Detail: "another account has this login"}
	}
	if err != nil {
		return "", fmt.Errorf("couldn't store account: %w", err)
	}
	return id, nil
}

type accountRow struct {
	ID       contracts.ID `db:"id"`
	Login    string       `db:"login"`
	Name     string       `db:"name"`
	Member   contracts.ID `db:"member"`
	Person   contracts.ID `db:"person"`
	Created  time.Time    `db:"created_at"`
	Disabled sql.NullTime `db:"disabled_at"`
}

// Accounts lists a member's accounts in order of id, after the given one.
func (d *Directory) Accounts(ctx context.Context, member, after contracts.ID, limit int) ([]Account, error) {
	var rows []accountRow
	err := d.DB.SelectContext(ctx, &rows, `
		SELECT id, login, name, member, person, created_at, disabled_at
		FROM app.accounts WHERE member = $1 AND id > $2 ORDER BY id LIMIT $3`, member, after, limit)
	if err != nil {
		return nil, fmt.Errorf("couldn't list accounts: %w", err)
	}
	out := make([]Account, len(rows))
	for i, r := range rows {
		out[i] = Account{r.ID, r.Login, r.Name, r.Member, r.Person, r.Created, r.Disabled.Time}
	}
	return out, nil
}

// DisableAccount ends an account's sessions and lets it sign in no more. It stays, as its name is in records.
func (d *Directory) DisableAccount(ctx context.Context, member, id contracts.ID) error {
	return pg.WithTx(ctx, d.DB, func(tx *sqlx.Tx) error {
		res, err := tx.ExecContext(ctx, `
			UPDATE app.accounts SET disabled_at = coalesce(disabled_at, $3) WHERE id = $1 AND member = $2`, id, member, d.now())
		if err != nil {
			return fmt.Errorf("couldn't disable account: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil {
			return fmt.Errorf("couldn't disable account: %w", err)
		} else if n == 0 {
			return refuse("account.unknown", "this member has no such account")
		}
		return endSessions(ctx, tx, id, nil)
	})
}

// ChangePassword asks for the old password again, since a session may have been left open, and ends the account's
// other sessions. Wrong old passwords count as failed sign-ins from that address.
func (d *Directory) ChangePassword(ctx context.Context, c Caller, token, address, old, new string) error {
	var row struct {
		Login    string `db:"login"`
		Password string `db:"password"`
	}
	err := d.DB.GetContext(ctx, &row, `SELECT login, password FROM app.accounts WHERE id = $1 AND disabled_at IS NULL`, c.Account)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoSession
	}
	if err != nil {
		return fmt.Errorf("couldn't read account: %w", err)
	}
	subjects, err := d.count(ctx, row.Login, address)
	if err != nil {
		return err
	}
	ok, err := d.matches(ctx, row.Password, old)
	if err != nil {
		return err
	}
	if !ok {
		return errCredentials
	}
	if err := checkPassword(row.Login, new); err != nil {
		return err
	}
	h, err := d.hashPassword(ctx, new)
	if err != nil {
		return err
	}
	return pg.WithTx(ctx, d.DB, func(tx *sqlx.Tx) error {
		if err := subjects.forgive(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE app.accounts SET password = $2 WHERE id = $1`, c.Account, h); err != nil {
			return fmt.Errorf("couldn't store password: %w", err)
		}
		return endSessions(ctx, tx, c.Account, digestOf(token))
	})
}

// endSessions ends an account's sessions but the one of the digest keep.
func endSessions(ctx context.Context, tx *sqlx.Tx, account contracts.ID, keep []byte) error {
	if keep == nil {
		keep = []byte{}
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM app.sessions WHERE account = $1 AND token <> $2`, account, keep); err != nil {
		return fmt.Errorf("couldn't end sessions: %w", err)
	}
	return nil
}
