package ledgertest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// Audit reads a ledger from its first entry to its height and checks what every reader may rely on: positions without
// a gap, the hash chain, times that never fall, no command twice, and write sets that are what the rules give when they
// run again. It knows nothing of how the ledger works.
type Audit struct {
	Ledger  string
	Decode  func(contracts.Submission) (*contracts.Command, error)
	Apply   func(contracts.State, contracts.Env, *contracts.Command) (*contracts.Result, error)
	State   MapState
	IDs     map[contracts.ID]uint64
	Hashes  [][32]byte
	last    contracts.Millis
	perPage int
}

// NewAudit begins before the first entry, with the small rule book.
func NewAudit(ledgerID string) *Audit {
	return &Audit{Ledger: ledgerID, Decode: Decode, Apply: Apply, State: MapState{}, IDs: map[contracts.ID]uint64{}, perPage: 100}
}

// Height is the number of entries checked.
func (a *Audit) Height() uint64 { return uint64(len(a.Hashes)) }

// ReadAll checks all entries that l has and a has not seen.
func (a *Audit) ReadAll(ctx context.Context, l ledger.Ledger) error {
	for {
		page, err := l.Entries(ctx, a.Height(), a.perPage)
		if err != nil {
			return fmt.Errorf("couldn't read entries from %d: %w", a.Height(), err)
		}
		if len(page) == 0 {
			h, err := l.Height(ctx)
			if err != nil {
				return err
			}
			if h != a.Height() {
				return fmt.Errorf("no entry at %d, but the height is %d", a.Height(), h)
			}
			return nil
		}
		for _, e := range page {
			if err := a.take(e); err != nil {
				return fmt.Errorf("entry %d: %w", a.Height(), err)
			}
		}
	}
}

func (a *Audit) take(s *ledger.Stored) error {
	e, err := ledger.DecodeEntry(s.Encoded)
	if err != nil {
		return err
	}
	var prev [32]byte
	if n := len(a.Hashes); n > 0 {
		prev = a.Hashes[n-1]
	}
	switch {
	case e.Position != a.Height() || s.Position != e.Position:
		return fmt.Errorf("position is %d", e.Position)
	case e.Prev != prev:
		return fmt.Errorf("the chain is broken")
	case s.Hash != ledger.Hash(s.Encoded):
		return fmt.Errorf("another hash")
	case e.Time < a.last-ledger.ClocksApart:
		return fmt.Errorf("time falls from %d to %d", a.last, e.Time)
	}
	cmd, err := a.Decode(contracts.Submission{Raw: e.Raw, Signatures: e.Signatures})
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	if p, twice := a.IDs[cmd.ID]; twice {
		return fmt.Errorf("the command stands at %d, too", p)
	}
	res, err := a.Apply(a.State, contracts.Env{Ledger: a.Ledger, Now: e.Time, Position: int64(e.Position)}, cmd)
	if err != nil {
		return fmt.Errorf("the rules refuse: %w", err)
	}
	same := slices.EqualFunc(res.Writes, e.Writes, func(x, y contracts.Write) bool {
		return x.Key == y.Key && (x.Value == nil) == (y.Value == nil) && bytes.Equal(x.Value, y.Value)
	})
	if !same {
		return fmt.Errorf("the rules give another write set")
	}
	a.State.Put(e.Writes)
	a.IDs[cmd.ID], a.last = e.Position, max(a.last, e.Time)
	a.Hashes = append(a.Hashes, s.Hash)
	return nil
}

// StateHash is the hash of the replayed state.
func (a *Audit) StateHash() [32]byte {
	h := ledger.NewStateHash()
	for _, k := range slices.Sorted(maps.Keys(a.State)) {
		h.Add(k, a.State[k])
	}
	return h.Sum()
}
