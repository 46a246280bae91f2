package follow

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
)

// TestState holds the state against a map with sorted keys.
func TestState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, model := newState(), map[string][]byte{}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			for range rapid.IntRange(0, 600).Draw(t, "writes") {
				w := contracts.Write{Key: fmt.Sprintf("n%d/%d", rapid.IntRange(0, 3).Draw(t, "noun"), rapid.IntRange(0, 3000).Draw(t, "id"))}
				if rapid.IntRange(0, 2).Draw(t, "delete") > 0 {
					w.Value = rapid.SliceOfN(rapid.Byte(), 0, 2).Draw(t, "value")
					model[w.Key] = w.Value
				} else {
					delete(model, w.Key)
				}
				s.apply(w)
			}
			if rapid.Bool().Draw(t, "settle now") {
				s.settle()
			}
			prefix := rapid.SampledFrom([]string{"", "n", "n1/", "n2/1", "x"}).Draw(t, "prefix")
			limit := rapid.IntRange(0, 5000).Draw(t, "limit")
			var want []string
			for k := range model {
				if strings.HasPrefix(k, prefix) {
					want = append(want, k)
				}
			}
			slices.Sort(want)
			want = want[:min(limit, len(want))]
			got := s.scan(prefix, limit)
			if len(got) != len(want) {
				t.Fatalf("scan of %q gives %d keys, want %d", prefix, len(got), len(want))
			}
			for i, w := range got {
				v, ok := s.get(w.Key)
				if w.Key != want[i] || !bytes.Equal(w.Value, model[w.Key]) || !ok || !bytes.Equal(v, w.Value) {
					t.Fatalf("scan of %q gives %s at %d, want %s", prefix, w.Key, i, want[i])
				}
			}
		}
		live := 0
		for k := range s.m {
			if _, ok := s.get(k); ok {
				live++
				if _, in := model[k]; !in {
					t.Fatalf("%s came back", k)
				}
			}
		}
		if live != len(model) {
			t.Fatalf("%d live keys, want %d", live, len(model))
		}
	})
}

// TestSettle: growth and deletion are tidied away.
func TestSettle(t *testing.T) {
	s := newState()
	for round := range 3 {
		for i := range 10_000 {
			s.apply(contracts.Write{Key: fmt.Sprint("k/", i), Value: []byte{byte(round)}})
		}
		s.settle()
		if len(s.sorted) != 10_000 || len(s.fresh) != 0 {
			t.Fatalf("%d sorted, %d fresh", len(s.sorted), len(s.fresh))
		}
		for i := range 10_000 {
			s.apply(contracts.Write{Key: fmt.Sprint("k/", i)})
		}
		s.settle()
		if len(s.m) != 0 || len(s.sorted) != 0 || s.dead != 0 {
			t.Fatalf("%d in the map, %d sorted, %d dead", len(s.m), len(s.sorted), s.dead)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	f := &Follower{state: newState()}
	for i := range 100_000 {
		f.state.apply(contracts.Write{Key: fmt.Sprint("grant/", i), Value: make([]byte, 300)})
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := f.Get("grant/4711"); !ok {
				b.Error("lost")
			}
		}
	})
}
