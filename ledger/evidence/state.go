package evidence

import (
	"bytes"
	"maps"
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// state is the market's state as the write sets make it. What an entry writes is known before the rules run again, so
// every entry of a chunk can be replayed at once, each over the state before it.
type state struct {
	base map[string][]byte

	// Writes of the chunk at hand: the last one of each key, from which a chain leads to those before it.
	last  map[string]int32 // index into nodes
	nodes []node
}

type node struct {
	value  []byte
	at     int32 // which entry of the chunk
	before int32 // the write of the same key before, or -1
}

// load takes a chunk's writes.
func (s *state) load(items []*item) {
	if s.last == nil {
		s.last = map[string]int32{}
	}
	clear(s.last)
	s.nodes = s.nodes[:0]
	for i, it := range items {
		if it.e == nil {
			continue
		}
		for _, w := range it.e.Writes {
			before, ok := s.last[w.Key]
			if !ok {
				before = -1
			}
			s.last[w.Key] = int32(len(s.nodes))
			s.nodes = append(s.nodes, node{w.Value, int32(i), before})
		}
	}
}

// before is the state before the i-th entry of the chunk. Views are read at the same time; nothing is written
// meanwhile.
func (s *state) before(i int) view { return view{s, int32(i)} }

type view struct {
	s  *state
	at int32
}

// Get implements contracts.State. The rules don't write into what they read.
func (v view) Get(key string) ([]byte, error) {
	if n, ok := v.s.last[key]; ok {
		for ; n >= 0; n = v.s.nodes[n].before {
			if v.s.nodes[n].at < v.at {
				return v.s.nodes[n].value, nil
			}
		}
	}
	return v.s.base[key], nil
}

func read[T any](v view, key string) *T {
	b, _ := v.Get(key)
	if b == nil {
		return nil
	}
	rec, err := contracts.Read[T](b)
	if err != nil {
		return nil
	}
	return rec
}

// merge makes the chunk's writes part of the base. Values are copied: the chunk's memory goes.
func (s *state) merge() {
	size := 0
	for _, n := range s.last {
		size += len(s.nodes[n].value)
	}
	space := arena{block: make([]byte, size), size: 4 * size}
	for k, n := range s.last {
		v := s.nodes[n].value
		if v == nil {
			delete(s.base, k)
			continue
		}
		b := space.take(len(v))
		copy(b, v)
		s.base[k] = b
	}
}

func (s *state) hash() [32]byte {
	h := ledger.NewStateHash()
	for _, k := range slices.Sorted(maps.Keys(s.base)) {
		h.Add(k, s.base[k])
	}
	return h.Sum()
}

// differing names the first field in which what the rules give differs from what an entry says; "" when nothing does.
// An entry has one encoding, so equal fields are equal bytes.
func differing(res *contracts.Result, e *ledger.Entry) string {
	if res.Rulebook != e.Rulebook {
		return "rulebook"
	}
	if !slices.Equal(res.Events, e.Events) {
		return "events"
	}
	for i, w := range res.Writes {
		if i >= len(e.Writes) || w.Key != e.Writes[i].Key {
			return "writes"
		}
		if x := e.Writes[i].Value; (w.Value == nil) != (x == nil) || !bytes.Equal(w.Value, x) {
			return "writes." + w.Key
		}
	}
	switch {
	case len(res.Writes) != len(e.Writes):
		return "writes"
	case res.Public != e.Public:
		return "public"
	case !slices.Equal(res.Objects, e.Objects):
		return "objects"
	case !slices.Equal(res.Audience, e.Audience):
		return "audience"
	}
	return ""
}
