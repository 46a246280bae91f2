package rest

import (
	"context"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/identity"
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
