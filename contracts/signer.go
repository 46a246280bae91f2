package contracts

import "slices"

// signer is one signature whose key State knows and allows.
type signer struct {
	member  ID
	person  ID // "" for a machine
	duties  []Duty
	custody bool
}

// authenticate turns signatures into signers and checks what the kind needs of the command's member.
func (t *tx) authenticate() *Refusal {
	me := ID(t.cmd.Member)
	if me == "" {
		return refuse("member.missing", "this kind needs a member").at("member")
	}
	t.aheadOfPeople()
	for i, s := range t.cmd.Signatures {
		k, ok := peek[Key](t, KeyKey(s.Key.ID()))
		if !ok {
			return refuse("key.unknown", "the key of signature %d is not on the ledger", i)
		}
		if r := k.usable(PurposeCommand, t.env.Now); r != nil {
			return r
		}
		if i == 0 && k.Member != me {
			return refuse("key.foreign", "the first signature's key belongs to another member")
		}
		if k.Custody && t.spec.personal && !t.gen.Sample {
			return refuse("key.custody", "a key in custody can't sign %s", t.spec.name)
		}
		sg := signer{member: k.Member, person: k.Person, custody: k.Custody}
		if k.Person != "" {
			p, ok := peek[Person](t, KeyPerson(k.Member, k.Person))
			if !ok || p.Dismissed != 0 {
				return refuse("person.dismissed", "the person of signature %d no longer signs for its member", i)
			}
			sg.duties = p.Duties
		}
		t.signers = append(t.signers, sg)
	}
	return t.signedBy(me, t.spec.role, t.spec.duties...)
}

// aheadOfPeople announces the people behind all signatures.
func (t *tx) aheadOfPeople() {
	if t.early == nil {
		return
	}
	for _, s := range t.cmd.Signatures {
		if k, ok := peek[Key](t, KeyKey(s.Key.ID())); ok && k.Person != "" {
			t.ahead(KeyPerson(k.Member, k.Person))
		}
	}
}

// signedBy demands that the member is active, holds the role, and that distinct people of it with these duties signed.
func (t *tx) signedBy(member ID, role Role, duties ...Duty) *Refusal {
	m, ok := peek[Member](t, KeyMember(member))
	if !ok {
		return refuse("member.unknown", "no member has this id")
	}
	if m.State != Active && !(t.spec.suspended && m.State == Suspended) {
		return refuse("member.not_active", "the member is %s", m.State)
	}
	if role != "" && !slices.Contains(m.Roles, role) {
		return refuse("member.role", "this needs a member with the role %s", role)
	}
	t.covered = append(t.covered, member)
	var mine []signer
	for _, s := range t.signers {
		if s.member == member {
			mine = append(mine, s)
		}
	}
	if len(mine) == 0 {
		return refuse("signature.party", "a party to this command has not signed it")
	}
	if !fill(duties, mine, nil) {
		return refuse("signature.people", "want signatures of %d different people with the duties %s", len(duties), join(duties))
	}
	return nil
}

// fill tries to give every duty a person of its own. At most 16 signatures and 3 duties: trying all is cheap.
func fill(duties []Duty, from []signer, taken []ID) bool {
	if len(duties) == 0 {
		return true
	}
	for _, s := range from {
		if s.person == "" || slices.Contains(taken, s.person) || !slices.Contains(s.duties, duties[0]) {
			continue
		}
		if fill(duties[1:], from, append(taken[:len(taken):len(taken)], s.person)) {
			return true
		}
	}
	return false
}

func join[T ~string](xs []T) string {
	s := ""
	for i, x := range xs {
		if i > 0 {
			s += ", "
		}
		s += string(x)
	}
	return s
}

// me is the member on whose behalf the command is signed.
func (t *tx) me() ID { return ID(t.cmd.Member) }
