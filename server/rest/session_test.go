package rest

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
)

func begun(t *testing.T) *projectiontest.Market {
	m := projectiontest.Begin(t, nil)
	m.Project()
	return m
}

func TestPersonSignsInAndOut(t *testing.T) {
	s := serve(t, begun(t))
	s.account("zhang", s.Buyer.ID, s.Buyer.Person(1))
	v := s.visitor("Bund-Csrf", "1")
	v.ask("GET", "/session", nil).problem(t, 401, "session.required")

	in := v.ask("POST", "/session", map[string]string{"login": "Zhang", "password": password})
	var who api.Caller
	in.into(t, 200, &who)
	if who.Member != s.Buyer.ID || *who.Person != string(s.Buyer.Person(1)) || *who.Login != "zhang" || len(who.Roles) != 1 || who.Roles[0] != "buyer" {
		t.Errorf("signed in as %s", in.body)
	}
	set := in.Header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/", "Expires="} {
		if !strings.Contains(set, want) {
			t.Errorf("the cookie %s isn't %s", set[:30], want)
		}
	}
	if in.Header.Get("Cache-Control") != "no-store" {
		t.Error("the answer may be cached")
	}
	v.ask("GET", "/session", nil).into(t, 200, &who)

	// A write needs the header that no other site's form can send.
	v.header.Del("Bund-Csrf")
	v.ask("DELETE", "/session", nil).problem(t, 403, "request.csrf")
	v.header.Set("Bund-Csrf", "1")
	v.header.Set("Sec-Fetch-Site", "cross-site")
	v.ask("DELETE", "/session", nil).problem(t, 403, "request.cross_origin")
	v.header.Del("Sec-Fetch-Site")

	out := v.ask("DELETE", "/session", nil)
	out.into(t, 204, nil)
	if !strings.Contains(out.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("the cookie is not taken back: %s", out.Header.Get("Set-Cookie"))
	}
	// The token is worth nothing any more, also to who kept it.
	v.header.Set("Cookie", strings.Split(set, ";")[0])
	v.ask("GET", "/session", nil).problem(t, 401, "session.required")
}

func TestCookieIsBoundToTLS(t *testing.T) {
	c := cookieFor(false)
	if h := c.header("x", [1]http.Cookie{}[0].Expires); !strings.HasPrefix(h, "__Host-bund_session=") || !strings.Contains(h, "Secure") {
		t.Errorf("got %s", h)
	}
}

func TestWrongPasswordsAndBlocking(t *testing.T) {
	s := serve(t, begun(t))
	s.account("zhang", s.Buyer.ID, "")
	v := s.visitor()
	guess := map[string]string{"login": "zhang", "password": "wrong password"}
	for range 5 {
		v.ask("POST", "/session", guess).problem(t, 401, "session.credentials")
	}
	a := v.ask("POST", "/session", guess)
	a.problem(t, 429, "session.blocked")
	if a.Header.Get("Retry-After") == "" || a.Header.Get("Retry-After") == "0" {
		t.Errorf("Retry-After: %q", a.Header.Get("Retry-After"))
	}
	if log := s.log.String(); strings.Contains(log, "wrong password") || strings.Contains(log, password) {
		t.Error("a password is in the log")
	}
}

func TestMachineGetsToken(t *testing.T) {
	s := serve(t, begun(t))
	id, secret, err := s.identity.CreateClient(context.Background(), s.Provider.ID, "node")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(form, user, pass string) *answer {
		v := s.visitor("Content-Type", "application/x-www-form-urlencoded")
		req, _ := http.NewRequest("POST", "/", nil)
		if user != "" {
			req.SetBasicAuth(user, pass)
			v.header.Set("Authorization", req.Header.Get("Authorization"))
		}
		return v.ask("POST", "/oauth/token", form)
	}
	good := url.Values{"grant_type": {"client_credentials"}}.Encode()
	var tok api.Token
	ask(good, string(id), secret).into(t, 200, &tok)
	if tok.TokenType != "Bearer" || tok.ExpiresIn != 900 {
		t.Errorf("got %+v", tok)
	}
	v := s.visitor("Authorization", "bearer "+tok.AccessToken)
	var who api.Caller
	v.ask("GET", "/session", nil).into(t, 200, &who)
	if who.Member != s.Provider.ID || who.Person != nil || len(who.Roles) != 1 || who.Roles[0] != "provider" {
		t.Errorf("got %+v", who)
	}
	v.ask("DELETE", "/session", nil).into(t, 204, nil)
	v.ask("GET", "/session", nil).problem(t, 401, "client.token")

	ask(good, string(id), "wrong").problem(t, 401, "client.credentials")
	ask(good, "", "").problem(t, 401, "client.credentials")
	ask("grant_type=password", string(id), secret).problem(t, 400, "invalid_request")
	ask(good+"&"+good, string(id), secret).problem(t, 400, "invalid_request")
	ask(good+"&scope=all", string(id), secret).problem(t, 400, "invalid_request")
	s.visitor().ask("POST", "/oauth/token", "{}").problem(t, 401, "client.credentials")
	if strings.Contains(s.log.String(), secret) || strings.Contains(s.log.String(), tok.AccessToken) {
		t.Error("a secret is in the log")
	}
}

func TestOnlyAdministratorsGiveSignIns(t *testing.T) {
	s := serve(t, begun(t))
	s.account("venue-admin", s.Venue.ID, s.Venue.Person(0))
	s.account("bank-admin", s.Buyer.ID, s.Buyer.Person(0))
	s.account("bank-maker", s.Buyer.ID, s.Buyer.Person(1))
	account := func(login string, member any) map[string]any {
		return map[string]any{"member": member, "login": login, "name": "李四", "password": password}
	}
	venue, bank, maker := s.signedIn("venue-admin"), s.signedIn("bank-admin"), s.signedIn("bank-maker")
	bank.ask("POST", "/accounts", account("new-one", s.Buyer.ID)).into(t, 201, nil)
	bank.ask("POST", "/accounts", account("new-one", s.Buyer.ID)).problem(t, 409, "account.login_taken")
	bank.ask("POST", "/accounts", account("new-two", s.Provider.ID)).problem(t, 403, "forbidden")
	maker.ask("POST", "/accounts", account("new-two", s.Buyer.ID)).problem(t, 403, "forbidden")
	venue.ask("POST", "/accounts", account("new-two", s.Provider.ID)).into(t, 201, nil)
	s.machine(s.Buyer.ID).ask("POST", "/accounts", account("new-3", s.Buyer.ID)).problem(t, 403, "forbidden")
	s.machine(s.Venue.ID).ask("POST", "/accounts", account("new-3", s.Buyer.ID)).into(t, 201, nil)
	s.signedIn("new-one")

	var c api.ClientSecret
	bank.ask("POST", "/clients", map[string]any{"member": s.Buyer.ID, "name": "节点"}).into(t, 201, &c)
	if c.Id == "" || c.Secret == "" {
		t.Errorf("got %+v", c)
	}
	bank.ask("POST", "/clients", map[string]any{"member": s.Provider.ID, "name": "节点"}).problem(t, 403, "forbidden")
}
