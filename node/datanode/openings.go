package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// openings keeps what this member may open of the ledger's private values, so that a restart needs no market. Each is a
// file, named by its commitment: salt, then value. An erasure removes the file.
type openings struct {
	dir    string
	market *market
	mu     sync.Mutex
	have   map[contracts.Hash]contracts.Opening
}

func openOpenings(dir string, m *market) (*openings, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make openings: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "tmp-*"))
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("couldn't remove unfinished opening: %w", err)
		}
	}
	return &openings{dir: dir, market: m, have: map[contracts.Hash]contracts.Opening{}}, nil
}

func (o *openings) path(c contracts.Hash) string { return filepath.Join(o.dir, string(c)) }

// get opens a commitment: from memory, from disk, or from the market. Each is checked against the commitment, so that
// a file that a crash left short is fetched again.
func (o *openings) get(ctx context.Context, tag string, c contracts.Hash) (contracts.Opening, error) {
	if err := c.Check(); err != nil {
		return contracts.Opening{}, err
	}
	o.mu.Lock()
	x, ok := o.have[c]
	o.mu.Unlock()
	if ok {
		return x, nil
	}
	if b, err := os.ReadFile(o.path(c)); err == nil && len(b) >= 32 {
		if x := (contracts.Opening{Salt: [32]byte(b[:32]), Value: b[32:]}); x.Commitment(tag) == c {
			o.keep(c, x)
			return x, nil
		}
	}
	x, err := o.market.opening(ctx, tag, c)
	if err != nil {
		return x, err
	}
	return x, o.store(c, x)
}

func (o *openings) keep(c contracts.Hash, x contracts.Opening) {
	o.mu.Lock()
	o.have[c] = x
	o.mu.Unlock()
}

func (o *openings) store(c contracts.Hash, x contracts.Opening) error {
	o.keep(c, x)
	f, err := os.CreateTemp(o.dir, "tmp-*")
	if err != nil {
		return fmt.Errorf("couldn't keep opening: %w", err)
	}
	_, err = f.Write(append(x.Salt[:], x.Value...))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), o.path(c))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("couldn't keep opening: %w", err)
	}
	return nil
}

// forget destroys an opening here, after its erasure is on the ledger.
func (o *openings) forget(c contracts.Hash) error {
	o.mu.Lock()
	delete(o.have, c)
	o.mu.Unlock()
	if err := os.Remove(o.path(c)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("couldn't destroy opening: %w", err)
	}
	return nil
}

// openAs opens a commitment to a value of one kind.
func openAs[T any](ctx context.Context, o *openings, tag string, c contracts.Hash) (*T, error) {
	x, err := o.get(ctx, tag, c)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := canon.Unmarshal(x.Value, v); err != nil {
		return nil, fmt.Errorf("couldn't read opening: %w", err)
	}
	return v, nil
}
