package contractstest

import (
	"fmt"
	"maps"
	"strconv"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/signing"
)

// builder makes the body that a script means when it says no more than the kind and a name. It takes the options that
// are no fields of the body; the rest override fields.
type builder func(s *Scene, a *Actor, l *line) (*act, error)

// bodies has a builder for every kind of command.
var bodies = func() map[string]builder {
	all := map[string]builder{}
	for _, group := range []map[string]builder{memberBodies, productBodies, tradeBodies, moneyBodies, privateBodies} {
		maps.Copy(all, group)
	}
	return all
}()

// read gives a record of the oracle's state.
func read[T any](s *Scene, key string) (*T, error) {
	b, err := s.Oracle.Get(key)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, fmt.Errorf("the ledger has no %s", key)
	}
	return contracts.Read[T](b)
}

// opening gives the opening of a commitment that the ledger has kept.
func (s *Scene) opening(c contracts.Hash) (contracts.Opening, bool) {
	k, ok := s.Oracle.Openings[c]
	return k.Opening, ok
}

// opened decodes a private value that the ledger has kept.
func opened[T any](s *Scene, c contracts.Hash) (*T, error) {
	o, ok := s.opening(c)
	if !ok {
		return nil, fmt.Errorf("the ledger keeps no opening of %s", c)
	}
	return contracts.Read[T](o.Value)
}

// opens gathers the kept openings of commitments, those that there are.
func (s *Scene) opens(cs ...contracts.Hash) (out []contracts.Opening) {
	seen := map[contracts.Hash]bool{}
	for _, c := range cs {
		if o, ok := s.opening(c); ok && !seen[c] {
			seen[c] = true
			out = append(out, o)
		}
	}
	return out
}

// commit makes a commitment to a value that the actor chooses. The option private=malformed commits to no value at all.
func (s *Scene) commit(l *line, tag string, v any) (contracts.Hash, contracts.Opening) {
	if l.take("private", "") == "malformed" {
		o := contracts.Opening{Salt: s.M.Random(), Value: []byte(`{"amount":100}`)}
		return o.Commitment(tag), o
	}
	return signing.Commit(tag, s.M.Random(), v)
}

// need resolves the name that a command is about.
func (s *Scene) need(l *line) (contracts.ID, error) {
	if l.name() == "" {
		return "", fmt.Errorf("want a name after %s", l.words[1])
	}
	return s.id(l.name())
}

// about makes a builder of a command whose body needs nothing but the id of what it is about.
func about(body func(id contracts.ID, reason string) any) builder {
	return func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, err := s.need(l)
		return &act{body: body(id, "as the script says")}, err
	}
}

// names binds what a command made.
func (s *Scene) bind(name, noun string) func() {
	return func() {
		if name != "" {
			s.names[name] = s.M.Last(noun)
		}
	}
}

func atoi(word string) (int64, error) { return strconv.ParseInt(word, 10, 64) }

// clone copies a value through its canonical bytes, so that an override can't reach what it was copied from.
func clone[T any](v T) *T {
	out := new(T)
	if err := canon.Unmarshal(canon.Marshal(v), out); err != nil {
		*out = v
	}
	return out
}
