package embedded

import (
	"bytes"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
)

// view is the state at one height: layers of changes, the newest first, over one read transaction of the store. It is
// the contracts.State that the rules run on.
type view struct {
	layers []*layer
	bucket *bolt.Bucket
	cache  *cache // nil: none
}

var _ contracts.State = (*view)(nil)

func (v *view) find(key string) (cell, bool) {
	for _, l := range v.layers {
		if c, ok := l.cells[key]; ok {
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

// Scan gives up to limit children of parent in ascending order.
func (v *view) Scan(parent string, limit int) ([]contracts.Write, error) {
	prefix := parent + "/"
	changed := map[string][]byte{}
	var keys []string
	for _, l := range v.layers {
		for _, k := range l.under(prefix) {
			if _, newer := changed[k]; !newer {
				changed[k] = l.cells[k].value
				keys = append(keys, k)
			}
		}
	}
	slices.Sort(keys)
	var out []contracts.Write
	take := func(k string, value []byte) {
		if value != nil {
			out = append(out, contracts.Write{Key: k, Value: value})
		}
	}
	cur := v.bucket.Cursor()
	k, raw := cur.Seek([]byte(prefix))
	for len(out) < limit {
		below := k != nil && bytes.HasPrefix(k, []byte(prefix))
		switch {
		case !below && len(keys) == 0:
			return out, nil
		case !below || (len(keys) > 0 && keys[0] <= string(k)):
			if below && keys[0] == string(k) {
				k, raw = cur.Next()
			}
			take(keys[0], changed[keys[0]])
			keys = keys[1:]
		default:
			take(string(k), decodeCell(raw).value)
			k, raw = cur.Next()
		}
	}
	return out, nil
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
