// Package contractstest runs the rule book in memory: a strict State, a market of actors that sign real commands, a
// seeded workload, and an auditor that keeps its own books.
package contractstest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// State is a State in memory that breaks loudly when a rule of the house is broken: keys outside printable ASCII, a
// result that is not sorted, a write set that differs when the same command is applied again.
type State struct {
	m     map[string][]byte
	Reads int // since the beginning, for tests that bound them
}

// NewState gives an empty State.
func NewState() *State { return &State{m: map[string][]byte{}} }

// Get implements contracts.State. The caller gets a copy: a rule that scribbles into it changes nothing.
func (s *State) Get(key string) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	s.Reads++
	v, ok := s.m[key]
	if !ok {
		return nil, nil
	}
	return slices.Clone(v), nil
}

// remembering is a State that gives decoded records, the same one each time. Afterwards changed names those that a rule
// has changed in place, which no rule may.
type remembering struct {
	*State
	records map[string]any
}

// Record implements contracts.Decoded.
func (r *remembering) Record(key string, read func([]byte) (any, error)) (any, error) {
	if x, ok := r.records[key]; ok {
		return x, nil
	}
	v, err := r.Get(key)
	if err != nil || v == nil {
		return nil, err
	}
	x, err := read(v)
	if err == nil {
		r.records[key] = x
	}
	return x, err
}

func (r *remembering) changed() error {
	for _, k := range slices.Sorted(maps.Keys(r.records)) {
		if !bytes.Equal(canon.Marshal(r.records[k]), r.m[k]) {
			return fmt.Errorf("contractstest: a rule changed the record of %s, which others read", k)
		}
	}
	return nil
}

func checkKey(key string) error {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return fmt.Errorf("contractstest: the key %q is not printable ASCII", key)
		}
	}
	if key == "" || len(key) > 256 {
		return fmt.Errorf("contractstest: a key has 1 to 256 bytes, this one %d", len(key))
	}
	return nil
}

// Merge writes a result's write set, after checking its form.
func (s *State) Merge(ws []contracts.Write) error {
	for i, w := range ws {
		if err := checkKey(w.Key); err != nil {
			return err
		}
		if i > 0 && w.Key <= ws[i-1].Key {
			return fmt.Errorf("contractstest: write set out of order at %s", w.Key)
		}
	}
	for _, w := range ws {
		if w.Value == nil {
			delete(s.m, w.Key)
		} else {
			s.m[w.Key] = slices.Clone(w.Value)
		}
	}
	return nil
}

// Keys lists the keys in order.
func (s *State) Keys() []string { return slices.Sorted(maps.Keys(s.m)) }

// Hash is a digest of the whole state.
func (s *State) Hash() contracts.Hash {
	var parts [][]byte
	for _, k := range s.Keys() {
		parts = append(parts, fmt.Appendf(nil, "%d:%s%d:", len(k), k, len(s.m[k])), s.m[k])
	}
	return contracts.HashOf("bund/state/v1", parts...)
}
