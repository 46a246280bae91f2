package identity

import (
	"context"
	"errors"
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

// Standing is what the ledger says of a caller, as far as it is projected. It decides what somebody may read here; what
// somebody may do, the ledger decides when the command comes.
type Standing struct {
	Roles  []contracts.Role // none unless the member is active
	Duties []contracts.Duty // of the person; none once dismissed
}

// Has reports whether the member is active in a role.
func (s Standing) Has(r contracts.Role) bool { return slices.Contains(s.Roles, r) }

// Must reports whether the person has a duty.
func (s Standing) Must(d contracts.Duty) bool { return slices.Contains(s.Duties, d) }

// Supervises reports whether the caller is in every audience: the venue or a regulator.
func (s Standing) Supervises() bool {
	return s.Has(contracts.RoleVenue) || s.Has(contracts.RoleRegulator)
}

// Standing looks up a member and one of its people. What the ledger doesn't know has no standing.
func (d *Directory) Standing(ctx context.Context, member, person contracts.ID) (s Standing, err error) {
	m, err := projection.One[contracts.Member](ctx, d.DB, `SELECT id, position, record FROM proj.members WHERE id = $1`, string(member))
	if errors.Is(err, projection.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if m.Value.State == contracts.Active {
		s.Roles = m.Value.Roles
	}
	if person == "" {
		return s, nil
	}
	p, err := projection.One[contracts.Person](ctx, d.DB, `SELECT id, position, record FROM proj.people WHERE id = $1`, string(member)+"/"+string(person))
	if errors.Is(err, projection.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if p.Value.Dismissed == 0 {
		s.Duties = p.Value.Duties
	}
	return s, nil
}

// Reader is on whose behalf a request reads: nobody's when it is anonymous.
func (d *Directory) Reader(ctx context.Context) (projection.Reader, error) {
	c, ok := CallerOf(ctx)
	if !ok {
		return projection.Reader{}, nil
	}
	s, err := d.Standing(ctx, c.Member, c.Person)
	return projection.Reader{Member: c.Member, Supervises: s.Supervises()}, err
}
