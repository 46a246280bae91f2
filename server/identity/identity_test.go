package identity

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

const (
	member   contracts.ID = "0123456789abcdef0123456789abcdef"
	person   contracts.ID = "00000000000000000000000000000001"
	stranger contracts.ID = "ffffffffffffffffffffffffffffffff"
	password              = "correct horse battery"
	home                  = "192.0.2.1"
)

// clock is moved by tests; PostgreSQL's own clock decides nothing.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time       { return time.UnixMicro(c.at.Load()) }
func (c *clock) pass(d time.Duration) { c.at.Add(d.Microseconds()) }

func directory(t *testing.T) (*Directory, *clock) {
	t.Helper()
	c := &clock{}
	c.at.Store(time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC).UnixMicro())
	d := New(pgtest.New(t))
	d.Now, d.Cost = c.now, Cost{MemoryKiB: 64, Passes: 1}
	return d, c
}

func account(t *testing.T, d *Directory) contracts.ID {
	t.Helper()
	id, err := d.CreateAccount(t.Context(), NewAccount{Login: "Zhang@Bank.example", Password: password, Name: "张三", Member: member, Person: person})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func signIn(t *testing.T, d *Directory) string {
	t.Helper()
	token, _, err := d.SignIn(t.Context(), "zhang@bank.example", password, home)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func wantCode(t *testing.T, err error, code contracts.Code) {
	t.Helper()
	var r *contracts.Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("got %v, want the refusal %s", err, code)
	}
}

func TestSignIn(t *testing.T) {
	d, c := directory(t)
	id := account(t, d)
	token, s, err := d.SignIn(t.Context(), " ZHANG@bank.example", password, home)
	if err != nil {
		t.Fatal(err)
	}
	want := Caller{Member: member, Person: person, Account: id, Name: "张三"}
	if s.Caller != want || !s.Caller.Human() || s.Login != "zhang@bank.example" {
		t.Errorf("signed in as %+v", s)
	}
	again, err := d.Session(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if again.Caller != want || !again.Expires.Equal(c.now().Add(sessionLife)) {
		t.Errorf("the session is %+v", again)
	}
	for _, bad := range []string{"", "x", token + "x", strings.ToUpper(token), strings.Replace(token, prefixSession, prefixBearer, 1)} {
		_, err := d.Session(t.Context(), bad)
		wantCode(t, err, "session.required")
	}
	if err := d.SignOut(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	_, err = d.Session(t.Context(), token)
	wantCode(t, err, "session.required")
}

func TestWrongPasswordAndUnknownLoginAreTheSame(t *testing.T) {
	d, _ := directory(t)
	account(t, d)
	_, _, wrong := d.SignIn(t.Context(), "zhang@bank.example", password+"x", home)
	_, _, unknown := d.SignIn(t.Context(), "li@bank.example", password, home)
	wantCode(t, wrong, "session.credentials")
	if wrong.Error() != unknown.Error() {
		t.Errorf("%q differs from %q", wrong, unknown)
	}
}

func TestSessionEnds(t *testing.T) {
	for name, test := range map[string]struct {
		step, until time.Duration
	}{
		"unused":         {sessionIdle, sessionIdle},
		"used all along": {10 * time.Minute, sessionLife},
	} {
		t.Run(name, func(t *testing.T) {
			d, c := directory(t)
			account(t, d)
			token := signIn(t, d)
			for passed := test.step; passed < test.until; passed += test.step {
				c.pass(test.step)
				if _, err := d.Session(t.Context(), token); err != nil {
					t.Fatalf("after %v: %v", passed, err)
				}
			}
			c.pass(test.step)
			_, err := d.Session(t.Context(), token)
			wantCode(t, err, "session.required")
		})
	}
}

func TestTokensAreNotStored(t *testing.T) {
	d, _ := directory(t)
	account(t, d)
	session := signIn(t, d)
	id, secret, err := d.CreateClient(t.Context(), member, "节点 node")
	if err != nil {
		t.Fatal(err)
	}
	bearer, _, _, err := d.IssueToken(t.Context(), id, secret)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	err = d.DB.Select(&all, `SELECT t::text FROM app.sessions t UNION ALL SELECT t::text FROM app.clients t UNION ALL
		SELECT t::text FROM app.bearers t UNION ALL SELECT t::text FROM app.accounts t UNION ALL SELECT t::text FROM app.sign_in_failures t`)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 4 {
		t.Fatalf("only %d rows to look at", len(all))
	}
	for _, row := range all {
		for _, s := range []string{session, secret, bearer, password} {
			if i := strings.LastIndexByte(s, '_') + 1; strings.Contains(row, s[i:]) {
				t.Errorf("a secret is stored in %s", row)
			}
		}
	}
}

func TestDisabledAccount(t *testing.T) {
	d, _ := directory(t)
	id := account(t, d)
	token := signIn(t, d)
	wantCode(t, d.DisableAccount(t.Context(), stranger, id), "account.unknown")
	if err := d.DisableAccount(t.Context(), member, id); err != nil {
		t.Fatal(err)
	}
	_, err := d.Session(t.Context(), token)
	wantCode(t, err, "session.required")
	_, _, err = d.SignIn(t.Context(), "zhang@bank.example", password, home)
	wantCode(t, err, "session.credentials")
	list, err := d.Accounts(t.Context(), member, "", 10)
	if err != nil || len(list) != 1 || list[0].Disabled.IsZero() || list[0].ID != id {
		t.Errorf("accounts: %+v, %v", list, err)
	}
	if list, err := d.Accounts(t.Context(), stranger, "", 10); err != nil || len(list) != 0 {
		t.Errorf("another member sees %+v, %v", list, err)
	}
}

func TestChangePassword(t *testing.T) {
	d, _ := directory(t)
	account(t, d)
	token, other := signIn(t, d), signIn(t, d)
	s, err := d.Session(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) error {
		return d.ChangePassword(t.Context(), s.Caller, token, home, old, new)
	}
	wantCode(t, change("not the old one", "another long password"), "session.credentials")
	wantCode(t, change(password, "short"), "account.password")
	if err := change(password, "another long password"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Session(t.Context(), token); err != nil {
		t.Errorf("the session that changed it ended: %v", err)
	}
	_, err = d.Session(t.Context(), other)
	wantCode(t, err, "session.required")
	_, _, err = d.SignIn(t.Context(), "zhang@bank.example", password, home)
	wantCode(t, err, "session.credentials")
	if _, _, err := d.SignIn(t.Context(), "zhang@bank.example", "another long password", home); err != nil {
		t.Error(err)
	}
}

func TestNewAccountsAreChecked(t *testing.T) {
	d, _ := directory(t)
	account(t, d)
	good := NewAccount{Login: "li@bank.example", Password: password, Name: "李四", Member: member, Person: person}
	for code, spoil := range map[contracts.Code]func(*NewAccount){
		"account.login_taken": func(a *NewAccount) { a.Login = "ZHANG@bank.example" },
		"account.login":       func(a *NewAccount) { a.Login = "李四" },
		"account.name":        func(a *NewAccount) { a.Name = strings.Repeat("长", 101) },
		"account.person":      func(a *NewAccount) { a.Person = "x" },
		"account.password":    func(a *NewAccount) { a.Password = "my li@bank.example pw" },
	} {
		a := good
		spoil(&a)
		_, err := d.CreateAccount(t.Context(), a)
		wantCode(t, err, code)
	}
	if _, err := d.CreateAccount(t.Context(), good); err != nil {
		t.Error(err)
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	d, c := directory(t)
	account(t, d)
	guess := func(from string) error {
		_, _, err := d.SignIn(t.Context(), "zhang@bank.example", "wrong password", from)
		return err
	}
	for range freePerAccount {
		wantCode(t, guess(home), "session.credentials")
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900} {
		var b *Blocked
		if err := guess(home); !errors.As(err, &b) || b.RetryAfter != want*time.Second {
			t.Fatalf("got %v, want to be blocked for %d s", err, want)
		}
		wantCode(t, error(b), "session.blocked")
		// The right password is not looked at either.
		_, _, err := d.SignIn(t.Context(), "zhang@bank.example", password, home)
		wantCode(t, err, "session.blocked")
		c.pass(want * time.Second)
		wantCode(t, guess(home), "session.credentials")
	}
	// Whoever sits elsewhere isn't locked out, also not in another /64.
	for _, from := range []string{"192.0.2.2", "2001:db8:1:2::1"} {
		if _, _, err := d.SignIn(t.Context(), "zhang@bank.example", password, from); err != nil {
			t.Error(err)
		}
	}
	c.pass(time.Hour + maxWaitSec*time.Second)
	signIn(t, d)
	for range freePerAccount { // success has forgotten the failures
		wantCode(t, guess(home), "session.credentials")
	}
}

func TestGuessesMadeAtOnceAreAllCounted(t *testing.T) {
	d, _ := directory(t)
	account(t, d)
	var looked atomic.Int32
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			_, _, err := d.SignIn(context.Background(), "zhang@bank.example", "wrong password", home)
			var b *Blocked
			if !errors.As(err, &b) {
				looked.Add(1)
			}
		})
	}
	wg.Wait()
	if n := looked.Load(); n != freePerAccount {
		t.Errorf("%d passwords were looked at, want %d", n, freePerAccount)
	}
}

func TestOneAddressTryingManyAccounts(t *testing.T) {
	d, _ := directory(t)
	account(t, d)
	from := func(i int) string { return "2001:db8:1:2::" + string(rune('a'+i%6)) } // one /64
	for i := range freePerAddress {
		_, _, err := d.SignIn(t.Context(), "who"+strings.Repeat("o", i), "wrong password", from(i))
		wantCode(t, err, "session.credentials")
	}
	_, _, err := d.SignIn(t.Context(), "somebody-else", "wrong password", from(3))
	wantCode(t, err, "session.blocked")
	if _, _, err := d.SignIn(t.Context(), "zhang@bank.example", password, home); err != nil {
		t.Error(err)
	}
}

func TestClients(t *testing.T) {
	d, c := directory(t)
	id, secret, err := d.CreateClient(t.Context(), member, "节点 node")
	if err != nil {
		t.Fatal(err)
	}
	token, _, life, err := d.IssueToken(t.Context(), id, secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Bearer(t.Context(), token)
	if want := (Caller{Member: member, Client: id, Name: "节点 node"}); err != nil || got != want || got.Human() {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []struct {
		id     contracts.ID
		secret string
	}{{id, secret + "x"}, {id, ""}, {stranger, secret}, {stranger, ""}, {"", ""}} {
		_, _, _, err := d.IssueToken(t.Context(), bad.id, bad.secret)
		wantCode(t, err, "client.credentials")
	}
	_, err = d.Bearer(t.Context(), secret)
	wantCode(t, err, "client.token")
	c.pass(life)
	_, err = d.Bearer(t.Context(), token)
	wantCode(t, err, "client.token")

	token, _, _, err = d.IssueToken(t.Context(), id, secret)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, d.DisableClient(t.Context(), stranger, id), "client.unknown")
	if err := d.DisableClient(t.Context(), member, id); err != nil {
		t.Fatal(err)
	}
	_, err = d.Bearer(t.Context(), token)
	wantCode(t, err, "client.token")
	_, _, _, err = d.IssueToken(t.Context(), id, secret)
	wantCode(t, err, "client.credentials")
	if list, err := d.Clients(t.Context(), member, "", 10); err != nil || len(list) != 1 || list[0].Disabled.IsZero() {
		t.Errorf("clients: %+v, %v", list, err)
	}
}

func TestSweepRemovesOnlyWhatHasExpired(t *testing.T) {
	d, c := directory(t)
	account(t, d)
	id, secret, err := d.CreateClient(t.Context(), member, "node")
	if err != nil {
		t.Fatal(err)
	}
	use := func() string {
		t.Helper()
		if _, _, _, err := d.IssueToken(t.Context(), id, secret); err != nil {
			t.Fatal(err)
		}
		d.SignIn(t.Context(), "nobody"+c.now().Format("150405"), "wrong password", home)
		return signIn(t, d)
	}
	use()
	c.pass(2 * time.Hour)
	live := use()
	if err := d.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"sessions": 1, "bearers": 1, "sign_in_failures": 2, "accounts": 1, "clients": 1} {
		var n int
		if err := d.DB.Get(&n, `SELECT count(*) FROM app.`+table); err != nil || n != want {
			t.Errorf("app.%s has %d rows, want %d (%v)", table, n, want, err)
		}
	}
	if _, err := d.Session(t.Context(), live); err != nil {
		t.Error(err)
	}
}
