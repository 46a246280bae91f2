// Package evidencetest makes ledgers in memory that export themselves, honestly or not: what an auditor stands before.
package evidencetest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	sumdb "golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/publish"
)

// Keys sign for the log and its witnesses.
type Keys struct {
	Log       sumdb.Signer
	LogKey    string
	Witnesses []sumdb.Signer
	Public    []string // of the witnesses
}

// NewKeys makes keys of a log and three witnesses.
func NewKeys(ledgerID string) (*Keys, error) {
	skey, vkey, err := sumdb.GenerateKey(nil, ledgerID)
	if err != nil {
		return nil, err
	}
	k := &Keys{LogKey: vkey}
	if k.Log, err = sumdb.NewSigner(skey); err != nil {
		return nil, err
	}
	for _, name := range []string{"regulator.example", "bank.example", "university.example"} {
		skey, vkey, err := sumdb.GenerateKey(nil, name)
		if err != nil {
			return nil, err
		}
		s, err := note.NewSignerForCosignatureV1(skey)
		if err != nil {
			return nil, err
		}
		k.Witnesses = append(k.Witnesses, s)
		v, err := note.VKeyToCosignatureV1(vkey)
		if err != nil {
			return nil, err
		}
		k.Public = append(k.Public, v)
	}
	return k, nil
}

// Ledger accepts commands in memory, by the rules or by rules of its own.
type Ledger struct {
	ID       string
	Keys     *Keys
	Entries  []*ledger.Entry
	Openings map[contracts.Hash]contracts.KeptOpening

	// Apply is the rule book; nil is contracts.Apply.
	Apply func(contracts.State, contracts.Env, *contracts.Command) (*contracts.Result, error)

	state map[string][]byte
	prev  [32]byte
	time  contracts.Millis
}

// New begins an empty ledger.
func New(id string) (*Ledger, error) {
	k, err := NewKeys(id)
	if err != nil {
		return nil, err
	}
	return &Ledger{ID: id, Keys: k, Openings: map[contracts.Hash]contracts.KeptOpening{}, state: map[string][]byte{}, time: contractstest.Start}, nil
}

// Get implements contracts.State.
func (l *Ledger) Get(key string) ([]byte, error) { return l.state[key], nil }

// Submit implements contractstest.Executor.
func (l *Ledger) Submit(_ context.Context, sub contracts.Submission) error {
	cmd, err := contracts.Decode(sub)
	if err != nil {
		return err
	}
	now, err := contracts.NextTime(l, l.time, l.time)
	if err != nil {
		return err
	}
	apply := l.Apply
	if apply == nil {
		apply = contracts.Apply
	}
	res, err := apply(l, contracts.Env{Ledger: l.ID, Now: now, Position: int64(len(l.Entries))}, cmd)
	if err != nil || res.Repeated {
		return err
	}
	l.Append(sub, now, res)
	return nil
}

// Append adds an accepted command.
func (l *Ledger) Append(sub contracts.Submission, now contracts.Millis, res *contracts.Result) {
	e := ledger.NewEntry(uint64(len(l.Entries)), l.prev, now, sub, res)
	l.Entries = append(l.Entries, e)
	l.prev, l.time = ledger.Hash(e.Encode()), now
	for _, w := range res.Writes {
		if w.Value == nil {
			delete(l.state, w.Key)
		} else {
			l.state[w.Key] = w.Value
		}
	}
	for _, k := range res.Openings {
		l.Openings[k.Commitment] = k
	}
}

// Of makes a ledger of what the pure rules have accepted.
func Of(p *contractstest.Pure) (*Ledger, error) {
	l, err := New(p.Ledger)
	if err != nil {
		return nil, err
	}
	for _, x := range p.Applied {
		l.Append(x.Submission, x.Time, x.Result)
	}
	return l, nil
}

// Clone gives a ledger that can be tampered with.
func (l *Ledger) Clone() *Ledger {
	c := *l
	c.Openings, c.state = maps.Clone(l.Openings), maps.Clone(l.state)
	c.Entries = make([]*ledger.Entry, len(l.Entries))
	for i, e := range l.Entries {
		x := *e
		x.Signatures, x.Events, x.Writes = slices.Clone(e.Signatures), slices.Clone(e.Events), slices.Clone(e.Writes)
		x.Objects, x.Audience = slices.Clone(e.Objects), slices.Clone(e.Audience)
		c.Entries[i] = &x
	}
	return &c
}

// Rechain gives every entry the position and the hash that fit, as whoever rewrites history would.
func (l *Ledger) Rechain() {
	prev := [32]byte{}
	for i, e := range l.Entries {
		e.Position, e.Prev = uint64(i), prev
		prev = ledger.Hash(e.Encode())
	}
	l.prev = prev
}

// Find gives the position of the n-th entry of a kind, from 0 on.
func (l *Ledger) Find(kind string, n int) int {
	for i, e := range l.Entries {
		cmd, err := contracts.Decode(contracts.Submission{Raw: e.Raw, Signatures: e.Signatures})
		if err == nil && cmd.Kind == kind {
			if n--; n < 0 {
				return i
			}
		}
	}
	panic(fmt.Sprintf("no entry of kind %s", kind))
}

// Trust is the trust root that was given out when the ledger began: two of three witnesses.
func (l *Ledger) Trust() follow.TrustRoot {
	h := ledger.Hash(l.Entries[0].Encode())
	return follow.TrustRoot{Format: follow.TrustRootFormat, Ledger: l.ID, Genesis: contracts.Hash(hex.EncodeToString(h[:])), LogKey: l.Keys.LogKey,
		Witnesses: l.Keys.Public, Quorum: 2}
}

// Checkpoint is the head over the entries as they are, signed by the log and by the first witnesses.
func (l *Ledger) Checkpoint(witnesses int) ([]byte, error) {
	rng := factory.NewEmptyRange(0)
	for _, e := range l.Entries {
		if err := rng.Append(rfc6962.DefaultHasher.HashLeaf(ledger.Leaf(e.Encode(), e)), nil); err != nil {
			return nil, err
		}
	}
	root, err := rng.GetRootHash(nil)
	if err != nil {
		return nil, err
	}
	c := publish.Checkpoint{Origin: l.ID, Size: uint64(len(l.Entries)), Root: [32]byte(root)}
	return sumdb.Sign(&sumdb.Note{Text: c.Text()}, append([]sumdb.Signer{l.Keys.Log}, l.Keys.Witnesses[:witnesses]...)...)
}

var factory = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// Proof gives the proof file of an entry at the head.
func (l *Ledger) Proof(position, witnesses int) (publish.Proof, error) {
	p := publish.Proof{Index: uint64(position), Extra: l.Entries[position].Encode()}
	var leaves [][]byte
	for _, e := range l.Entries {
		leaves = append(leaves, rfc6962.DefaultHasher.HashLeaf(ledger.Leaf(e.Encode(), e)))
	}
	for _, h := range path(position, leaves) {
		p.Hashes = append(p.Hashes, [32]byte(h))
	}
	var err error
	p.Checkpoint, err = l.Checkpoint(witnesses)
	return p, err
}

// path is PATH of RFC 6962, by its definition.
func path(m int, leaves [][]byte) [][]byte {
	if len(leaves) < 2 {
		return nil
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	if m < k {
		return append(path(m, leaves[:k]), root(leaves[k:]))
	}
	return append(path(m-k, leaves[k:]), root(leaves[:k]))
}

func root(leaves [][]byte) []byte {
	r := factory.NewEmptyRange(0)
	for _, l := range leaves {
		if err := r.Append(l, nil); err != nil {
			panic(err)
		}
	}
	h, err := r.GetRootHash(nil)
	if err != nil {
		panic(err)
	}
	return h
}

// Export writes the ledger, as it is, into dir.
func (l *Ledger) Export(dir string, openings bool) error {
	head, err := l.Checkpoint(len(l.Keys.Witnesses))
	if err != nil {
		return err
	}
	return l.ExportWith(dir, openings, head)
}

// ExportWith is Export under a head of the caller's.
func (l *Ledger) ExportWith(dir string, openings bool, head []byte) error {
	w, err := evidence.Create(dir, evidence.Manifest{Ledger: l.ID, Requester: "operator", Reason: "年度检查", Made: l.time}, l.Keys.Log)
	if err != nil {
		return err
	}
	for _, e := range l.Entries {
		if err := w.Entry(e.Encode()); err != nil {
			return err
		}
	}
	if openings {
		if err := w.WithOpenings(); err != nil {
			return err
		}
		for _, c := range slices.Sorted(maps.Keys(l.Openings)) {
			if err := w.Opening(l.Openings[c]); err != nil {
				return err
			}
		}
	}
	return w.Close(head)
}

var _ contractstest.Executor = (*Ledger)(nil)

var errNoTrade = errors.New("evidencetest: the trade went another way")
