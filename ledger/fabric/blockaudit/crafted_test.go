package blockaudit_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/fabric/blockaudit"
	"github.com/bund-exchange/bund/ledger/fabric/blockaudit/blockaudittest"
)

// crafter makes transactions with the recorded network's keys.
type crafter struct {
	*blockaudittest.Recording
	t     *testing.T
	nonce uint64
}

func newCrafter(t *testing.T) *crafter { return &crafter{Recording: load(t), t: t} }

// call is a transaction of market that reads and writes nothing and is endorsed well; edit makes it another one.
func (c *crafter) call(edit func(*blockaudittest.Call)) []byte {
	c.nonce++
	venue := c.Signer("VenueMSP.client")
	x := &blockaudittest.Call{Creator: venue, Endorsers: []*blockaudittest.Signer{c.Signer("VenueMSP.peer"), c.Signer("CustodianMSP.peer")},
		Chaincode: "market", Nonce: c.nonce, Seconds: venue.Cert.NotBefore.Unix() + 3600}
	if edit != nil {
		edit(x)
	}
	return x.Encode()
}

func (c *crafter) set(namespace string, kv *kvrwset.KVRWSet) *rwset.NsReadWriteSet {
	return &rwset.NsReadWriteSet{Namespace: namespace, Rwset: encode(c.t, kv)}
}

func with(sets ...*rwset.NsReadWriteSet) func(*blockaudittest.Call) {
	return func(x *blockaudittest.Call) { x.Sets = sets }
}

func at(block, tx uint64) *kvrwset.Version { return &kvrwset.Version{BlockNum: block, TxNum: tx} }

// rulebook is the version of a key that the recording wrote and no transaction here writes.
func (c *crafter) version(key string) *kvrwset.Version {
	c.t.Helper()
	var found *kvrwset.Version
	for i, b := range c.Blocks {
		for j, e := range b.Data.Data {
			if c.Flags(i)[j] != 0 || i == 0 {
				continue
			}
			for _, ns := range setsOf(e) {
				var kv kvrwset.KVRWSet
				if err := proto.Unmarshal(ns.Rwset, &kv); err != nil {
					c.t.Fatal(err)
				}
				for _, w := range kv.Writes {
					if ns.Namespace == "market" && w.Key == key {
						found = at(uint64(i), uint64(j))
					}
				}
			}
		}
	}
	if found == nil {
		c.t.Fatalf("the recording wrote no %s", key)
	}
	return found
}

func setsOf(envelope []byte) []*rwset.NsReadWriteSet {
	var e common.Envelope
	var payload common.Payload
	var tx peer.Transaction
	var action peer.ChaincodeActionPayload
	var response peer.ProposalResponsePayload
	var result peer.ChaincodeAction
	var all rwset.TxReadWriteSet
	var header common.ChannelHeader
	_ = proto.Unmarshal(envelope, &e)
	_ = proto.Unmarshal(e.Payload, &payload)
	_ = proto.Unmarshal(payload.Header.ChannelHeader, &header)
	if header.Type != int32(common.HeaderType_ENDORSER_TRANSACTION) {
		return nil
	}
	_ = proto.Unmarshal(payload.Data, &tx)
	_ = proto.Unmarshal(tx.Actions[0].Payload, &action)
	_ = proto.Unmarshal(action.Action.ProposalResponsePayload, &response)
	_ = proto.Unmarshal(response.Extension, &result)
	_ = proto.Unmarshal(result.Results, &all)
	return all.NsRwset
}

// TestFlags puts one transaction behind the recording, in a block that honest orderers might have signed, and works out
// its flag. Transactions may share keys only within a case.
func TestFlags(t *testing.T) {
	const V, M, P = peer.TxValidationCode_VALID, peer.TxValidationCode_MVCC_READ_CONFLICT, peer.TxValidationCode_PHANTOM_READ_CONFLICT
	const policy = peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE
	type codes = []peer.TxValidationCode
	one := func(edit func(*crafter, *blockaudittest.Call)) func(*crafter) [][]byte {
		return func(c *crafter) [][]byte {
			return [][]byte{c.call(func(x *blockaudittest.Call) { edit(c, x) })}
		}
	}
	endorsedBy := func(names ...string) func(*crafter) [][]byte {
		return one(func(c *crafter, x *blockaudittest.Call) {
			x.Endorsers = nil
			for _, n := range names {
				x.Endorsers = append(x.Endorsers, c.Signer(n))
			}
		})
	}
	cases := map[string]struct {
		make func(*crafter) [][]byte
		want codes
	}{
		"a good one": {one(func(*crafter, *blockaudittest.Call) {}), codes{V}},

		"another signature": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Envelope = func(e *common.Envelope) { e.Signature[20] ^= 1 }
		}), codes{peer.TxValidationCode_BAD_CREATOR_SIGNATURE}},
		"a high signature": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Envelope = func(e *common.Envelope) { e.Signature = x.Creator.High(e.Signature) }
		}), codes{peer.TxValidationCode_BAD_CREATOR_SIGNATURE}},
		"no signature": {one(func(_ *crafter, x *blockaudittest.Call) { x.Envelope = func(e *common.Envelope) { e.Signature = nil } }), codes{peer.TxValidationCode_BAD_CREATOR_SIGNATURE}},
		"another's name": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Creator = c.Signer("BuyerMSP.peer").As(c.Signer("VenueMSP.client").Identity)
		}), codes{peer.TxValidationCode_BAD_CREATOR_SIGNATURE}},
		"an organisation that isn't on the channel": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Creator = x.Creator.As([]byte(strings.Replace(string(x.Creator.Identity), "VenueMSP", "OtherMSP", 1)))
		}), codes{peer.TxValidationCode_BAD_CREATOR_SIGNATURE}},
		"a certificate of another organisation": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Creator = x.Creator.As([]byte(strings.Replace(string(x.Creator.Identity), "VenueMSP", "BuyerMSP", 1)))
		}), codes{peer.TxValidationCode_BAD_CREATOR_SIGNATURE}},
		"another channel": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Header = func(h *common.ChannelHeader) { h.ChannelId = "other" }
		}), codes{peer.TxValidationCode_BAD_CREATOR_SIGNATURE}},
		"a payload that isn't one": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Envelope = func(e *common.Envelope) { e.Payload = []byte{0xff} }
		}), codes{peer.TxValidationCode_BAD_PAYLOAD}},
		"no header":                  {one(func(_ *crafter, x *blockaudittest.Call) { x.Payload = func(p *common.Payload) { p.Header = nil } }), codes{peer.TxValidationCode_BAD_COMMON_HEADER}},
		"an epoch":                   {one(func(_ *crafter, x *blockaudittest.Call) { x.Header = func(h *common.ChannelHeader) { h.Epoch = 1 } }), codes{peer.TxValidationCode_BAD_COMMON_HEADER}},
		"an unknown type":            {one(func(_ *crafter, x *blockaudittest.Call) { x.Header = func(h *common.ChannelHeader) { h.Type = 8 } }), codes{peer.TxValidationCode_BAD_COMMON_HEADER}},
		"an update":                  {one(func(_ *crafter, x *blockaudittest.Call) { x.Header = func(h *common.ChannelHeader) { h.Type = 2 } }), codes{peer.TxValidationCode_UNSUPPORTED_TX_PAYLOAD}},
		"another id":                 {one(func(_ *crafter, x *blockaudittest.Call) { x.Header = func(h *common.ChannelHeader) { h.TxId = "x" } }), codes{peer.TxValidationCode_BAD_PROPOSAL_TXID}},
		"an envelope that isn't one": {func(*crafter) [][]byte { return [][]byte{{0xff}} }, codes{peer.TxValidationCode_INVALID_OTHER_REASON}},

		"another proposal": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Response = func(r *peer.ProposalResponsePayload) { r.ProposalHash[0] ^= 1 }
		}), codes{peer.TxValidationCode_INVALID_ENDORSER_TRANSACTION}},
		"another call than was endorsed": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Action = func(a *peer.ChaincodeActionPayload) { a.ChaincodeProposalPayload[9] ^= 1 }
		}), codes{peer.TxValidationCode_INVALID_ENDORSER_TRANSACTION}},
		"two actions": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Tx = func(t *peer.Transaction) { t.Actions = append(t.Actions, t.Actions[0]) }
		}), codes{peer.TxValidationCode_INVALID_ENDORSER_TRANSACTION}},
		"a header of another chaincode": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Header = func(h *common.ChannelHeader) {
				h.Extension = encode(c.t, &peer.ChaincodeHeaderExtension{ChaincodeId: &peer.ChaincodeID{Name: "clearing"}})
			}
		}), codes{peer.TxValidationCode_INVALID_CHAINCODE}},
		"no version": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Result = func(a *peer.ChaincodeAction) { a.ChaincodeId.Version = "" }
		}), codes{peer.TxValidationCode_INVALID_CHAINCODE}},
		"no chaincode named": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Result = func(a *peer.ChaincodeAction) { a.ChaincodeId = nil }
		}), codes{peer.TxValidationCode_INVALID_OTHER_REASON}},
		"an event of another": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Result = func(a *peer.ChaincodeAction) { a.Events = encode(c.t, &peer.ChaincodeEvent{ChaincodeId: "clearing"}) }
		}), codes{peer.TxValidationCode_INVALID_OTHER_REASON}},
		"a set that isn't one": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Result = func(a *peer.ChaincodeAction) { a.Results = []byte{0xff} }
		}), codes{peer.TxValidationCode_BAD_RWSET}},
		"no result": {one(func(_ *crafter, x *blockaudittest.Call) {
			x.Response = func(r *peer.ProposalResponsePayload) { r.Extension = nil }
		}), codes{peer.TxValidationCode_BAD_RESPONSE_PAYLOAD}},
		"a namespace twice": {one(func(c *crafter, x *blockaudittest.Call) {
			s := c.set("market", &kvrwset.KVRWSet{})
			x.Sets = append(x.Sets, s, s)
		}), codes{peer.TxValidationCode_ILLEGAL_WRITESET}},
		"a chaincode that isn't there": {one(func(_ *crafter, x *blockaudittest.Call) { x.Chaincode = "other" }), codes{peer.TxValidationCode_INVALID_CHAINCODE}},

		"venue and provider":             {endorsedBy("VenueMSP.peer", "ProviderMSP.peer"), codes{V}},
		"the venue alone":                {endorsedBy("VenueMSP.peer"), codes{policy}},
		"the venue twice":                {endorsedBy("VenueMSP.peer", "VenueMSP.peer"), codes{policy}},
		"without the venue":              {endorsedBy("CustodianMSP.peer", "ProviderMSP.peer", "BuyerMSP.peer"), codes{policy}},
		"nobody":                         {endorsedBy(), codes{policy}},
		"a client instead of a peer":     {endorsedBy("VenueMSP.client", "CustodianMSP.peer"), codes{policy}},
		"an administrator":               {endorsedBy("VenueMSP.admin", "CustodianMSP.peer"), codes{policy}},
		"more than needed, in any order": {endorsedBy("OrdererMSP.orderer", "BuyerMSP.peer", "CustodianMSP.peer", "VenueMSP.peer"), codes{V}},
		"a forged endorsement": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Endorsers[1] = c.Signer("VenueMSP.peer").As(c.Signer("CustodianMSP.peer").Identity)
		}), codes{policy}},
		"a forged endorsement before the true one": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Endorsers = append([]*blockaudittest.Signer{c.Signer("VenueMSP.client").As(c.Signer("VenueMSP.peer").Identity)}, x.Endorsers...)
		}), codes{V}},
		"an endorsement of another response": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Action = func(a *peer.ChaincodeActionPayload) {
				a.Action.Endorsements[1].Signature = a.Action.Endorsements[0].Signature
			}
		}), codes{policy}},
		"clearing by the custodian": {one(func(_ *crafter, x *blockaudittest.Call) { x.Chaincode = "clearing" }), codes{V}},
		"clearing by a provider": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Chaincode, x.Endorsers[1] = "clearing", c.Signer("ProviderMSP.peer")
		}), codes{policy}},
		"market that writes to clearing": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Endorsers[1] = c.Signer("ProviderMSP.peer")
			x.Sets = append(x.Sets, c.set("clearing", &kvrwset.KVRWSet{Writes: []*kvrwset.KVWrite{{Key: "clr/x", Value: []byte("1")}}}))
		}), codes{policy}},
		"market that reads clearing": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Endorsers[1] = c.Signer("ProviderMSP.peer")
			x.Sets = append(x.Sets, c.set("clearing", &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "clr/x"}}}))
		}), codes{V}},
		"a write to a namespace of nobody": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Sets = append(x.Sets, c.set("other", &kvrwset.KVRWSet{Writes: []*kvrwset.KVWrite{{Key: "x", Value: []byte("1")}}}))
		}), codes{peer.TxValidationCode_INVALID_CHAINCODE}},
		"lifecycle by two of five": {one(func(c *crafter, x *blockaudittest.Call) { x.Chaincode = "_lifecycle" }), codes{policy}},
		"lifecycle by three of five": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Chaincode, x.Endorsers = "_lifecycle", append(x.Endorsers, c.Signer("BuyerMSP.peer"))
		}), codes{V}},
		"an organisation's own collection by another": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Sets = append(x.Sets, c.private("_implicit_org_BuyerMSP"))
			x.Chaincode = "_lifecycle"
			x.Sets[0].Namespace = "_lifecycle"
		}), codes{policy}},
		"an organisation's own collection by itself": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Sets = append(x.Sets, c.private("_implicit_org_BuyerMSP"))
			x.Chaincode, x.Endorsers = "_lifecycle", []*blockaudittest.Signer{c.Signer("BuyerMSP.peer")}
			x.Sets[0].Namespace = "_lifecycle"
		}), codes{V}},
		"a collection of a stranger": {one(func(c *crafter, x *blockaudittest.Call) {
			x.Sets = append(x.Sets, c.private("_implicit_org_OtherMSP"))
		}), codes{policy}},

		"a read of what is there": {func(c *crafter) [][]byte {
			return [][]byte{c.call(with(c.set("market", &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "rulebook", Version: c.version("rulebook")}}})))}
		}, codes{V}},
		"a read of an older version": {func(c *crafter) [][]byte {
			return [][]byte{c.call(with(c.set("market", &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "rulebook", Version: at(1, 0)}}})))}
		}, codes{M}},
		"a read that missed what is there": {func(c *crafter) [][]byte {
			return [][]byte{c.call(with(c.set("market", &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "rulebook"}}})))}
		}, codes{M}},
		"a read of what isn't there": {func(c *crafter) [][]byte {
			return [][]byte{c.call(with(c.set("market", &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "nothing", Version: at(1, 0)}}})))}
		}, codes{M}},
		"a read of the same key elsewhere": {func(c *crafter) [][]byte {
			return [][]byte{c.call(with(c.set("clearing", &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "rulebook"}}})))}
		}, codes{V}},
		"two that write what both have read": {func(c *crafter) [][]byte {
			rw := c.set("clearing", &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "a"}}, Writes: []*kvrwset.KVWrite{{Key: "a", Value: []byte("1")}}})
			clearing := func(x *blockaudittest.Call) { x.Chaincode = "other"; x.Sets = []*rwset.NsReadWriteSet{rw} }
			invalid := c.call(clearing)
			valid := func(x *blockaudittest.Call) { x.Chaincode = "clearing"; x.Sets = []*rwset.NsReadWriteSet{rw} }
			return [][]byte{invalid, c.call(valid), c.call(valid)}
		}, codes{peer.TxValidationCode_INVALID_CHAINCODE, V, M}},
		"a deletion, then a read in the same block": {func(c *crafter) [][]byte {
			d := c.call(with(c.set("market", &kvrwset.KVRWSet{Writes: []*kvrwset.KVWrite{{Key: "nothing", IsDelete: true}}})))
			return [][]byte{d, c.call(with(c.set("market", &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "nothing"}}})))}
		}, codes{V, M}},
		"the same twice": {func(c *crafter) [][]byte { x := c.call(nil); return [][]byte{x, x} }, codes{V, peer.TxValidationCode_DUPLICATE_TXID}},
		"the same after a conflict": {func(c *crafter) [][]byte {
			x := c.call(with(c.set("market", &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "rulebook"}}})))
			return [][]byte{x, x}
		}, codes{M, peer.TxValidationCode_DUPLICATE_TXID}},
		"the same after a failed policy": {func(c *crafter) [][]byte {
			x := c.call(func(x *blockaudittest.Call) { x.Endorsers = nil })
			return [][]byte{x, x}
		}, codes{policy, policy}},
		"one of an earlier block": {func(c *crafter) [][]byte { return [][]byte{c.Blocks[30].Data.Data[0]} }, codes{peer.TxValidationCode_DUPLICATE_TXID}},

		"a range that is unchanged":          {c3(nil, true, "a"), codes{V, V}},
		"a range with a new key":             {c3(nil, true, "b"), codes{V, P}},
		"a range whose key is gone":          {c3(nil, true, ""), codes{V, P}},
		"a range up to a key that is there":  {c3(nil, false, "a"), codes{V, V}},
		"a range with another version there": {c3(at(1, 1), true, "a"), codes{V, P}},
	}
	// All cases stand in one channel, behind each other; only when something is wrong is each looked at alone.
	run := func(t *testing.T, names []string) (right, wrong *blockaudit.Report) {
		r := newCrafter(t)
		var lasts []*byte
		for _, name := range names {
			txs, want := cases[name].make(r), cases[name].want
			if len(txs) != len(want) {
				t.Fatalf("%s: %d transactions, %d flags", name, len(txs), len(want))
			}
			flags := make([]byte, len(txs))
			for i, f := range want {
				flags[i] = byte(f)
			}
			r.Append(flags, txs...)
			lasts = append(lasts, &flags[len(flags)-1])
		}
		right = audit(t, r.Recording)
		for _, f := range lasts { // the test of the test: another flag is noticed
			*f = byte(peer.TxValidationCode_EXPIRED_CHAINCODE)
		}
		return right, audit(t, r.Recording)
	}
	names := slices.Sorted(maps.Keys(cases))
	right, wrong := run(t, names)
	if c := right.Check(blockaudit.CheckFlags); c.Verdict == evidence.Verified && wrong.Check(blockaudit.CheckFlags).Failures == len(names) {
		only(t, right, blockaudit.CheckEntries) // the market's chaincode does none of this
		return
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			right, wrong := run(t, []string{name})
			only(t, right, blockaudit.CheckEntries)
			failed(t, wrong, blockaudit.CheckFlags, "flag", "must be "+cases[name].want[len(cases[name].want)-1].String())
		})
	}
	t.Errorf("together, the cases gave %+v", right.Check(blockaudit.CheckFlags))
}

// c3 writes a key in one block, and in another reads the range of its folder as holding that key in a version (the true one when
// nil), after a first transaction has written there or deleted.
func c3(v *kvrwset.Version, exhausted bool, other string) func(*crafter) [][]byte {
	return func(c *crafter) [][]byte {
		dir := fmt.Sprintf("zz%d/", len(c.Blocks))
		put := func(kv ...*kvrwset.KVWrite) []byte {
			return c.call(with(c.set("_lifecycle", &kvrwset.KVRWSet{}), c.set("market", &kvrwset.KVRWSet{Writes: kv})))
		}
		c.Append([]byte{0}, put(&kvrwset.KVWrite{Key: dir + "a", Value: []byte("1")}))
		version := at(uint64(len(c.Blocks)-1), 0)
		first := put(&kvrwset.KVWrite{Key: dir[:4], Value: []byte("1")})
		switch other {
		case "b":
			first = put(&kvrwset.KVWrite{Key: dir + "b", Value: []byte("1")})
		case "":
			first = put(&kvrwset.KVWrite{Key: dir + "a", IsDelete: true})
		}
		if v != nil {
			version = v
		}
		end := dir + "~"
		if !exhausted {
			end = dir + "a"
		}
		q := &kvrwset.RangeQueryInfo{StartKey: dir, EndKey: end, ItrExhausted: exhausted,
			ReadsInfo: &kvrwset.RangeQueryInfo_RawReads{RawReads: &kvrwset.QueryReads{KvReads: []*kvrwset.KVRead{{Key: dir + "a", Version: version}}}}}
		return [][]byte{first, c.call(with(c.set("market", &kvrwset.KVRWSet{RangeQueriesInfo: []*kvrwset.RangeQueryInfo{q}})))}
	}
}

func (c *crafter) private(collection string) *rwset.NsReadWriteSet {
	s := c.set("market", &kvrwset.KVRWSet{})
	s.CollectionHashedRwset = []*rwset.CollectionHashedReadWriteSet{{CollectionName: collection,
		HashedRwset: encode(c.t, &kvrwset.HashedRWSet{HashedWrites: []*kvrwset.KVWriteHash{{KeyHash: []byte("k"), ValueHash: []byte("v")}}})}}
	return s
}

// TestUnknown gives transactions whose flags depend on what isn't known here: that is said, and nothing is claimed.
func TestUnknown(t *testing.T) {
	for name, c := range map[string]struct {
		make func(*crafter) [][]byte
		why  string
		lost bool // what follows can't be judged either
	}{
		"a policy of a single key": {func(c *crafter) [][]byte {
			return [][]byte{c.call(with(c.set("market", &kvrwset.KVRWSet{MetadataWrites: []*kvrwset.KVMetadataWrite{{Key: "rulebook"}}})))}
		}, "policies of single keys", true},
		"private data": {func(c *crafter) [][]byte { return [][]byte{c.call(with(c.private("secrets")))} }, "writes private data", false},
		"private reads": {func(c *crafter) [][]byte {
			s := c.private("secrets")
			s.CollectionHashedRwset[0].HashedRwset = encode(c.t, &kvrwset.HashedRWSet{HashedReads: []*kvrwset.KVReadHash{{KeyHash: []byte("k")}}})
			return [][]byte{c.call(with(s))}
		}, "reads private data", false},
		"hashed results": {func(c *crafter) [][]byte {
			q := &kvrwset.RangeQueryInfo{ReadsInfo: &kvrwset.RangeQueryInfo_ReadsMerkleHashes{ReadsMerkleHashes: &kvrwset.QueryReadsMerkleSummary{MaxDegree: 50}}}
			return [][]byte{c.call(with(c.set("market", &kvrwset.KVRWSet{RangeQueriesInfo: []*kvrwset.RangeQueryInfo{q}})))}
		}, "results of a range query as hashes", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newCrafter(t)
			r.Append([]byte{0}, c.make(r)...)
			r.Append([]byte{0}, r.call(nil))
			rep := audit(t, r.Recording)
			only(t, rep, blockaudit.CheckEntries)
			k := rep.Check(blockaudit.CheckFlags)
			want := 1
			if c.lost {
				want = 2
			}
			if k.Verdict != evidence.NotCheckable || k.Skipped != want || !strings.Contains(k.Detail, c.why) {
				t.Errorf("%+v", k)
			}
		})
	}
}

// TestExpired has a certificate used outside its time. Peers accept that in blocks; an auditor wants to know.
func TestExpired(t *testing.T) {
	r := newCrafter(t)
	r.Append([]byte{0}, r.call(func(x *blockaudittest.Call) { x.Seconds = x.Creator.Cert.NotAfter.Unix() + 1 }))
	rep := audit(t, r.Recording)
	failed(t, rep, blockaudit.CheckCertificates, ".block: ", "was not in force on")
	only(t, rep, blockaudit.CheckCertificates)
}

// TestNoWriter has a transaction of somebody whom the orderers should have turned away.
func TestNoWriter(t *testing.T) {
	r := newCrafter(t)
	r.Append([]byte{0}, r.call(func(x *blockaudittest.Call) { x.Creator = r.Signer("BuyerMSP.peer") }))
	rep := audit(t, r.Recording)
	failed(t, rep, blockaudit.CheckCreators, "transaction 0: creator", "BuyerMSP/peer1.buyer.bund may not write to the channel")
	only(t, rep, blockaudit.CheckCreators)
}

// TestDishonestOrderers chains and signs the blocks anew over what was changed: what others signed within them still tells.
func TestDishonestOrderers(t *testing.T) {
	for name, c := range map[string]struct {
		edit                 func(*blockaudittest.Recording)
		check, where, detail string
		too                  []string
	}{
		"nothing": {func(*blockaudittest.Recording) {}, "", "", "", nil},
		"an endorsement dropped": {func(r *blockaudittest.Recording) {
			d := r.Blocks[30].Data.Data
			d[0] = blockaudittest.Reopen(d[0], r.Signer("VenueMSP.client"), func(a *peer.ChaincodeActionPayload) { a.Action.Endorsements = a.Action.Endorsements[1:] })
		}, blockaudit.CheckEndorsements, "000000000030.block: transaction 0: endorsements", "are not enough for market", []string{blockaudit.CheckFlags, blockaudit.CheckCommitHash}},
		"what was endorsed changed": {func(r *blockaudittest.Recording) {
			d := r.Blocks[30].Data.Data
			d[0] = blockaudittest.Reopen(d[0], r.Signer("VenueMSP.client"), func(a *peer.ChaincodeActionPayload) {
				p := a.Action.ProposalResponsePayload
				p[len(p)/2] ^= 1
			})
		}, blockaudit.CheckFlags, "000000000030.block: transaction 0: flag", "it says VALID and must be", []string{blockaudit.CheckEndorsements, blockaudit.CheckCommitHash, blockaudit.CheckCreators}},
		"the call changed": {func(r *blockaudittest.Recording) {
			d := r.Blocks[30].Data.Data
			d[0] = blockaudittest.Reopen(d[0], r.Signer("VenueMSP.client"), func(a *peer.ChaincodeActionPayload) {
				p := a.ChaincodeProposalPayload
				p[len(p)-9] ^= 1
			})
		}, blockaudit.CheckCreators, "000000000030.block: transaction 0: creator", "the endorsers answered another proposal", []string{blockaudit.CheckFlags, blockaudit.CheckCommitHash}},
		"a transaction moved": {func(r *blockaudittest.Recording) {
			r.Blocks[31].Data, r.Blocks[30].Data = r.Blocks[30].Data, r.Blocks[31].Data
		}, blockaudit.CheckFlags, ".block: transaction 0: flag", "must be MVCC_READ_CONFLICT", []string{blockaudit.CheckCommitHash, blockaudit.CheckEntries}},
		"a transaction left out": {func(r *blockaudittest.Recording) {
			r.Blocks[12].Data, r.Blocks[12].Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = r.Blocks[2].Data, []byte{2, 2}
		}, blockaudit.CheckFlags, "000000000012.block", "must be DUPLICATE_TXID", []string{blockaudit.CheckCommitHash, blockaudit.CheckEntries}},
	} {
		t.Run(name, func(t *testing.T) {
			r := load(t)
			c.edit(r)
			r.Seal(12)
			rep := audit(t, r)
			if c.check != "" {
				failed(t, rep, c.check, c.where, c.detail)
			}
			only(t, rep, append(c.too, c.check)...)
		})
	}
}
