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

// openings keeps what this member may open of the ledger's private values, so that a restart needs no market. An
// erasure removes the file; see forget.
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
	return &openings{dir: dir, market: m, have: map[contracts.Hash]contracts.Opening{}}, nil
}

// get opens a commitment: from memory, from disk, or from the market. Each is checked against the commitment.
func (o *openings) get(ctx context.Context, tag string, c contracts.Hash) (contracts.Opening, error) {
	o.mu.Lock()
	x, ok := o.have[c]
	o.mu.Unlock()
	if ok {
		return x, nil
	}
	name := filepath.Join(o.dir, string(c))
	if b, err := os.ReadFile(name); err == nil && len(b) >= 32 {
		x = contracts.Opening{Salt: [32]byte(b[:32]), Value: b[32:]}
		if x.Commitment(tag) == c {
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
	tmp := filepath.Join(o.dir, string(c)+".tmp")
	err := os.WriteFile(tmp, append(x.Salt[:], x.Value...), 0o600)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(o.dir, string(c)))
	}
	if err != nil {
		return fmt.Errorf("couldn't keep opening: %w", err)
	}
	return nil
}

// forget destroys an opening here, after its erasure is on the ledger.
func (o *openings) forget(c contracts.Hash) error {
	o.mu.Lock()
	delete(o.have, c)
	o.mu.Unlock()
	if err := os.Remove(filepath.Join(o.dir, string(c))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("couldn't destroy opening: %w", err)
	}
	return nil
}

// openAs opens a commitment to a value of one kind.
func openAs[T any](ctx context.Context, o *openings, tag string, c contracts.Hash) (*T, contracts.Opening, error) {
	x, err := o.get(ctx, tag, c)
	if err != nil {
		return nil, x, err
	}
	v := new(T)
	if err := canon.Unmarshal(x.Value, v); err != nil {
		return nil, x, fmt.Errorf("couldn't read opening: %w", err)
	}
	return v, x, nil
}
