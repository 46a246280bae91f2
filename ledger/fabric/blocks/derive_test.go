package blocks_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// history is a market's, by the rules alone.
func history(t testing.TB, steps int) []contractstest.Applied {
	t.Helper()
	s, err := contractstest.NewSimulation("shanghai.bund.example", 11, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range steps {
		if err := s.Step(); err != nil {
			t.Fatal(err)
		}
	}
	return s.Scene.Oracle.Applied
}

// TestDerive packs a market's history into blocks, with invalid transactions and others between, and wants the entries that
// a ledger without Fabric makes of it.
func TestDerive(t *testing.T) {
	applied := history(t, 300)
	held := 0
	var chain []*common.Block
	for i := 0; i < len(applied); {
		n := 1
		isClearing := clearing(t, applied[i])
		keys := map[string]bool{}
		for _, w := range applied[i].Result.Writes {
			keys[w.Key] = true
		}
	grow:
		for i+n < len(applied) && n < 5 && clearing(t, applied[i+n]) == isClearing {
			for _, w := range applied[i+n].Result.Writes {
				if keys[w.Key] {
					break grow
				}
			}
			for _, w := range applied[i+n].Result.Writes {
				keys[w.Key] = true
			}
			n++
		}
		name := names.Market
		if isClearing {
			name = names.Clearing
			held++
		}
		late := batch(t, name, applied[i:i+n])
		late.flag = peer.TxValidationCode_MVCC_READ_CONFLICT
		other := invoke(t, "_lifecycle", [][]byte{[]byte("CommitChaincodeDefinition")}, nil, []contracts.Write{{Key: "namespaces/fields/market/Sequence", Value: []byte{1}}})
		chain = append(chain, block(t, uint64(len(chain)), late, batch(t, name, applied[i:i+n]), other))
		i += n
	}
	if held == 0 || len(chain) == len(applied) {
		t.Fatalf("%d clearing transactions, %d blocks of %d commands: the history tests nothing", held, len(chain), len(applied))
	}
	var got []*ledger.Stored
	var prev [32]byte
	for _, b := range chain {
		again, err := blocks.Parse(encode(t, b))
		if err != nil {
			t.Fatal(err)
		}
		d, err := blocks.Derive(again, names)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Transactions) != 3 || d.Transactions[0].Flag != peer.TxValidationCode_MVCC_READ_CONFLICT || d.Transactions[1].ID == "" ||
			d.Transactions[1].Timestamp.UnixMilli() != 1_800_000_000_005 {
			t.Fatalf("%+v", d.Transactions)
		}
		for _, s := range blocks.Entries(prev, uint64(len(got)), d.Commands) {
			got, prev = append(got, s), s.Hash
		}
	}
	prev = [32]byte{}
	for i, a := range applied {
		want := ledger.NewEntry(uint64(i), prev, a.Time, a.Submission, a.Result).Encode()
		if i >= len(got) || !bytes.Equal(got[i].Encoded, want) {
			t.Fatalf("entry %d of %d differs", i, len(got))
		}
		prev = ledger.Hash(want)
	}
	if len(got) != len(applied) || got[len(got)-1].Hash != prev {
		t.Fatalf("%d entries of %d commands", len(got), len(applied))
	}
}

func TestBatch(t *testing.T) {
	a := history(t, 0)[:2]
	call := proposal.Call{Function: proposal.Submit, Epoch: 7, Commands: []contracts.Submission{a[1].Submission, a[0].Submission, a[1].Submission}}
	reply := proposal.Reply{Answers: []proposal.Answer{proposal.Refuse(&contracts.Refusal{Code: "a.b"}), proposal.Accept(a[0].Result, a[0].Time, false), {Repeated: true}}}
	d, err := blocks.Derive(block(t, 9, invoke(t, "market", call.Args(), reply.Encode(), a[0].Result.Writes)), names)
	if err != nil {
		t.Fatal(err)
	}
	want := *a[0].Result
	want.Outcome, want.Openings = contracts.Outcome{}, nil
	if len(d.Commands) != 1 || d.Commands[0].Index != 1 || d.Commands[0].TxID != "tx9.0" || !bytes.Equal(d.Commands[0].Submission.Raw, a[0].Submission.Raw) ||
		!reflect.DeepEqual(*d.Commands[0].Result, want) {
		t.Fatalf("%+v", d.Commands)
	}
}

func TestEpoch(t *testing.T) {
	begin := func(n uint64, arg string, record []byte) *invocation {
		return invoke(t, "market", [][]byte{[]byte(proposal.Epoch), []byte(arg)}, nil, []contracts.Write{{Key: proposal.KeyEpoch(n), Value: record}})
	}
	record := canon.Marshal(proposal.EpochRecord{Time: 1_800_000_000_000})
	d, err := blocks.Derive(block(t, 3, begin(5, "5", record)), names)
	if err != nil || !reflect.DeepEqual(d.Epochs, []blocks.Epoch{{N: 5, Time: 1_800_000_000_000, TxID: "tx3.0"}}) || len(d.Commands) != 0 {
		t.Fatalf("%v %+v", err, d)
	}
	for name, bad := range map[string]*invocation{
		"another number": begin(5, "6", record), "a malformed number": begin(5, "05", record), "a malformed record": begin(5, "5", []byte("{}x")), "a deletion": begin(5, "5", nil),
	} {
		if _, err := blocks.Derive(block(t, 3, bad), names); err == nil {
			t.Errorf("took %s", name)
		}
	}
}

// TestCorrupt gives what the rule book's chaincode never does. A flag other than valid makes each of them harmless.
func TestCorrupt(t *testing.T) {
	all := history(t, 300)
	i := slices.IndexFunc(all, func(a contractstest.Applied) bool { return clearing(t, a) })
	if i < 0 {
		t.Fatal("no clearing command")
	}
	money := all[i : i+1]
	a, b := all[0:1], all[1:2]
	extra := contracts.Write{Key: "zzz", Value: []byte("1")}
	for name, c := range map[string]struct {
		tx    func() *invocation
		error string
	}{
		"a key that nobody claims": {func() *invocation {
			v := batch(t, "market", a)
			v.sets[0] = set(t, "market", append(slices.Clone(a[0].Result.Writes), extra))
			return v
		}, "no accepted command claims the key zzz"},
		"a claimed key that isn't written": {func() *invocation {
			v := batch(t, "market", a)
			v.sets[0] = set(t, "market", a[0].Result.Writes[1:])
			return v
		}, "did not write"},
		"a key claimed twice": {func() *invocation {
			return batch(t, "market", []contractstest.Applied{a[0], b[0]}, func(r *proposal.Reply) {
				x := r.Answers[1].Accepted
				x.Keys = append(x.Keys, a[0].Result.Writes[0].Key)
				slices.Sort(x.Keys)
			})
		}, ""},
		"a key twice": {func() *invocation {
			v := batch(t, "market", a)
			v.sets[0] = set(t, "market", append(slices.Clone(a[0].Result.Writes), a[0].Result.Writes...))
			return v
		}, "written twice"},
		"a namespace twice": {func() *invocation { v := batch(t, "market", a); v.sets = append(v.sets, v.sets[0]); return v }, "stands twice"},
		"another namespace": {func() *invocation {
			v := batch(t, "market", a)
			v.sets = append(v.sets, set(t, "clearing", []contracts.Write{extra}))
			return v
		}, "wrote to clearing"},
		"a stranger's namespace": {func() *invocation {
			v := batch(t, "market", a)
			v.sets = append(v.sets, set(t, "other", []contracts.Write{extra}))
			return v
		}, "wrote to other"},
		"a stranger that writes here": {func() *invocation {
			v := batch(t, "market", a)
			v.header, v.action = "other", "other"
			return v
		}, "an invocation of other wrote to market"},
		"an open that writes":     {func() *invocation { v := batch(t, "market", a); v.args[0] = []byte(proposal.Open); return v }, `"open" of market wrote`},
		"a function that writes":  {func() *invocation { v := batch(t, "market", a); v.args[0] = []byte("poke"); return v }, `"poke" of market wrote`},
		"no function that writes": {func() *invocation { v := batch(t, "market", a); v.args = nil; return v }, `"" of market wrote`},
		"an epoch of clearing": {func() *invocation {
			return invoke(t, "clearing", [][]byte{[]byte(proposal.Epoch), []byte("5")}, nil, []contracts.Write{{Key: proposal.KeyEpoch(5), Value: canon.Marshal(proposal.EpochRecord{Time: 1_800_000_000_000})}})
		}, `"epoch" of clearing wrote`},
		"another status":            {func() *invocation { v := batch(t, "market", a); v.status = 201; return v }, "status 201"},
		"a reply that isn't one":    {func() *invocation { v := batch(t, "market", a); v.payload = []byte("{}"); return v }, "reply"},
		"a reply to fewer":          {func() *invocation { v := batch(t, "market", a); v.args = append(v.args, v.args[2]); return v }, "1 answers to 2 commands"},
		"a call that isn't one":     {func() *invocation { v := batch(t, "market", a); v.args[1] = []byte("x"); return v }, "epoch is malformed"},
		"two names":                 {func() *invocation { v := batch(t, "market", a); v.header = "clearing"; return v }, "different chaincodes"},
		"no action":                 {func() *invocation { v := batch(t, "market", a); v.actions = 0; return v }, "0 actions"},
		"two actions":               {func() *invocation { v := batch(t, "market", a); v.actions = 2; return v }, "2 actions"},
		"a clearing kind in market": {func() *invocation { return batch(t, "market", money) }, "isn't this definition's"},
		"a market kind in clearing": {func() *invocation { return batch(t, "clearing", a) }, "isn't this definition's"},
		"a clearing key of a market kind": {func() *invocation {
			x := *a[0].Result
			x.Writes = append([]contracts.Write{{Key: "clr/movement/x", Value: []byte("1")}}, x.Writes...)
			slices.SortFunc(x.Writes, func(a, b contracts.Write) int { return strings.Compare(a.Key, b.Key) })
			return batch(t, "market", []contractstest.Applied{{Submission: a[0].Submission, Time: a[0].Time, Result: &x}})
		}, "clr/movement/x isn't this command's"},
		"another command's outcome": {func() *invocation {
			return batch(t, "market", []contractstest.Applied{{Submission: b[0].Submission, Time: a[0].Time, Result: a[0].Result}})
		}, "isn't this command's"},
		"no outcome": {func() *invocation {
			x := *a[0].Result
			x.Writes = slices.DeleteFunc(slices.Clone(x.Writes), func(w contracts.Write) bool { return strings.HasPrefix(w.Key, "cmd/") })
			return batch(t, "market", []contractstest.Applied{{Submission: a[0].Submission, Time: a[0].Time, Result: &x}})
		}, "outcome isn't recorded"},
		"openings in the block": {func() *invocation {
			return batch(t, "market", a, func(r *proposal.Reply) {
				r.Answers[0].Accepted.Openings = []proposal.Opening{{Commitment: contracts.HashOf("x", nil), Tag: "t"}}
			})
		}, "openings stand in the block"},
		"an audience out of order": {func() *invocation {
			return batch(t, "market", a, func(r *proposal.Reply) {
				r.Answers[0].Accepted.Audience = []contracts.ID{contracts.ID(strings.Repeat("2", 32)), contracts.ID(strings.Repeat("1", 32))}
			})
		}, "audience is not in order"},
		"an audience with one twice": {func() *invocation {
			return batch(t, "market", a, func(r *proposal.Reply) {
				r.Answers[0].Accepted.Audience = []contracts.ID{contracts.ID(strings.Repeat("1", 32)), contracts.ID(strings.Repeat("1", 32))}
			})
		}, "audience is not in order"},
		"an empty value": {func() *invocation {
			x := *a[0].Result
			x.Writes = slices.Clone(x.Writes)
			x.Writes[0].Value = []byte{}
			return batch(t, "market", []contractstest.Applied{{Submission: a[0].Submission, Time: a[0].Time, Result: &x}})
		}, "wrote nothing under"},
		"private data": {func() *invocation {
			v := batch(t, "market", a)
			v.sets[0].CollectionHashedRwset = []*rwset.CollectionHashedReadWriteSet{{CollectionName: "c",
				HashedRwset: encode(t, &kvrwset.HashedRWSet{HashedWrites: []*kvrwset.KVWriteHash{{KeyHash: []byte{1}}}})}}
			return v
		}, "private data"},
		"metadata of a key": {func() *invocation {
			v := batch(t, "market", a)
			v.sets = []*rwset.NsReadWriteSet{{Namespace: "market", Rwset: encode(t, &kvrwset.KVRWSet{MetadataWrites: []*kvrwset.KVMetadataWrite{{Key: "rulebook"}}})}}
			return v
		}, "metadata of keys"},
	} {
		v := c.tx()
		if d, err := blocks.Derive(block(t, 4, v), names); err == nil {
			t.Errorf("took %s: %+v", name, d)
		} else if !strings.Contains(err.Error(), c.error) {
			t.Errorf("%s: %v", name, err)
		}
		v.flag = peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE
		if d, err := blocks.Derive(block(t, 4, v), names); err != nil || len(d.Commands) != 0 {
			t.Errorf("an invalid transaction with %s: %v %+v", name, err, d)
		}
	}
}

// TestHarmless gives valid transactions that mean nothing to the market.
func TestHarmless(t *testing.T) {
	read := invoke(t, "market", [][]byte{[]byte(proposal.Gets), []byte("rulebook")}, proposal.Values([][]byte{nil}), nil)
	failed := invoke(t, "market", [][]byte{[]byte("poke")}, nil, nil)
	failed.status = 300
	config := invoke(t, "market", nil, nil, nil)
	config.kind, config.actions = common.HeaderType_CONFIG, 0
	d, err := blocks.Derive(block(t, 2, read, failed, config), names)
	if err != nil || len(d.Transactions) != 3 || len(d.Commands)+len(d.Epochs) != 0 {
		t.Fatalf("%v %+v", err, d)
	}
}

func TestFlags(t *testing.T) {
	b := block(t, 1, batch(t, "market", history(t, 0)[:1]))
	for name, metadata := range map[string]*common.BlockMetadata{
		"no metadata": nil, "no flags": {Metadata: make([][]byte, 2)}, "too few": {Metadata: make([][]byte, 5)},
		"too many": {Metadata: [][]byte{nil, nil, {0, 0}}},
	} {
		c := proto.Clone(b).(*common.Block)
		c.Metadata = metadata
		if _, err := blocks.Derive(c, names); err == nil {
			t.Errorf("took a block with %s", name)
		}
	}
	if _, err := blocks.Parse(nil); err == nil {
		t.Error("took no bytes for a block")
	}
}

func FuzzDerive(f *testing.F) {
	a := history(f, 0)
	f.Add(encode(f, block(f, 1, batch(f, "market", a[:1]))))
	f.Add(encode(f, block(f, 2, invoke(f, "market", [][]byte{[]byte(proposal.Epoch), []byte("5")}, nil, []contracts.Write{{Key: proposal.KeyEpoch(5), Value: []byte(`{"time":"1"}`)}}))))
	f.Fuzz(func(t *testing.T, b []byte) {
		block, err := blocks.Parse(b)
		if err != nil {
			return
		}
		d, err := blocks.Derive(block, names)
		if err != nil {
			return
		}
		for _, s := range blocks.Entries([32]byte{}, 0, d.Commands) {
			if len(s.Encoded) > ledger.MaxEntryBytes {
				continue
			}
			if _, err := ledger.DecodeEntry(s.Encoded); err != nil {
				t.Fatalf("an entry that was derived can't be decoded: %v", err)
			}
		}
	})
}

// What any one organisation can have in a valid transaction of its own stops nobody: its peers look only at the hash of the
// arguments, and ask our endorsers only about what is written to our namespaces.
func TestForeignOddities(t *testing.T) {
	own := []contracts.Write{{Key: "namespaces/fields/x", Value: []byte("1")}}
	read := set(t, "market", nil)
	read.CollectionHashedRwset = []*rwset.CollectionHashedReadWriteSet{{CollectionName: "c",
		HashedRwset: encode(t, &kvrwset.HashedRWSet{HashedReads: []*kvrwset.KVReadHash{{KeyHash: []byte{1}}}})}}
	for name, odd := range map[string]func(*invocation){
		"malformed arguments":             func(v *invocation) { v.input = []byte{0xff} },
		"private reads beside ours":       func(v *invocation) { v.sets = append(v.sets, read) },
		"its own namespace twice":         func(v *invocation) { v.sets = append(v.sets, v.sets[0]) },
		"a key of its namespace, twice":   func(v *invocation) { v.sets[0] = set(t, "_lifecycle", append(own, own...)) },
		"reads of ours, public, and none": func(v *invocation) { v.sets = append(v.sets, set(t, "market", nil)) },
	} {
		v := invoke(t, "_lifecycle", [][]byte{[]byte("ApproveChaincodeDefinitionForMyOrg")}, nil, own)
		odd(v)
		if _, err := blocks.Derive(block(t, 4, v), names); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	v := invoke(t, "market", nil, nil, nil)
	v.input = []byte{0xff}
	if _, err := blocks.Derive(block(t, 4, v), names); err == nil {
		t.Error("took our chaincode's transaction without its arguments")
	}
}
