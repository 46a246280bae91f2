// Package records remembers records of State in their decoded form, for a contracts.Decoded.
package records

import (
	"bytes"
	"sync"
)

// Cache remembers decoded records in two generations: the older is dropped when the younger is full. A record is known
// again by its value, so that nothing needs to be told when it is written. Many goroutines may use it, and none may change
// what it gives.
type Cache struct {
	limit int

	mu         sync.Mutex
	young, old map[string]remembered
}

type remembered struct {
	value  []byte
	record any
}

// New gives a Cache that remembers at most twice limit records.
func New(limit int) *Cache {
	return &Cache{limit: limit, young: map[string]remembered{}, old: map[string]remembered{}}
}

// Read gives what read makes of the value of key, from memory when it was asked for the same before.
func (c *Cache) Read(key string, value []byte, read func([]byte) (any, error)) (any, error) {
	if x, ok := c.find(key, value); ok {
		return x, nil
	}
	record, err := read(value)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A value may be part of a whole message, which must not be kept for it.
	c.keep(key, remembered{bytes.Clone(value), record})
	return record, nil
}

func (c *Cache) find(key string, value []byte) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x, ok := c.young[key]; ok && bytes.Equal(x.value, value) {
		return x.record, true
	}
	x, ok := c.old[key]
	if !ok || !bytes.Equal(x.value, value) {
		return nil, false
	}
	c.keep(key, x)
	return x.record, true
}

func (c *Cache) keep(key string, x remembered) {
	if len(c.young) >= c.limit {
		c.young, c.old = map[string]remembered{}, c.young
	}
	c.young[key] = x
}
