package gate

import (
	"sync"
	"sync/atomic"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// Early holds what the ledger has announced ahead of a checkpoint. It is not verified against the log: good enough to
// stop a use, never to start one.
type Early struct {
	n       atomic.Int64
	mu      sync.RWMutex
	entries []*ledger.Entry // ascending by position
}

// Announce adds an entry, perhaps seen before.
func (e *Early) Announce(x *ledger.Entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.entries); n > 0 && x.Position <= e.entries[n-1].Position {
		return
	}
	e.entries = append(e.entries, x)
	e.n.Store(int64(len(e.entries)))
}

// Followed forgets what the verified state has caught up with.
func (e *Early) Followed(size uint64) {
	if e.empty() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	i := 0
	for i < len(e.entries) && e.entries[i].Position < size {
		i++
	}
	e.entries = append([]*ledger.Entry(nil), e.entries[i:]...)
	e.n.Store(int64(len(e.entries)))
}

func (e *Early) empty() bool { return e == nil || e.n.Load() == 0 }

// over gives st with the announced writes on top.
func (e *Early) over(st contracts.State) contracts.State {
	e.mu.RLock()
	defer e.mu.RUnlock()
	top := map[string][]byte{}
	for _, x := range e.entries {
		for _, w := range x.Writes {
			top[w.Key] = w.Value
		}
	}
	return overlaid{st, top}
}

type overlaid struct {
	contracts.State
	top map[string][]byte
}

func (o overlaid) Get(key string) ([]byte, error) {
	if v, ok := o.top[key]; ok {
		return v, nil
	}
	return o.State.Get(key)
}
