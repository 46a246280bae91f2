package gate

import (
	"sync"

	"github.com/bund-exchange/bund/contracts"
)

// Records remembers records in their decoded form: at each call the same few are asked, and they change seldom. It
// serves states whose values are never changed once they are given out, as those of a follower aren't: a record is
// known again by the very bytes that it was decoded from. The zero value remembers nothing yet.
type Records struct {
	mu   sync.RWMutex
	kept map[string]remembered
}

type remembered struct {
	value  []byte
	record any
}

// maxRecords bounds the memory; at the limit all are forgotten.
const maxRecords = 1 << 14

// Over gives st with its records remembered.
func (r *Records) Over(st contracts.State) contracts.State {
	if r == nil {
		return st
	}
	return decoded{st, r}
}

type decoded struct {
	contracts.State
	records *Records
}

// Record gives what read makes of the value under key, nil when there is none. Nobody changes what it gives.
func (d decoded) Record(key string, read func(value []byte) (any, error)) (any, error) {
	v, err := d.State.Get(key)
	if err != nil || v == nil {
		return nil, err
	}
	r := d.records
	r.mu.RLock()
	k, ok := r.kept[key]
	r.mu.RUnlock()
	if ok && same(k.value, v) {
		return k.record, nil
	}
	record, err := read(v)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil || len(r.kept) >= maxRecords {
		r.kept = map[string]remembered{}
	}
	r.kept[key] = remembered{v, record}
	return record, nil
}

// same reports whether a and b are one array in memory.
func same(a, b []byte) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }
