package identity

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/pg"
)

// Free attempts; each further one waits twice as long as the one before, at most maxWaitSec. An hour without any
// forgets them.
const (
	freePerAccount = 5  // of one account from one address
	freePerAddress = 50 // of all accounts: an office shares one
	maxWaitSec     = 900
)

// Blocked is the refusal of an attempt that comes too soon after failed ones. The password was not looked at.
type Blocked struct {
	*contracts.Refusal
	RetryAfter time.Duration
}

func (b *Blocked) Unwrap() error { return b.Refusal }

// attempt is one counted attempt to sign in.
type attempt struct{ account, address []byte }

// count counts an attempt before its password is looked at, or refuses it.
func (d *Directory) count(ctx context.Context, login, address string) (attempt, error) {
	address = network(address)
	a := attempt{account: subject("account", login, address), address: subject("address", address)}
	err := pg.WithTx(ctx, d.DB, func(tx *sqlx.Tx) error {
		if err := countOne(ctx, tx, a.account, freePerAccount, d.now()); err != nil {
			return err
		}
		return countOne(ctx, tx, a.address, freePerAddress, d.now())
	})
	return a, err
}

func countOne(ctx context.Context, tx *sqlx.Tx, subject []byte, free int, now time.Time) error {
	var failures int
	err := tx.GetContext(ctx, &failures, `
		INSERT INTO app.sign_in_failures AS f (subject, failures, last_at, blocked_until)
		VALUES ($1, 1, $2, $2)
		ON CONFLICT (subject) DO UPDATE SET
			failures = CASE WHEN f.last_at < $2 - interval '1 hour' THEN 1 ELSE f.failures + 1 END,
			last_at = $2,
			blocked_until = CASE WHEN f.last_at < $2 - interval '1 hour' OR f.failures + 1 < $3 THEN $2
				ELSE $2 + make_interval(secs => least($4, power(2, least(f.failures + 1 - $3, 20)))) END
		WHERE f.blocked_until <= $2
		RETURNING failures`, subject, now, free, maxWaitSec)
	if err == nil {
		return nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("couldn't count a sign-in: %w", err)
	}
	var until time.Time
	if err := tx.GetContext(ctx, &until, `SELECT blocked_until FROM app.sign_in_failures WHERE subject = $1`, subject); err != nil {
		return fmt.Errorf("couldn't read how long sign-ins are blocked: %w", err)
	}
	return &Blocked{refuse("session.blocked", "too many failed attempts, wait before the next one"), until.Sub(now)}
}

// forgive takes back what a successful attempt was counted as. The failures of others at the same address stay.
func (a attempt) forgive(ctx context.Context, tx *sqlx.Tx) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM app.sign_in_failures WHERE subject = $1`, a.account); err != nil {
		return fmt.Errorf("couldn't forget failed sign-ins: %w", err)
	}
	_, err := tx.ExecContext(ctx, `
		WITH last AS (DELETE FROM app.sign_in_failures WHERE subject = $1 AND failures = 1)
		UPDATE app.sign_in_failures SET failures = failures - 1 WHERE subject = $1 AND failures > 1`, a.address)
	if err != nil {
		return fmt.Errorf("couldn't forget failed sign-ins: %w", err)
	}
	return nil
}

// subject is a digest: the table shows neither addresses nor what was typed as a login.
func subject(kind string, parts ...string) []byte {
	h := sha256.New()
	h.Write([]byte("bund/signin/v1\x00" + kind))
	for _, p := range parts {
		fmt.Fprintf(h, "\x00%d\x00%s", len(p), p)
	}
	return h.Sum(nil)
}

// network is what one party controls: an IPv4 address, or the /64 of an IPv6 one.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return "?" + address
	}
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a.String()
	}
	return p.String()
}
