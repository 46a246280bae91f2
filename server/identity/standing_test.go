package identity_test

import (
	"slices"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
)

func TestStandingIsTheLedgers(t *testing.T) {
	m := projectiontest.Begin(t, nil)
	applicant := m.Actor("申请人", contracts.RoleBuyer)
	m.Must(m.Do("", "member.apply", contracts.MemberApply{Application: applicant.App}, nil, applicant.Admin, applicant.Check))
	applicant.ID = m.Last("member")
	m.Must(m.Do(m.Buyer.ID, "person.dismiss", contracts.PersonDismiss{Person: m.Buyer.Person(3), Reason: "left"}, nil, m.Buyer.Admin))
	m.Project()
	d := identity.New(m.DB)
	for name, test := range map[string]struct {
		member, person contracts.ID
		roles          []contracts.Role
		duties         []contracts.Duty
		supervises     bool
	}{
		"administrator":     {m.Buyer.ID, m.Buyer.Person(0), []contracts.Role{contracts.RoleBuyer}, []contracts.Duty{contracts.DutyAdministrator}, false},
		"dismissed":         {m.Buyer.ID, m.Buyer.Person(3), []contracts.Role{contracts.RoleBuyer}, nil, false},
		"machine":           {m.Buyer.ID, "", []contracts.Role{contracts.RoleBuyer}, nil, false},
		"another's person":  {m.Buyer.ID, m.Provider.Person(0), []contracts.Role{contracts.RoleBuyer}, nil, false},
		"venue":             {m.Venue.ID, "", []contracts.Role{contracts.RoleVenue}, nil, true},
		"regulator":         {m.Regulator.ID, "", []contracts.Role{contracts.RoleRegulator}, nil, true},
		"applicant":         {applicant.ID, "", nil, nil, false},
		"nobody the ledger": {"00000000000000000000000000000009", "", nil, nil, false},
	} {
		s, err := d.Standing(t.Context(), test.member, test.person)
		if err != nil || !slices.Equal(s.Roles, test.roles) || !slices.Equal(s.Duties, test.duties) || s.Supervises() != test.supervises {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if r, err := d.Reader(t.Context()); err != nil || r != (projection.Reader{}) {
		t.Errorf("an anonymous reader: %+v, %v", r, err)
	}
	r, err := d.Reader(identity.WithCaller(t.Context(), identity.Caller{Member: m.Regulator.ID}))
	if err != nil || r != (projection.Reader{Member: m.Regulator.ID, Supervises: true}) {
		t.Errorf("the regulator reads as %+v, %v", r, err)
	}
}
