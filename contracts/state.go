package contracts

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts/canon"
)

// State is what the rules may read. Keys are printable ASCII in byte order, "noun/id" or "noun/parent/child". An
// error of State is a failure, never a refusal.
//
// Apply never writes through State: it returns the write set, so that a refused command has written nothing and the
// same rules run over a map, an overlay, or a chaincode stub that doesn't show a transaction its own writes. No rule
// scans: a range read conflicts with every insert into it on Fabric.
type State interface {
	// Get gives the value of key, or nil.
	Get(key string) ([]byte, error)
}

// Decoded is a State that remembers records in their decoded form, for a reader that asks the same few again and again.
// MayUse asks it for all that it reads, Apply only for what every command reads and none changes in place: see peek.
type Decoded interface {
	State
	// Record gives what read makes of the value of key, nil when there is none. Nobody changes what it gives.
	Record(key string, read func(value []byte) (any, error)) (any, error)
}

// Ahead is a State that reads many keys at once for less than one after another.
type Ahead interface {
	State
	// Ahead says that a rule is about to read these keys one by one, or some of them: it stops where it refuses.
	Ahead(keys ...string)
}

// Env is what a ledger tells the rules about the command at hand. Rules have no clock of their own.
type Env struct {
	Ledger   string // id of the ledger
	Now      Millis // the entry's time, decided by the ledger
	Position int64  // that the entry will take; -1 on a ledger that can't tell before the entry is ordered
}

// errRule marks a broken rule of the house inside a handler: a programmer's error, reported as a failure.
var errRule = errors.New("contracts: a handler broke a rule of State")

// errNoRulebook says that a State is no market's: genesis writes a rulebook and nothing removes it.
var errNoRulebook = errors.New("contracts: the state has no rulebook")

// tx is one command's view: reads go to State, writes and openings are collected. The first failure of State sticks
// in err; reads after it give "absent", and Apply reports the failure whatever the handler answered.
type tx struct {
	st    State
	kept  Decoded // st, when it remembers records
	early Ahead   // st, when it reads many keys at once
	looks bool    // nothing that is read is changed: MayUse
	env   Env
	cmd   *Command
	spec  *spec
	rules *Rulebook
	gen   *genesisRecord

	writes  map[string][]byte
	events  []Event
	parties []ID
	opened  []KeptOpening
	used    []bool // of cmd.Openings
	signers []signer
	covered []ID // members whose signatures a rule asked for
	err     error
}

func (t *tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *tx) raw(key string) []byte {
	if _, own := t.writes[key]; own {
		t.fail(fmt.Errorf("%w: read of the written key %s", errRule, key))
		return nil
	}
	v, err := t.st.Get(key)
	if err != nil {
		t.fail(fmt.Errorf("couldn't read %s: %w", key, err))
		return nil
	}
	return v
}

// ahead announces reads in a loop over what a command names.
func (t *tx) ahead(keys ...string) {
	if t.early != nil {
		t.early.Ahead(keys...)
	}
}

func (t *tx) has(key string) bool { return t.raw(key) != nil }

// get reads a record, for its caller to change. What State holds was written by Apply, so bytes that don't decode are a
// failure.
func get[T any](t *tx, key string) (*T, bool) {
	if t.looks {
		return peek[T](t, key)
	}
	return fresh[T](t, key)
}

// peek is get for a record, and all that it points to, that nobody changes: State may give the same one again.
func peek[T any](t *tx, key string) (*T, bool) {
	if t.kept == nil {
		return fresh[T](t, key)
	}
	if _, own := t.writes[key]; own {
		t.fail(fmt.Errorf("%w: read of the written key %s", errRule, key))
		return nil, false
	}
	r, err := t.kept.Record(key, func(v []byte) (any, error) { return Read[T](v) })
	if err != nil {
		t.fail(fmt.Errorf("couldn't read %s: %w", key, err))
		return nil, false
	}
	rec, ok := r.(*T)
	if r != nil && !ok {
		t.fail(fmt.Errorf("%w: %s holds a %T, read as a %T", errRule, key, r, rec))
	}
	return rec, ok
}

func fresh[T any](t *tx, key string) (*T, bool) {
	v := t.raw(key)
	if v == nil {
		return nil, false
	}
	rec, err := Read[T](v)
	if err != nil {
		t.fail(fmt.Errorf("couldn't decode %s: %w", key, err))
		return nil, false
	}
	return rec, true
}

// Read decodes a record of State, as found in a write set.
func Read[T any](value []byte) (*T, error) {
	rec := new(T)
	if err := canon.Unmarshal(value, rec); err != nil {
		return nil, err
	}
	return rec, nil
}

func (t *tx) put(key string, rec any) { t.write(key, canon.Marshal(rec)) }

func (t *tx) write(key string, value []byte) {
	if strings.HasPrefix(key, "clr/") != t.spec.clearing {
		t.fail(fmt.Errorf("%w: %s wrote %s of the other definition", errRule, t.spec.name, key))
	}
	t.writes[key] = value
}

// newID names an object that this command makes. It is random to everybody but those who see the command id.
func (t *tx) newID(noun string) ID { return ObjectID(t.cmd.ID, noun) }

// ObjectID is the id of the object that a command makes: the first 16 bytes of SHA-256(tag ‖ command id ‖ noun).
// Signers know it before they submit.
func ObjectID(command ID, noun string) ID {
	return ID(HashOf("bund/object/v1", []byte(command), []byte(noun))[:32])
}

func (t *tx) event(name string, object ID) {
	t.events = append(t.events, Event{Name: name, Object: object})
}

// audience adds members that the entry's body and openings may go to, beside the venue and the regulators.
func (t *tx) audience(ids ...ID) {
	for _, id := range ids {
		if id != "" && !slices.Contains(t.parties, id) {
			t.parties = append(t.parties, id)
		}
	}
}
