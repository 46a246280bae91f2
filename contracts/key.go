package contracts

import "errors"

// Purpose is the one thing a key is for.
type Purpose string

const (
	PurposeCommand Purpose = "command" // signs commands
	PurposeReceipt Purpose = "receipt" // signs statements of receipt logs
	PurposeTLS     Purpose = "tls"     // a node's certificate key; peers pin it
	PurposeHPKE    Purpose = "hpke"    // receives sealed files
)

// Check reports an unknown purpose.
func (p Purpose) Check() error {
	return oneOf(p, []Purpose{PurposeCommand, PurposeReceipt, PurposeTLS, PurposeHPKE})
}

// KeySpec adds a key. The holder is the member, or the venue in custody, which is marked.
type KeySpec struct {
	Key      PublicKey `json:"key"`
	Purpose  Purpose   `json:"purpose"`
	Custody  bool      `json:"custody"`
	NotAfter Millis    `json:"notAfter,omitempty"` // zero: until revoked
}

// Check reports a key that its purpose can't use.
func (k KeySpec) Check() error {
	if (k.Purpose == PurposeHPKE) != (k.Key.Suite() == X25519) {
		return errors.New("an hpke key is of suite x25519, and only that")
	}
	return nil
}

// Key is a key on the ledger.
type Key struct {
	Key       PublicKey `json:"key"`
	Purpose   Purpose   `json:"purpose"`
	Member    ID        `json:"member"`
	Person    ID        `json:"person,omitempty"` // of a person's key
	Custody   bool      `json:"custody"`
	NotBefore Millis    `json:"notBefore"`
	NotAfter  Millis    `json:"notAfter,omitempty"`
	Revoked   Millis    `json:"revoked,omitempty"`
	Node      ID        `json:"node,omitempty"` // set when a node is registered with it
}

// KeyKey is where a key stands.
func KeyKey(id ID) string { return "key/" + string(id) }

func (k *Key) usable(p Purpose, now Millis) *Refusal {
	switch {
	case k.Revoked != 0:
		return refuse("key.revoked", "the key was revoked")
	case k.NotAfter != 0 && now > k.NotAfter:
		return refuse("key.expired", "the key's validity has ended")
	case k.Purpose != p:
		return refuse("key.purpose", "the key is for %s, not for %s", k.Purpose, p)
	}
	return nil
}

// KeyAdd adds a key to oneself: a person's, or (person "") a machine's.
type KeyAdd struct {
	Person ID      `json:"person,omitempty"`
	Key    KeySpec `json:"key"`
}

// KeyRevoke ends a key, at once.
type KeyRevoke struct {
	Key    ID     `json:"key"`
	Reason string `json:"reason"`
}

// Appointing people and keys takes two: else one administrator could make the second person whom other kinds need.
var keyKinds = []*spec{
	kind("person.appoint", applyPersonAppoint, by("", DutyAdministrator, DutyChecker), public, personal),
	kind("person.dismiss", applyPersonDismiss, by("", DutyAdministrator), public, personal, suspended),
	kind("key.add", applyKeyAdd, by("", DutyAdministrator, DutyChecker), public, personal),
	kind("key.revoke", applyKeyRevoke, by("", DutyAdministrator), public, suspended),
}

func (t *tx) addKey(member, person ID, k KeySpec) *Refusal {
	id := k.Key.ID()
	if t.writes[KeyKey(id)] != nil || t.has(KeyKey(id)) {
		return refuse("key.exists", "this key is already on the ledger")
	}
	if k.NotAfter != 0 && k.NotAfter <= t.env.Now {
		return refuse("key.expired", "the key's validity has ended")
	}
	t.put(KeyKey(id), Key{Key: k.Key, Purpose: k.Purpose, Member: member, Person: person, Custody: k.Custody, NotBefore: t.env.Now, NotAfter: k.NotAfter})
	return nil
}

func applyKeyAdd(t *tx, b *KeyAdd) *Refusal {
	if b.Person != "" {
		p, ok := get[Person](t, KeyPerson(t.me(), b.Person))
		if !ok || p.Dismissed != 0 {
			return refuse("person.unknown", "this member has no such person").at("person")
		}
		if b.Key.Purpose != PurposeCommand {
			return refuse("key.purpose", "a person's keys sign commands").at("key.purpose")
		}
	}
	if r := t.addKey(t.me(), b.Person, b.Key); r != nil {
		return r.at("key")
	}
	t.event("key.added", b.Key.Key.ID())
	return nil
}

func applyKeyRevoke(t *tx, b *KeyRevoke) *Refusal {
	k, ok := get[Key](t, KeyKey(b.Key))
	if !ok || k.Member != t.me() {
		return refuse("key.unknown", "this member has no such key").at("key")
	}
	if k.Revoked != 0 {
		return refuse("key.revoked", "the key was revoked").at("key")
	}
	k.Revoked = t.env.Now
	t.put(KeyKey(b.Key), k)
	t.event("key.revoked", b.Key)
	return nil
}

// receiptKey gives the key that signed a statement, if it is a receipt key of the member.
func (t *tx) receiptKey(id, member ID, field string) (*Key, *Refusal) {
	k, ok := get[Key](t, KeyKey(id))
	if !ok {
		return nil, refuse("key.unknown", "the key is not on the ledger").at(field)
	}
	if k.Member != member {
		return nil, refuse("key.foreign", "the key belongs to another member").at(field)
	}
	if r := k.usable(PurposeReceipt, t.env.Now); r != nil {
		return nil, r.at(field)
	}
	return k, nil
}
