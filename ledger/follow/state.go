package follow

import (
	"slices"
	"sort"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// state is the followed market state in memory. Values are never changed after they are stored, so readers may keep
// them. Its user locks.
type state struct {
	m      map[string][]byte // nil value: deleted, the key still stands in a list
	sorted []string          // ascending
	fresh  []string          // keys that came after sorted was made, in any order
	dead   int               // nil values
}

// maxFresh bounds what a Scan looks through beside the sorted keys.
const maxFresh = 1024

func newState() *state { return &state{m: map[string][]byte{}} }

func (s *state) apply(w contracts.Write) {
	old, listed := s.m[w.Key]
	switch {
	case w.Value == nil && (!listed || old == nil):
		return
	case w.Value == nil:
		s.m[w.Key] = nil
		s.dead++
		return
	case !listed:
		s.fresh = append(s.fresh, w.Key)
	case old == nil:
		s.dead--
	}
	v := w.Value
	if len(v) == 0 {
		v = []byte{} // present and empty, not absent
	}
	s.m[w.Key] = v
}

// settle merges what came into the sorted keys, when there is enough of it, and drops the deleted.
func (s *state) settle() {
	if len(s.fresh) <= maxFresh && s.dead <= maxFresh+len(s.sorted)/4 {
		return
	}
	slices.Sort(s.fresh)
	merged := make([]string, 0, len(s.sorted)+len(s.fresh)-s.dead)
	a, b := s.sorted, s.fresh
	for len(a)+len(b) > 0 {
		var k string
		if len(b) == 0 || len(a) > 0 && a[0] < b[0] {
			k, a = a[0], a[1:]
		} else {
			k, b = b[0], b[1:]
		}
		if s.m[k] == nil {
			delete(s.m, k)
		} else {
			merged = append(merged, k)
		}
	}
	s.sorted, s.fresh, s.dead = merged, nil, 0
}

func (s *state) get(key string) ([]byte, bool) {
	v := s.m[key]
	return v, v != nil
}

// scan gives up to limit live keys that begin with prefix, ascending.
func (s *state) scan(prefix string, limit int) []contracts.Write {
	var late []string
	for _, k := range s.fresh {
		if strings.HasPrefix(k, prefix) {
			late = append(late, k)
		}
	}
	slices.Sort(late)
	var out []contracts.Write
	i := sort.SearchStrings(s.sorted, prefix)
	for len(out) < limit {
		var k string
		inSorted := i < len(s.sorted) && strings.HasPrefix(s.sorted[i], prefix)
		switch {
		case inSorted && (len(late) == 0 || s.sorted[i] < late[0]):
			k = s.sorted[i]
			i++
		case len(late) > 0:
			k, late = late[0], late[1:]
		default:
			return out
		}
		if v := s.m[k]; v != nil {
			out = append(out, contracts.Write{Key: k, Value: v})
		}
	}
	return out
}

// View is the state at one ledger position; valid only inside the function that Follower.View calls.
type View struct{ f *Follower }

// Size is the number of entries that the state has followed.
func (v View) Size() uint64 { return v.f.size }

// Get gives the value of key. The bytes may be kept, not changed.
func (v View) Get(key string) ([]byte, bool) { return v.f.state.get(key) }

// Scan gives up to limit keys that begin with prefix, ascending.
func (v View) Scan(prefix string, limit int) []contracts.Write { return v.f.state.scan(prefix, limit) }

// Rules gives the view as the state that the market's rules read.
func (v View) Rules() RulesState { return RulesState{v} }

// RulesState reads a View in the shape of contracts.State. It holds only what this member may see.
type RulesState struct{ v View }

// Get gives the value of key, or nil.
func (s RulesState) Get(key string) ([]byte, error) {
	b, _ := s.v.Get(key)
	return b, nil
}

// Scan gives up to limit children of parent.
func (s RulesState) Scan(parent string, limit int) ([]contracts.Write, error) {
	return s.v.Scan(parent+"/", limit), nil
}
