package blockaudit

import (
	"testing"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset"

	"github.com/bund-exchange/bund/ledger/fabric/blockaudit/blockaudittest"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// recorded gives the recorded blocks and the channel under its first config.
func recorded(t testing.TB) (*blockaudittest.Recording, *channel) {
	t.Helper()
	r, err := blockaudittest.Load()
	if err != nil {
		t.Fatal(err)
	}
	first, id, err := genesisConfig(r.Blocks[0].Data.Data[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := newChannel(id, first.Config)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

// FuzzTransaction judges envelopes, and looks at what they read and wrote.
func FuzzTransaction(f *testing.F) {
	r, c := recorded(f)
	for _, i := range []int{1, 2, 12, 46, r.Update()} {
		for _, e := range r.Blocks[i].Data.Data {
			f.Add(e)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x := rules{c, newState(), nil}.judge(b)
		if x.unknown == nil && len(x.flags) == 0 {
			t.Fatal("no flag")
		}
		if x.ok() && x.creator == nil {
			t.Fatal("valid without a creator")
		}
		newState().conflict(x.sets, updates{})
		u := updates{}
		u.add(x.sets, version{1, 2})
		commitHash(nil, u, nil)
		timeOf(b)
	})
}

// FuzzSets reads read-write sets, which endorsers made but nobody has looked at.
func FuzzSets(f *testing.F) {
	r, c := recorded(f)
	for _, i := range []int{1, 2, 12} {
		for _, e := range r.Blocks[i].Data.Data {
			x := rules{c, newState(), nil}.judge(e)
			f.Add(encodeSets(f, x))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sets, err := parseReadWriteSets(b)
		if err != nil {
			return
		}
		s, u := newState(), updates{}
		s.conflict(sets, u)
		u.add(sets, version{1, 0})
		commitHash(nil, u, nil)
		s.apply(u)
		s.conflict(sets, updates{})
		s.definitions(c)
	})
}

func encodeSets(t testing.TB, x *transaction) []byte {
	t.Helper()
	var all rwset.TxReadWriteSet
	for _, s := range x.sets {
		all.NsRwset = append(all.NsRwset, &rwset.NsReadWriteSet{Namespace: s.namespace, Rwset: encoded(t, s.keys)})
	}
	return encoded(t, &all)
}

// FuzzConfig reads configs and what follows on them.
func FuzzConfig(f *testing.F) {
	r, c := recorded(f)
	for _, i := range []int{0, r.Update()} {
		e, _, err := genesisConfig(r.Blocks[i].Data.Data[0])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded(f, e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e common.ConfigEnvelope
		if proto.Unmarshal(b, &e) != nil {
			return
		}
		if n, err := newChannel(blockaudittest.Channel, e.Config); err == nil {
			_ = n.policies.get(blockPolicy).satisfied(nil)
			_ = n.follows(&e)
		}
		if err := c.follows(&e); err == nil && e.Config.Sequence != 1 {
			t.Fatal("a config of another sequence follows")
		}
	})
}

// FuzzBlock checks signatures and metadata. One that passes is the recorded one.
func FuzzBlock(f *testing.F) {
	r, c := recorded(f)
	for _, i := range []int{0, 1, 12, r.Update()} {
		f.Add(encoded(f, r.Blocks[i]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		block, err := blocks.Parse(b)
		if err != nil {
			return
		}
		_ = unsigned(block)
		o, err := c.orderers(block)
		if err != nil {
			return
		}
		_ = o.beside(block)
		n := block.Header.Number
		if n >= uint64(len(r.Blocks)) || blocks.HeaderHash(block.Header) != blocks.HeaderHash(r.Blocks[n].Header) {
			t.Fatal("a header that nobody signed passes")
		}
	})
}
