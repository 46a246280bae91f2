package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
)

// fakeChannel is a channel with both definitions and two endorsers, as far as chaincode can tell: it simulates proposals on
// committed state, compares the endorsers' read sets, write sets and answers, and validates at commit as a peer does.
type fakeChannel struct {
	t      testing.TB
	ledger string
	wall   time.Time                      // of whoever proposes
	skew   time.Duration                  // of the endorsers' clocks against it
	spaces map[string]map[string]*version // by namespace
	peers  []*fakePeer
	blocks uint64
	logs   *bytes.Buffer
	seen   [][]byte // payload and write set of every endorsed submit, message of every failure
}

type version struct {
	block uint64
	value []byte
}

// fakePeer has its own processes, with their own memories and clock.
type fakePeer struct {
	definitions map[string]*contract
	offset      time.Duration
}

func newChannel(t testing.TB, ledger string) *fakeChannel {
	t.Helper()
	ch := &fakeChannel{t: t, ledger: ledger, wall: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		spaces: map[string]map[string]*version{market: {}, clearing: {}}, logs: &bytes.Buffer{}}
	for i := range 2 {
		p := &fakePeer{definitions: map[string]*contract{}, offset: time.Duration(i) * 7 * time.Second}
		for own, other := range map[string]string{market: clearing, clearing: market} {
			c := newContract(config{definition: own, ledger: ledger, venueMSP: "VenueMSP", other: other}, slog.New(slog.NewTextHandler(io.Writer(ch.logs), nil)))
			c.now = func() time.Time { return ch.wall.Add(ch.skew + p.offset) }
			p.definitions[own] = c
		}
		ch.peers = append(ch.peers, p)
	}
	return ch
}

// begin writes the records of epochs 1 to n.
func (ch *fakeChannel) begin(n uint64) {
	ch.t.Helper()
	for i := uint64(1); i <= n; i++ {
		if ch.spaces[market][proposal.KeyEpoch(i)] == nil {
			ch.mustCommit(ch.mustEndorse(market, "VenueMSP", [][]byte{[]byte("epoch"), fmt.Append(nil, i)}, nil))
		}
	}
}

// fakeTx is a proposal that was simulated: what it has read, and what it will write.
type fakeTx struct {
	response *peer.Response
	reads    map[string]map[string]uint64 // block of the version read, 0 for absent
	writes   map[string]map[string][]byte // nil deletes
	trips    int                          // messages between peer and chaincode
	args     [][]byte
}

// propose lets one peer simulate a proposal.
func (ch *fakeChannel) propose(p *fakePeer, definition, mspID string, args [][]byte, transient map[string][]byte) *fakeTx {
	tx := &fakeTx{reads: map[string]map[string]uint64{}, writes: map[string]map[string][]byte{}, args: args}
	creator, err := proto.Marshal(&msp.SerializedIdentity{Mspid: mspID, IdBytes: []byte("certificate")})
	if err != nil {
		ch.t.Fatal(err)
	}
	s := &fakeStub{ch: ch, peer: p, tx: tx, space: definition, args: args, transient: transient, creator: creator}
	tx.response = p.definitions[definition].Invoke(s)
	if s.batching && len(s.batch) > 0 {
		ch.t.Error("writes were left in an unfinished batch")
	}
	return tx
}

// endorse lets both peers simulate a proposal. They must agree in everything that a client compares.
func (ch *fakeChannel) endorse(definition, mspID string, args [][]byte, transient map[string][]byte) *fakeTx {
	ch.t.Helper()
	a := ch.propose(ch.peers[0], definition, mspID, args, transient)
	b := ch.propose(ch.peers[1], definition, mspID, args, transient)
	if !proto.Equal(a.response, b.response) {
		ch.t.Fatalf("two endorsers answer %v and %v", a.response, b.response)
	}
	if !maps.EqualFunc(a.reads, b.reads, maps.Equal) {
		ch.t.Fatalf("two endorsers read %v and %v", a.reads, b.reads)
	}
	if !maps.EqualFunc(a.writes, b.writes, func(x, y map[string][]byte) bool { return maps.EqualFunc(x, y, bytes.Equal) }) {
		ch.t.Fatalf("two endorsers write %v and %v", a.writes, b.writes)
	}
	if a.response.Status != 200 && len(a.writes) > 0 {
		ch.t.Errorf("a failure writes %v", a.writes)
	}
	if len(args) == 0 || string(args[0]) != proposal.Open {
		ch.seen = append(ch.seen, a.response.Payload, []byte(a.response.Message))
		for _, ws := range a.writes {
			for k, v := range ws {
				ch.seen = append(ch.seen, []byte(k), v)
			}
		}
	}
	return a
}

func (ch *fakeChannel) mustEndorse(definition, mspID string, args [][]byte, transient map[string][]byte) *fakeTx {
	ch.t.Helper()
	tx := ch.endorse(definition, mspID, args, transient)
	if tx.response.Status != 200 {
		ch.t.Fatalf("%s %s: %d %s", definition, args[0], tx.response.Status, tx.response.Message)
	}
	return tx
}

// commit orders a transaction in a block of its own; false means MVCC_READ_CONFLICT.
func (ch *fakeChannel) commit(tx *fakeTx) bool {
	ch.t.Helper()
	if tx.response.Status != 200 || len(tx.writes) == 0 {
		ch.t.Fatal("this is not to be ordered")
	}
	ch.blocks++
	for space, keys := range tx.reads {
		for k, block := range keys {
			now := uint64(0)
			if v := ch.spaces[space][k]; v != nil {
				now = v.block
			}
			if now != block {
				return false
			}
		}
	}
	for space, keys := range tx.writes {
		for k, v := range keys {
			if v == nil {
				delete(ch.spaces[space], k)
			} else {
				ch.spaces[space][k] = &version{ch.blocks, v}
			}
		}
	}
	return true
}

func (ch *fakeChannel) mustCommit(tx *fakeTx) {
	ch.t.Helper()
	if !ch.commit(tx) {
		ch.t.Fatal("the transaction is invalid")
	}
}

// call endorses a batch as the venue does, and gives its reply.
func (ch *fakeChannel) call(definition, function string, epoch uint64, subs ...contracts.Submission) (*fakeTx, proposal.Reply) {
	ch.t.Helper()
	c := proposal.Call{Function: function, Epoch: epoch, Commands: subs}
	transient := map[string][]byte{}
	if o := proposal.Openings(subs); o != nil {
		transient[proposal.TransientOpenings] = o
	}
	tx := ch.mustEndorse(definition, "VenueMSP", c.Args(), transient)
	r, err := proposal.ParseReply(tx.response.Payload, len(subs))
	if err != nil {
		ch.t.Fatal(err)
	}
	return tx, r
}

// keys lists the keys of both namespaces without the epochs'.
func (ch *fakeChannel) keys() []string {
	var ks []string
	for space := range ch.spaces {
		for k := range ch.spaces[space] {
			if !bytes.HasPrefix([]byte(k), []byte("epoch/")) {
				ks = append(ks, k)
			}
		}
	}
	slices.Sort(ks)
	return ks
}
