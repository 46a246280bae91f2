package contracts

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/bund-exchange/bund/contracts/canon"
)

// Tags of what commitments commit to.
const (
	TagTerms      = "bund/terms/v1"      // Terms
	TagText       = "bund/text/v1"       // the rendered contract, UTF-8
	TagUsage      = "bund/usage/v1"      // Totals
	TagMovement   = "bund/movement/v1"   // MovementValue
	TagEscrow     = "bund/escrow/v1"     // EscrowValue
	TagSettlement = "bund/settlement/v1" // SettlementValue
	TagDebt       = "bund/debt/v1"       // DebtValue
)

// KeptOpening is an opening that the ledger must store, for Audience, the venue and the regulators only, before the
// entry is written. A missing one without an erasure on the ledger is an audit failure.
type KeptOpening struct {
	Tag        string
	Commitment Hash
	Opening    Opening
	Audience   []ID
}

// Readers are the members for whom the opening of a commitment was first kept, beside the venue and the regulators. They
// stand in State, in an entry that only they can read, so that nobody else makes a missing opening lawful by an erasure.
type Readers struct {
	Members []ID `json:"members"`
}

// KeyReaders is where the readers of a commitment stand, and keyClearingReaders where a command of the clearing
// definition puts them.
func KeyReaders(commitment Hash) string         { return "commitment/" + string(commitment) }
func keyClearingReaders(commitment Hash) string { return "clr/commitment/" + string(commitment) }

// keepReaders notes who may read what this command opened for the first time. Whoever opens it later is no reader by that.
func (t *tx) keepReaders() {
	for _, k := range t.opened {
		general, clearing := KeyReaders(k.Commitment), keyClearingReaders(k.Commitment)
		if t.has(general) || t.has(clearing) {
			continue
		}
		key := general
		if t.spec.clearing {
			key = clearing
		}
		t.put(key, Readers{t.parties})
	}
}

// reads reports whether the signing member is a reader of a commitment: the venue holds whatever was ever opened on its
// ledger, and nothing else.
func (t *tx) reads(commitment Hash) bool {
	r, ok := get[Readers](t, KeyReaders(commitment))
	if !ok {
		r, ok = get[Readers](t, keyClearingReaders(commitment))
	}
	return ok && (t.me() == t.gen.Venue || slices.Contains(r.Members, t.me()))
}

// open decodes the value that a commitment hides from the openings sent beside the command.
func open[T any](t *tx, tag string, commitment Hash, field string) (*T, *Opening, *Refusal) {
	if t.cmd.Find != nil {
		o, ok := t.cmd.Find(tag, commitment)
		v := new(T)
		if !ok || o.Commitment(tag) != commitment || canon.Unmarshal(o.Value, v) != nil {
			return nil, nil, refuse("opening.missing", "no opening for this commitment was found").at(field)
		}
		if !slices.ContainsFunc(t.opened, func(k KeptOpening) bool { return k.Commitment == commitment }) {
			t.opened = append(t.opened, KeptOpening{Tag: tag, Commitment: commitment, Opening: o})
		}
		return v, &o, nil
	}
	for i := range t.cmd.Openings {
		o := &t.cmd.Openings[i]
		if o.Commitment(tag) != commitment {
			continue
		}
		v := new(T)
		if err := canon.Unmarshal(o.Value, v); err != nil {
			return nil, nil, refuse("opening.malformed", "the opening is not a canonical value of its kind").at(field)
		}
		if !t.used[i] {
			t.used[i] = true
			t.opened = append(t.opened, KeptOpening{Tag: tag, Commitment: commitment, Opening: *o})
		}
		return v, o, nil
	}
	return nil, nil, refuse("opening.missing", "no opening for this commitment was sent with the command").at(field)
}

// seal commits to a value that the contract itself makes. Its salt is HMAC(salt of an opening in hand, command id),
// so every executor makes the same commitment and nobody without that opening can guess the value.
func (t *tx) seal(tag string, from *Opening, value any) Hash {
	o := DerivedOpening(from, t.cmd.ID, tag, value)
	c := o.Commitment(tag)
	t.opened = append(t.opened, KeptOpening{Tag: tag, Commitment: c, Opening: o})
	return c
}

// DerivedOpening gives the opening of a value that a contract makes while it applies a command: whoever holds the
// opening it is derived from and knows the value can compute it. A []byte is taken as it is, anything else in its
// canonical bytes.
func DerivedOpening(from *Opening, command ID, tag string, value any) Opening {
	b, ok := value.([]byte)
	if !ok {
		b = canon.Marshal(value)
	}
	m := hmac.New(sha256.New, from.Salt[:])
	m.Write([]byte(tag))
	m.Write([]byte{0})
	m.Write([]byte(command))
	o := Opening{Value: b}
	m.Sum(o.Salt[:0])
	return o
}

// Subject is HMAC(key of the consent, credit code): no stable pseudonym of a company is on the ledger, and erasing the
// key erases the link.
func Subject(consentKey [32]byte, code CreditCode) Hash {
	m := hmac.New(sha256.New, consentKey[:])
	m.Write([]byte("bund/subject/v1\x00"))
	m.Write([]byte(code))
	return Hash(hex.EncodeToString(m.Sum(nil)))
}
