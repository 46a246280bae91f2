package embedded

import (
	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/records"
)

// view is the state at one height: layers of changes, the newest first, over one read transaction of the store. It is
// the contracts.State that the rules run on.
type view struct {
	layers []layer
	bucket *bolt.Bucket
	cache  *cache // nil: none
}

var _ contracts.State = (*view)(nil)

func (v *view) find(key string) (cell, bool) {
	for _, l := range v.layers {
		if c, ok := l[key]; ok {
			return c, c.value != nil
		}
	}
	if v.cache != nil {
		if c, ok := v.cache.get(key); ok {
			return c, c.value != nil
		}
	}
	c := decodeCell(v.bucket.Get([]byte(key)))
	if v.cache != nil {
		v.cache.put(key, c)
	}
	return c, c.value != nil
}

// Get gives the value of key, or nil. The caller must not change it.
func (v *view) Get(key string) ([]byte, error) {
	c, _ := v.find(key)
	return c.value, nil
}

// cache remembers what the store answered, absence included, so that records every command reads cost no descent of
// its tree. Two generations bound it: the older is dropped when the younger is full. One goroutine uses it.
type cache struct {
	limit      int
	young, old map[string]cell
}

func newCache(limit int) *cache {
	return &cache{limit: limit, young: map[string]cell{}, old: map[string]cell{}}
}

func (c *cache) get(key string) (cell, bool) {
	if x, ok := c.young[key]; ok {
		return x, true
	}
	x, ok := c.old[key]
	if ok {
		c.put(key, x)
	}
	return x, ok
}

func (c *cache) put(key string, x cell) {
	if len(c.young) >= c.limit {
		c.young, c.old = map[string]cell{}, c.young
	}
	c.young[key] = x
}

// drop forgets a key that is about to be written.
func (c *cache) drop(key string) {
	delete(c.young, key)
	delete(c.old, key)
}

// deciding is the view that the rules get from the sequencer: records that every command reads are remembered in their
// decoded form.
type deciding struct {
	*view
	records *records.Cache
}

var _ contracts.Decoded = deciding{}

// Record gives what read makes of the value of key, nil when there is none.
func (d deciding) Record(key string, read func([]byte) (any, error)) (any, error) {
	c, ok := d.find(key)
	if !ok {
		return nil, nil
	}
	return d.records.Read(key, c.value, read)
}
