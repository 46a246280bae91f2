package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/identity"
)

// cookie is how a session travels. The __Host- prefix binds it to this host, and browsers take it with TLS only.
type cookie struct {
	name   string
	secure bool
}

func cookieFor(plainHTTP bool) cookie {
	if plainHTTP {
		return cookie{name: "bund_session"}
	}
	return cookie{name: "__Host-bund_session", secure: true}
}

// header gives Set-Cookie; an empty token takes the cookie away.
func (k cookie) header(token string, expires time.Time) string {
	c := http.Cookie{Name: k.name, Value: token, Path: "/", Secure: k.secure, HttpOnly: true, SameSite: http.SameSiteStrictMode, Expires: expires}
	if token == "" {
		c.MaxAge = -1
	}
	return c.String()
}

type sessionHandlers struct {
	identity *identity.Directory
	cookie   cookie
}

func (h sessionHandlers) SignIn(ctx context.Context, req api.SignInRequestObject) (api.SignInResponseObject, error) {
	ev := Event(ctx)
	token, s, err := h.identity.SignIn(ctx, req.Body.Login, req.Body.Password, ev.address)
	if err != nil {
		return nil, err
	}
	ev.Caller = s.Caller
	who, err := describe(ctx, h.identity, s.Caller, s.Login)
	if err != nil {
		return nil, err
	}
	set := h.cookie.header(token, s.Expires)
	return api.SignIn200JSONResponse{Body: *who, Headers: api.SignIn200ResponseHeaders{SetCookie: &set}}, nil
}

func (h sessionHandlers) WhoAmI(ctx context.Context, _ api.WhoAmIRequestObject) (api.WhoAmIResponseObject, error) {
	c, _ := identity.CallerOf(ctx) // the document wants one
	login := ""
	if c.Human() {
		s, err := h.identity.Session(ctx, Event(ctx).session)
		if err != nil {
			return nil, err
		}
		login = s.Login
	}
	who, err := describe(ctx, h.identity, c, login)
	if err != nil {
		return nil, err
	}
	return api.WhoAmI200JSONResponse(*who), nil
}

func (h sessionHandlers) SignOut(ctx context.Context, _ api.SignOutRequestObject) (api.SignOutResponseObject, error) {
	ev := Event(ctx)
	if ev.bearer != "" {
		if err := h.identity.Revoke(ctx, ev.bearer); err != nil {
			return nil, err
		}
		return api.SignOut204Response{}, nil
	}
	if err := h.identity.SignOut(ctx, ev.session); err != nil {
		return nil, err
	}
	set := h.cookie.header("", time.Time{})
	return api.SignOut204Response{Headers: api.SignOut204ResponseHeaders{SetCookie: &set}}, nil
}

// Token is RFC 6749 §4.4. The client's id and secret came as HTTP Basic.
func (h sessionHandlers) Token(ctx context.Context, _ api.TokenRequestObject) (api.TokenResponseObject, error) {
	ev := Event(ctx)
	token, caller, life, err := h.identity.IssueToken(ctx, contracts.ID(ev.id), ev.secret)
	if err != nil {
		return nil, err
	}
	ev.Caller = caller
	return api.Token200JSONResponse{AccessToken: token, TokenType: api.Bearer, ExpiresIn: int(life.Seconds())}, nil
}

// describe says who a caller is, with the roles that the ledger gives the member.
func describe(ctx context.Context, d *identity.Directory, c identity.Caller, login string) (*api.Caller, error) {
	standing, err := d.Standing(ctx, c.Member, c.Person)
	if err != nil {
		return nil, err
	}
	out := &api.Caller{Member: c.Member, Name: &c.Name, Roles: []string{}}
	for _, r := range standing.Roles {
		out.Roles = append(out.Roles, string(r))
	}
	if c.Human() {
		person := string(c.Person)
		out.Person, out.Login = &person, &login
	}
	return out, nil
}

// ChangePassword keeps the session that it comes in, and ends the account's others.
func (h sessionHandlers) ChangePassword(ctx context.Context, req api.ChangePasswordRequestObject) (api.ChangePasswordResponseObject, error) {
	c, _ := identity.CallerOf(ctx) // the document wants a session
	ev := Event(ctx)
	if err := h.identity.ChangePassword(ctx, c, ev.session, ev.address, req.Body.Old, req.Body.New); err != nil {
		return nil, err
	}
	return api.ChangePassword204Response{}, nil
}
