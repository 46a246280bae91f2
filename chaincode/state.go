package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/contracts/records"
)

// Limits of what one transaction may read. The rules need some twenty keys a command, in a handful of rounds.
const (
	maxReads  = 20_000
	maxRounds = 200
)

// state is the contracts.State of one transaction. One read at a time would be slow, a hundred together are not: so the
// rules run in rounds. A key that wasn't fetched yet reads as absent and is noted; a round in which that happened decides
// nothing, the noted keys are fetched together, and the rules run again. The answers of the round that misses nothing
// count: it saw only what the ledger holds.
//
// Both definitions' keys are read. A read of the other definition's goes through that one, since only it can reach its
// namespace; it is checked at commit like every other.
type state struct {
	stub     shim.ChaincodeStubInterface
	clearing bool   // this is the clearing definition
	other    string // name of the other one
	kept     *records.Cache

	known  map[place][]byte // nil for absent
	missed map[place]bool
}

// place is where a key stands: in this definition's namespace or the other's.
type place struct {
	key   string
	other bool
}

var (
	_ contracts.Decoded = (*state)(nil)
	_ contracts.Ahead   = (*state)(nil)
)

func (c *contract) newState(stub shim.ChaincodeStubInterface) *state {
	return &state{stub: stub, clearing: c.definition == clearing, other: c.other, kept: c.records, known: map[place][]byte{}, missed: map[place]bool{}}
}

// places gives where a key may stand. What became of a command is noted by the definition that decided it, and an id that
// one accepted can't be used at the other: both places are asked, so that of two such commands at once one is invalid.
func (s *state) places(key string) []place {
	if strings.HasPrefix(key, contracts.KeyCommand("")) {
		return []place{{key, false}, {key, true}}
	}
	return []place{{key, strings.HasPrefix(key, "clr/") != s.clearing}}
}

// Get gives the value of key, or nil.
func (s *state) Get(key string) (value []byte, err error) {
	for _, p := range s.places(key) {
		v, ok := s.known[p]
		if !ok {
			s.missed[p] = true
		}
		if value == nil {
			value = v
		}
	}
	return value, nil
}

// Record gives what read makes of the value of key, nil when there is none.
func (s *state) Record(key string, read func([]byte) (any, error)) (any, error) {
	v, _ := s.Get(key)
	if v == nil {
		return nil, nil
	}
	return s.kept.Read(key, v, read)
}

// Ahead notes keys that will be read.
func (s *state) Ahead(keys ...string) {
	for _, k := range keys {
		for _, p := range s.places(k) {
			if _, ok := s.known[p]; !ok {
				s.missed[p] = true
			}
		}
	}
}

// complete reports whether everything that was read is known.
func (s *state) complete() bool { return len(s.missed) == 0 }

// fetch reads what was missed: at most one call for each namespace.
func (s *state) fetch() error {
	if len(s.known)+len(s.missed) > maxReads {
		return fmt.Errorf("a transaction reads at most %d keys", maxReads)
	}
	var own, other []string
	for p := range maps.Keys(s.missed) {
		if p.other {
			other = append(other, p.key)
		} else {
			own = append(own, p.key)
		}
	}
	slices.Sort(own)
	slices.Sort(other)
	if len(own) > 0 {
		values, err := s.stub.GetMultipleStates(own...)
		if err != nil {
			return fmt.Errorf("couldn't read: %w", err)
		}
		if err := s.learn(false, own, values); err != nil {
			return err
		}
	}
	if len(other) > 0 {
		values, err := s.across(other)
		if err != nil {
			return err
		}
		if err := s.learn(true, other, values); err != nil {
			return err
		}
	}
	clear(s.missed)
	return nil
}

func (s *state) learn(other bool, keys []string, values [][]byte) error {
	if len(values) != len(keys) {
		return fmt.Errorf("the peer gave %d values for %d keys", len(values), len(keys))
	}
	for i, stored := range values {
		var v []byte
		if len(stored) > 0 { // a peer without GetMultipleStates gives absent keys as empty
			var err error
			if v, err = proposal.ParseStored(stored); err != nil {
				return fmt.Errorf("couldn't read the key %s: %w", keys[i], err)
			}
		}
		s.known[place{keys[i], other}] = v
	}
	return nil
}

// across reads keys of the other definition's namespace. Whatever goes wrong there arrives without a message.
func (s *state) across(keys []string) ([][]byte, error) {
	args := [][]byte{[]byte(proposal.Gets)}
	for _, k := range keys {
		args = append(args, []byte(k))
	}
	r := s.stub.InvokeChaincode(s.other, args, "")
	if r.GetStatus() != shim.OK {
		return nil, fmt.Errorf("couldn't read from %s: it answered %d %s", s.other, r.GetStatus(), r.GetMessage())
	}
	return proposal.ParseValues(r.GetPayload(), len(keys))
}

var errRounds = errors.New("the rules did not come to an end of reading")
