package contracts

import (
	"errors"
	"slices"
	"strconv"
)

// Duty is what a person may sign for a member. Admission, listing, signing, price, money and freeze need two people.
type Duty string

const (
	DutyAdministrator Duty = "administrator" // people and keys
	DutyMaker         Duty = "maker"         // prepares
	DutyChecker       Duty = "checker"       // approves what another made
	DutyFinance       Duty = "finance"       // money
	DutyAuditor       Duty = "auditor"       // reads
)

// Check reports an unknown duty.
func (d Duty) Check() error {
	return oneOf(d, []Duty{DutyAdministrator, DutyMaker, DutyChecker, DutyFinance, DutyAuditor})
}

// PersonSpec appoints a person: duties, the digest of the identity evidence (no name is on the ledger), and keys.
type PersonSpec struct {
	Duties   []Duty    `json:"duties"`
	Evidence Hash      `json:"evidence"`
	Keys     []KeySpec `json:"keys"`
}

// Check reports a person who could sign nothing or approve what that same person made.
func (p PersonSpec) Check() error {
	if len(p.Duties) == 0 {
		return errors.New("duties is empty")
	}
	if slices.Contains(p.Duties, DutyMaker) && slices.Contains(p.Duties, DutyChecker) {
		return errors.New("one person is not both maker and checker")
	}
	if len(p.Keys) == 0 || len(p.Keys) > 8 {
		return errors.New("keys has 1 to 8 entries")
	}
	for _, k := range p.Keys {
		if k.Purpose != PurposeCommand {
			return errors.New("a person's keys sign commands")
		}
	}
	return nil
}

// Person is someone who signs for a member.
type Person struct {
	Duties    []Duty `json:"duties"`
	Evidence  Hash   `json:"evidence"`
	Dismissed Millis `json:"dismissed,omitempty"`
}

// PersonID is the id of the i-th person of an application, or of a person appointed later (i = 0, member replaced by
// the command's object id).
func PersonID(of ID, i int) ID {
	return ID(HashOf("bund/person/v1", []byte(of), []byte(strconv.Itoa(i)))[:32])
}

// KeyPerson is where a member's person stands.
func KeyPerson(member, person ID) string { return "person/" + string(member) + "/" + string(person) }

// PersonAppoint adds a person to one's own member.
type PersonAppoint struct {
	Person PersonSpec `json:"person"`
}

// PersonDismiss ends a person's signing; keys of that person sign nothing from then on.
type PersonDismiss struct {
	Person ID     `json:"person"`
	Reason string `json:"reason"`
}

func (t *tx) addPerson(member, id ID, p PersonSpec) *Refusal {
	if t.has(KeyPerson(member, id)) {
		return refuse("person.exists", "this person is already there")
	}
	for _, k := range p.Keys {
		if r := t.addKey(member, id, k); r != nil {
			return r
		}
	}
	t.put(KeyPerson(member, id), Person{Duties: p.Duties, Evidence: p.Evidence})
	return nil
}

func applyPersonAppoint(t *tx, b *PersonAppoint) *Refusal {
	id := PersonID(t.newID("person"), 0)
	if r := t.addPerson(t.me(), id, b.Person); r != nil {
		return r
	}
	t.event("person.appointed", id)
	return nil
}

func applyPersonDismiss(t *tx, b *PersonDismiss) *Refusal {
	p, ok := get[Person](t, KeyPerson(t.me(), b.Person))
	if !ok {
		return refuse("person.unknown", "this member has no such person").at("person")
	}
	if p.Dismissed != 0 {
		return refuse("person.dismissed", "this person no longer signs").at("person")
	}
	p.Dismissed = t.env.Now
	t.put(KeyPerson(t.me(), b.Person), p)
	t.event("person.dismissed", b.Person)
	return nil
}
