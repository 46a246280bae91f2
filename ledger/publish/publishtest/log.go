// Package publishtest is a ledger of toy entries in memory, for tests of what publishes and follows ledgers. It keeps
// the rules that a real one keeps: positions without gaps, a hash chain, entries that never change.
package publishtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// Log is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	es   []*ledger.Stored
	prev [32]byte
	err  error
	grew chan struct{} // closed by the next Append
}

// Toy is what a test says about an entry.
type Toy struct {
	Public   bool
	Objects  []contracts.ID // ascending
	Audience []contracts.ID // ascending
	Writes   []contracts.Write
}

// ID makes an id out of a number; ids ascend with it.
func ID(n uint64) contracts.ID { return contracts.ID(fmt.Sprintf("%032x", n)) }

// Append adds entries and gives the new height.
func (l *Log) Append(toys ...Toy) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range toys {
		n := uint64(len(l.es))
		e := &ledger.Entry{
			Position: n, Time: contracts.Millis(1_800_000_000_000 + int64(n)), Rulebook: 1, Prev: l.prev,
			Raw:        fmt.Appendf(nil, "toy command %d", n),
			Signatures: []contracts.Signature{{Key: "toy", Sig: binary.BigEndian.AppendUint64(nil, n)}},
			Public:     t.Public, Objects: t.Objects, Audience: t.Audience, Writes: t.Writes,
		}
		l.push(e)
	}
	if l.grew != nil {
		close(l.grew)
		l.grew = nil
	}
	return uint64(len(l.es))
}

func (l *Log) push(e *ledger.Entry) {
	s := &ledger.Stored{Entry: e, Encoded: e.Encode()}
	s.Hash = ledger.Hash(s.Encoded)
	l.es, l.prev = append(l.es, s), s.Hash
}

// Fill appends n public entries without objects.
func (l *Log) Fill(n int) uint64 {
	toys := make([]Toy, n)
	for i := range toys {
		toys[i].Public = true
	}
	return l.Append(toys...)
}

// Prefix is another ledger with the first n entries: an old backup, or the beginning of another history.
func (l *Log) Prefix(n int) *Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &Log{es: append([]*ledger.Stored{}, l.es[:n]...)}
	if n > 0 {
		c.prev = c.es[n-1].Hash
	}
	return c
}

// Rewritten is a ledger of the same length whose entry at position says something else, with a chain that fits: what a
// dishonest operator would show.
func (l *Log) Rewritten(position int) *Log {
	c := l.Prefix(position)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range l.es[position:] {
		x := *e.Entry
		x.Prev = c.prev
		if i == 0 {
			x.Raw = append([]byte("another "), x.Raw...)
		}
		c.push(&x)
	}
	return c
}

// Fail makes every later read fail with err, until Fail(nil).
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// Height implements publish.Source.
func (l *Log) Height(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.es)), l.err
}

// Entries implements publish.Source.
func (l *Log) Entries(_ context.Context, from uint64, limit int) ([]*ledger.Stored, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	if from >= uint64(len(l.es)) {
		return nil, nil
	}
	return l.es[from:min(from+uint64(limit), uint64(len(l.es)))], nil
}

// Wait implements publish.Source.
func (l *Log) Wait(ctx context.Context, from uint64) error {
	for {
		l.mu.Lock()
		height := uint64(len(l.es))
		if l.grew == nil {
			l.grew = make(chan struct{})
		}
		grew := l.grew
		l.mu.Unlock()
		if height > from {
			return nil
		}
		select {
		case <-grew:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Leaf is the leaf at position.
func (l *Log) Leaf(position uint64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.es[position]
	return ledger.Leaf(e.Encoded, e.Entry)
}

// Entry is the entry at position.
func (l *Log) Entry(position uint64) *ledger.Stored {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.es[position]
}

// Key makes a note key pair.
func Key(t testing.TB, name string) (note.Signer, string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return s, vkey
}
