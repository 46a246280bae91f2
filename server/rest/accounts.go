package rest

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/projection"
)

type accountHandlers struct{ identity *identity.Directory }

// administrates refuses a caller who may not give sign-ins to a member's people and machines. An administrator of that
// member may, and one of the venue, and the venue's own machines, which set a market up. It is on the ledger who that is.
func administrates(ctx context.Context, d *identity.Directory, member contracts.ID) error {
	c, _ := identity.CallerOf(ctx)
	s, err := d.Standing(ctx, c.Member, c.Person)
	if err != nil {
		return err
	}
	admin, venue := s.Must(contracts.DutyAdministrator), s.Has(contracts.RoleVenue)
	if admin && (venue || c.Member == member) || venue && !c.Human() {
		return nil
	}
	return errForbidden
}

func (h accountHandlers) AddAccount(ctx context.Context, req api.AddAccountRequestObject) (api.AddAccountResponseObject, error) {
	in := req.Body
	if err := administrates(ctx, h.identity, in.Member); err != nil {
		return nil, err
	}
	a := identity.NewAccount{Login: in.Login, Password: in.Password, Name: in.Name, Member: in.Member}
	if in.Person != nil {
		a.Person = contracts.ID(*in.Person)
	}
	id, err := h.identity.CreateAccount(ctx, a)
	if err != nil {
		return nil, err
	}
	who, err := describe(ctx, h.identity, identity.Caller{Member: a.Member, Person: a.Person, Account: id, Name: a.Name}, a.Login)
	if err != nil {
		return nil, err
	}
	return api.AddAccount201JSONResponse(*who), nil
}

func (h accountHandlers) AddClient(ctx context.Context, req api.AddClientRequestObject) (api.AddClientResponseObject, error) {
	if err := administrates(ctx, h.identity, req.Body.Member); err != nil {
		return nil, err
	}
	id, secret, err := h.identity.CreateClient(ctx, req.Body.Member, req.Body.Name)
	if err != nil {
		return nil, err
	}
	return api.AddClient201JSONResponse{Id: string(id), Secret: secret}, nil
}

// ofMember is the member that a request about sign-ins names, the caller's own when it names none.
func ofMember(ctx context.Context, named *contracts.ID) contracts.ID {
	if named != nil {
		return *named
	}
	c, _ := identity.CallerOf(ctx) // the document wants one
	return c.Member
}

func (h accountHandlers) Accounts(ctx context.Context, req api.AccountsRequestObject) (api.AccountsResponseObject, error) {
	member := ofMember(ctx, req.Params.Member)
	if err := administrates(ctx, h.identity, member); err != nil {
		return nil, err
	}
	p := asked(req.Params.Cursor, req.Params.Limit)
	after := contracts.ID(p.After)
	if after != "" && after.Check() != nil {
		return nil, projection.ErrBadCursor
	}
	as, err := h.identity.Accounts(ctx, member, after, p.Limit+1)
	if err != nil {
		return nil, err
	}
	cursor := ""
	if len(as) > p.Limit {
		as = as[:p.Limit]
		cursor = string(as[p.Limit-1].ID)
	}
	next, link := nextPage(ctx, cursor)
	page := api.AccountPage{Items: make([]api.Account, len(as)), Next: next}
	for i, a := range as {
		x := api.Account{Id: a.ID, Member: a.Member, Login: a.Login, Name: a.Name, Created: a.Created.UnixMilli()}
		if a.Person != "" {
			person := string(a.Person)
			x.Person = &person
		}
		if !a.Disabled.IsZero() {
			at := a.Disabled.UnixMilli()
			x.Disabled = &at
		}
		page.Items[i] = x
	}
	return api.Accounts200JSONResponse{Body: page, Headers: api.Accounts200ResponseHeaders{Link: link}}, nil
}

func (h accountHandlers) DisableAccount(ctx context.Context, req api.DisableAccountRequestObject) (api.DisableAccountResponseObject, error) {
	member := ofMember(ctx, req.Params.Member)
	if err := administrates(ctx, h.identity, member); err != nil {
		return nil, err
	}
	if err := h.identity.DisableAccount(ctx, member, req.Id); err != nil {
		return nil, err
	}
	return api.DisableAccount204Response{}, nil
}
