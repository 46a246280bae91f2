package contracts

import (
	"maps"
	"slices"
	"strings"
)

// Result is what an accepted command does.
type Result struct {
	Repeated bool // the same bytes were accepted before; nothing is written, Outcome is the recorded one
	Outcome  Outcome

	Rulebook int64
	Events   []Event
	Writes   []Write // ascending by key; the last word of the command, cmd/<id> included
	Public   bool
	Objects  []ID // non-public objects written, ascending
	Audience []ID // parties that the body may go to, ascending; the venue and regulators may always
	Openings []KeptOpening
}

// Outcome is what cmd/<id> records of an accepted command.
type Outcome struct {
	Digest Hash   `json:"digest"` // of the command's bytes
	Kind   string `json:"kind"`
	Events []struct {
		Name   string `json:"name"`
		Object ID     `json:"object,omitempty"`
	} `json:"events"`
}

// KeyCommand is where an accepted command's outcome stands.
func KeyCommand(id ID) string { return "cmd/" + string(id) }

// FirstReads lists keys that Apply and EntryTime read of every command like this one, for a State that reads many at once.
func (c *Command) FirstReads() []string {
	keys := []string{keyClock, keyGenesis, keyRulebook, KeyCommand(c.ID)}
	if c.spec.outsider {
		return keys
	}
	keys = append(keys, KeyMember(ID(c.Member)))
	for _, s := range c.Signatures {
		keys = append(keys, KeyKey(s.Key.ID()))
	}
	return keys
}

// Apply is the only place where a market rule says yes or no. It is a pure function of the state, the time and the
// command: no I/O, clock, randomness, float or map order. A *Refusal leaves no trace; any other error is a failure
// and decides nothing.
func Apply(st State, env Env, cmd *Command) (*Result, error) {
	t := &tx{st: st, env: env, cmd: cmd, spec: cmd.spec, writes: map[string][]byte{}, used: make([]bool, len(cmd.Openings))}
	t.kept, _ = st.(Decoded)
	t.early, _ = st.(Ahead)
	res, refusal := t.apply()
	if t.err != nil {
		return nil, t.err
	}
	if refusal != nil {
		return nil, refusal
	}
	return res, nil
}

func (t *tx) apply() (*Result, *Refusal) {
	c := t.cmd
	if c.Ledger != t.env.Ledger {
		return nil, refuse("command.ledger", "this command is for another ledger").at("ledger")
	}
	if done, ok := get[Outcome](t, KeyCommand(c.ID)); ok {
		if done.Digest == c.Digest {
			return &Result{Repeated: true, Outcome: *done}, nil
		}
		return nil, refuse("command.id_reused", "this command id was accepted with other bytes").at("id")
	}
	t.gen, _ = peek[genesisRecord](t, keyGenesis)
	t.rules, _ = peek[Rulebook](t, keyRulebook)
	if t.gen != nil && t.rules == nil {
		t.fail(errNoRulebook)
		return nil, nil
	}
	if (t.gen == nil) != (c.Kind == kindGenesis) {
		return nil, refuse("command.genesis", "genesis is the first command of a ledger and only that")
	}
	if t.gen != nil {
		if r := t.checkTime(); r != nil {
			return nil, r
		}
	}
	if !t.spec.outsider {
		if r := t.authenticate(); r != nil {
			return nil, r
		}
	}
	if r := t.spec.apply(t, c.body); r != nil {
		return nil, r
	}
	if len(t.signers) < len(c.Signatures) {
		return nil, refuse("signature.foreign", "a key signed that is not in the application")
	}
	for _, s := range t.signers {
		if !slices.Contains(t.covered, s.member) {
			return nil, refuse("signature.foreign", "a member signed who is no party to this command")
		}
	}
	if i := slices.Index(t.used, false); i >= 0 {
		return nil, refuse("opening.unneeded", "opening %d belongs to no commitment of this command", i)
	}
	return t.result(), nil
}

// checkTime refuses a command outside its own validity. timeSkewSec allows for a signer's clock that runs ahead.
func (t *tx) checkTime() *Refusal {
	c := t.cmd
	if t.env.Now.Add(t.rules.TimeSkewSec) < c.NotBefore {
		return refuse("command.too_early", "notBefore is more than %d s ahead of the ledger's time", t.rules.TimeSkewSec).at("notBefore")
	}
	if t.env.Now > c.NotAfter {
		return refuse("command.expired", "notAfter has passed").at("notAfter")
	}
	return nil
}

func (t *tx) result() *Result {
	res := &Result{Events: t.events, Public: t.spec.public, Openings: t.opened}
	res.Outcome = Outcome{Digest: t.cmd.Digest, Kind: t.cmd.Kind}
	for _, e := range t.events {
		res.Outcome.Events = append(res.Outcome.Events, struct {
			Name   string `json:"name"`
			Object ID     `json:"object,omitempty"`
		}{e.Name, e.Object})
	}
	slices.Sort(t.parties)
	t.keepReaders()
	spec := *t.spec
	spec.clearing = false // cmd/ lives in the namespace of the kind's definition
	t.spec = &spec
	t.put(KeyCommand(t.cmd.ID), res.Outcome)
	for _, k := range slices.Sorted(maps.Keys(t.writes)) {
		res.Writes = append(res.Writes, Write{k, t.writes[k]})
	}
	res.Objects = Objects(res.Writes)
	if !res.Public {
		res.Audience = t.parties
	}
	for i := range res.Openings {
		res.Openings[i].Audience = t.parties
	}
	if t.rules != nil {
		res.Rulebook = t.rules.Version
	} else {
		res.Rulebook = 1
	}
	return res
}

// private lists the nouns whose objects are known only to their parties: the ids of those that a command wrote stand
// in the published leaf, so that a party notices a withheld body.
var private = map[string]bool{
	"attestation": true, "negotiation": true, "agreement": true, "grant": true, "consent": true, "usage": true, "period": true,
	"certificate": true, "export": true, "dispute": true, "correction": true, "clr/escrow": true, "clr/settlement": true,
	"clr/movement": true, "clr/settled": true, "clr/debt": true, "model": true, "statistics": true,
}

// Objects lists the ids of the non-public objects in a write set, ascending. The id is the key's first id after its
// noun: usage/<agreement>/<period> belongs to the agreement.
func Objects(ws []Write) []ID {
	var ids []ID
	for _, w := range ws {
		noun, rest, _ := strings.Cut(w.Key, "/")
		if noun == "clr" {
			var n string
			n, rest, _ = strings.Cut(rest, "/")
			noun += "/" + n
		}
		if !private[noun] {
			continue
		}
		id, _, _ := strings.Cut(rest, "/")
		ids = append(ids, ID(id))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
