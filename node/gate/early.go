package gate

import (
	"sync"
	"sync/atomic"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// Early holds what the ledger has announced ahead of a checkpoint. It is not verified against the log: good enough to
// stop a use, never to start one. The zero value holds nothing.
type Early struct {
	n   atomic.Int64
	mu  sync.RWMutex
	top map[string]announced
}

type announced struct {
	value    []byte // nil: deleted
	position uint64
}

// Announce adds an entry's writes, perhaps seen before and in any order.
func (e *Early) Announce(x *ledger.Entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.top == nil {
		e.top = map[string]announced{}
	}
	for _, w := range x.Writes {
		if old, ok := e.top[w.Key]; !ok || old.position <= x.Position {
			e.top[w.Key] = announced{w.Value, x.Position}
		}
	}
	e.n.Store(int64(len(e.top)))
}

// Followed forgets what the verified state of size entries has caught up with.
func (e *Early) Followed(size uint64) {
	if e.empty() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, a := range e.top {
		if a.position < size {
			delete(e.top, key)
		}
	}
	e.n.Store(int64(len(e.top)))
}

// Forget drops everything: what was announced is of a history that has ended.
func (e *Early) Forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.top)
	e.n.Store(0)
}

func (e *Early) empty() bool { return e == nil || e.n.Load() == 0 }

// Both asks a question of st and, where something was announced, once more of st with that on top. It ends at the
// first error.
func (e *Early) Both(st contracts.State, ask func(contracts.State) error) error {
	if err := ask(st); err != nil || e.empty() {
		return err
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	return ask(overlaid{st, e.top})
}

type overlaid struct {
	contracts.State
	top map[string]announced
}

func (o overlaid) Get(key string) ([]byte, error) {
	if a, ok := o.top[key]; ok {
		return a.value, nil
	}
	return o.State.Get(key)
}
