// Package identity says who is calling the market's API: people by session, machines by client credentials. Each is
// bound to a member of the ledger, and a person to the ledger's id of that person.
//
// It answers only who, never whether: duties and roles are on the ledger, and what needs them is signed there with
// keys that this package never sees. Signing in lets somebody read what that member may read, and prepare commands.
//
// # Sessions and forged requests
//
// A person's session is an opaque random token, stored as its digest, in a cookie that scripts can't read and that
// browsers send only with requests from the market's own pages (HttpOnly, SameSite=Strict, Secure, host only). Requests
// that browsers make for other sites are refused besides by their Sec-Fetch-Site or Origin header, and a body must be
// JSON, which no HTML form sends. So no token in forms is needed. A machine's token travels in the Authorization
// header, which no browser adds by itself.
//
// # Guessing
//
// Each attempt to sign in is counted before the password is looked at, so that attempts made at once are all counted:
// per account and address, and per address. After some free attempts each further one must wait twice as long as the
// one before. An account is never locked for everybody: anybody could lock out anybody.
package identity

import (
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
)

// Lifetimes. A session ends at whichever comes first.
const (
	sessionLife = 12 * time.Hour
	sessionIdle = 30 * time.Minute
	bearerLife  = 15 * time.Minute

	// seenEvery bounds how often a session's last use is written down.
	seenEvery = time.Minute
)

// Directory keeps accounts, sessions and machine clients in the schema app. Its methods are safe for concurrent use.
// A "no" is a *contracts.Refusal, or a *Blocked; every other error is a failure.
type Directory struct {
	DB   *sqlx.DB
	Now  func() time.Time
	Cost Cost // of new passwords; zero: DefaultCost

	hashing gate
}

// New makes a directory with the wall clock and the default cost.
func New(db *sqlx.DB) *Directory { return &Directory{DB: db, Now: time.Now} }

// now is in the precision that PostgreSQL stores, so that what is read equals what was written.
func (d *Directory) now() time.Time { return d.Now().UTC().Truncate(time.Microsecond) }

func refuse(code contracts.Code, detail string) *contracts.Refusal {
	return &contracts.Refusal{Code: code, Detail: detail}
}

// The refusals of this package. Which part of a sign-in was wrong is never told.
var (
	errCredentials = refuse("session.credentials", "the login and password don't match an account")
	errNoSession   = refuse("session.required", "sign in first")
	errClient      = refuse("client.credentials", "the client id and secret don't match a client")
	errBearer      = refuse("client.token", "the token is unknown or has expired")
)
