package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// Cost is how hard a password is to try, by argon2id (RFC 9106).
type Cost struct {
	MemoryKiB uint32
	Passes    uint32
}

// DefaultCost takes about a tenth of a second and 64 MiB.
var DefaultCost = Cost{MemoryKiB: 64 << 10, Passes: 2}

const (
	minPasswordRunes = 12
	maxPasswordBytes = 256
	saltBytes        = 16
	hashBytes        = 32
	lanes            = 1
)

// checkPassword refuses passwords that are too short to be worth a hash, and too long to be one.
func checkPassword(login, password string) error {
	switch {
	case !utf8.ValidString(password) || len(password) > maxPasswordBytes:
		return refuse("account.password", "a password has at most 256 bytes of UTF-8")
	case utf8.RuneCountInString(password) < minPasswordRunes:
		return refuse("account.password", "a password has at least 12 characters")
	case strings.Contains(strings.ToLower(password), login):
		return refuse("account.password", "a password doesn't contain the login")
	}
	return nil
}

// normal makes one text of the ways in which input methods type the same password.
func normal(password string) []byte { return norm.NFKC.Bytes([]byte(password)) }

// hash gives the PHC form: $argon2id$v=19$m=65536,t=2,p=1$salt$hash.
func (c Cost) hash(password string) string {
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	h := argon2.IDKey(normal(password), salt, c.Passes, c.MemoryKiB, lanes, hashBytes)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.MemoryKiB, c.Passes, lanes, b64.EncodeToString(salt), b64.EncodeToString(h))
}

// verify reports whether password is the one that was hashed. An error means that what is stored is no hash.
func verify(stored, password string) (bool, error) {
	var version int
	var m, t uint32
	var p uint8
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errors.New("a stored password is not argon2id")
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &m, &t, &p); err != nil || version != argon2.Version || t == 0 || p == 0 || m > 1<<21 || t > 64 {
		return false, errors.New("a stored password has unusable parameters")
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, errors.New("a stored password has no salt")
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) == 0 {
		return false, errors.New("a stored password has no hash")
	}
	got := argon2.IDKey(normal(password), salt, t, m, p, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// gate bounds how many passwords are hashed at once: each takes the memory of its cost.
type gate struct {
	once sync.Once
	free chan struct{}
}

func (g *gate) do(ctx context.Context, f func()) error {
	g.once.Do(func() { g.free = make(chan struct{}, runtime.NumCPU()) })
	select {
	case g.free <- struct{}{}:
		defer func() { <-g.free }()
		f()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("couldn't wait to check a password: %w", ctx.Err())
	}
}

func (d *Directory) cost() Cost {
	if d.Cost == (Cost{}) {
		return DefaultCost
	}
	return d.Cost
}

func (d *Directory) hashPassword(ctx context.Context, password string) (h string, err error) {
	err = d.hashing.do(ctx, func() { h = d.cost().hash(password) })
	return h, err
}

// matches checks a password. A login without an account is checked against nothing at the same cost, so that the time
// of the answer doesn't tell which logins there are.
func (d *Directory) matches(ctx context.Context, stored, password string) (ok bool, err error) {
	gerr := d.hashing.do(ctx, func() {
		if stored == "" {
			c := d.cost()
			argon2.IDKey(normal(password), make([]byte, saltBytes), c.Passes, c.MemoryKiB, lanes, hashBytes)
			return
		}
		ok, err = verify(stored, password)
	})
	return ok, errors.Join(gerr, err)
}
