package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/stats"
)

// statStore is <dir>/statistics.db: of each task what this node's roles in it keep, a bucket for each.
type statStore struct{ db *bbolt.DB }

func openStatStore(dir string) (*statStore, error) {
	db, err := bbolt.Open(filepath.Join(dir, "statistics.db"), 0o600, &bbolt.Options{Timeout: 5 * time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("couldn't open the store of statistics: %w", err)
	}
	return &statStore{db}, nil
}

// A role in a task has a bucket of its own.
const (
	bucketAggregator  = "aggregator/"
	bucketCollector   = "collector/"
	bucketContributor = "contributor/"
)

// of gives a role's part of the store in one task.
func (s *statStore) of(role string, task contracts.ID) roleStore {
	return roleStore{s.db, []byte(role + string(task))}
}

// roleStore implements stats.Store on a bucket. bbolt syncs before Update returns.
type roleStore struct {
	db     *bbolt.DB
	bucket []byte
}

// Update implements stats.Store.
func (s roleStore) Update(fn func(stats.Tx) error) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(s.bucket)
		if err != nil {
			return err
		}
		return fn(roleTx{b})
	})
}

// View implements stats.Store.
func (s roleStore) View(fn func(stats.Tx) error) error {
	return s.db.View(func(tx *bbolt.Tx) error { return fn(roleTx{tx.Bucket(s.bucket)}) })
}

type roleTx struct{ b *bbolt.Bucket } // nil before the first update

func (x roleTx) Get(key []byte) []byte {
	if x.b == nil {
		return nil
	}
	return x.b.Get(key)
}

func (x roleTx) Put(key, value []byte) error { return x.b.Put(key, value) }
func (x roleTx) Delete(key []byte) error     { return x.b.Delete(key) }

func (x roleTx) Scan(prefix []byte, fn func(k, v []byte) bool) error {
	if x.b == nil {
		return nil
	}
	c := x.b.Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if !fn(k, v) {
			return nil
		}
	}
	return nil
}

// get reads one value, nil when there is none.
func (s roleStore) get(key string) (v []byte, err error) {
	err = s.View(func(tx stats.Tx) error {
		v = append(v, tx.Get([]byte(key))...)
		return nil
	})
	return v, err
}

func (s roleStore) put(key string, v []byte) error {
	return s.Update(func(tx stats.Tx) error { return tx.Put([]byte(key), v) })
}
