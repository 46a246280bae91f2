package blockaudit_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/fabric/blockaudit"
	"github.com/bund-exchange/bund/ledger/fabric/blockaudit/blockaudittest"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

func load(t testing.TB) *blockaudittest.Recording {
	t.Helper()
	r, err := blockaudittest.Load()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func genesis(t testing.TB) *[32]byte {
	t.Helper()
	b, err := hex.DecodeString(blockaudittest.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	return (*[32]byte)(b)
}

func audit(t testing.TB, r *blockaudittest.Recording) *blockaudit.Report {
	t.Helper()
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	return auditDir(t, dir, "")
}

func auditDir(t testing.TB, dir, pkg string) *blockaudit.Report {
	t.Helper()
	rep, err := blockaudit.Audit(context.Background(), blockaudit.Config{Dir: dir, Names: blockaudittest.Names, Genesis: genesis(t), Evidence: pkg})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// failed asserts that a check failed at a place, for a reason.
func failed(t *testing.T, r *blockaudit.Report, check, where, detail string) {
	t.Helper()
	c := r.Check(check)
	if c.Verdict != evidence.Failed {
		t.Errorf("%s is %s: want failed at %s (%s)", check, c.Verdict, where, detail)
		return
	}
	if !strings.Contains(c.Where, where) || !strings.Contains(c.Detail, detail) {
		t.Errorf("%s failed at %q: %q; want %q: %q", check, c.Where, c.Detail, where, detail)
	}
	if c.DetailZh == "" {
		t.Errorf("%s has no Chinese detail", check)
	}
}

// only asserts that nothing but some checks failed.
func only(t *testing.T, r *blockaudit.Report, checks ...string) {
	t.Helper()
	for _, c := range r.Checks {
		if c.Verdict == evidence.Failed && !strings.Contains(strings.Join(checks, "|"), c.Name) {
			t.Errorf("%s failed too, at %s: %s", c.Name, c.Where, c.Detail)
		}
	}
}

// TestRecording audits what a real network made: every flag and every commit hash that its peers worked out is worked out
// here too.
func TestRecording(t *testing.T) {
	r := load(t)
	rep := audit(t, r)
	for _, c := range rep.Checks {
		if c.Verdict != evidence.Verified || c.Skipped > 0 || c.Count == 0 {
			t.Errorf("%s: %s, %d verified, %d not, at %s: %s", c.Name, c.Verdict, c.Count, c.Skipped, c.Where, c.Detail)
		}
	}
	all, valid := 0, 0
	kinds := map[peer.TxValidationCode]int{}
	for i := range r.Blocks {
		for _, f := range r.Flags(i) {
			all++
			kinds[peer.TxValidationCode(f)]++
		}
	}
	valid = kinds[peer.TxValidationCode_VALID]
	for _, f := range []peer.TxValidationCode{peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE, peer.TxValidationCode_MVCC_READ_CONFLICT, peer.TxValidationCode_DUPLICATE_TXID} {
		if kinds[f] == 0 {
			t.Errorf("the recording has no %s: it shows less than it should", f)
		}
	}
	if rep.Check(blockaudit.CheckFlags).Count != all || rep.Transactions != all || rep.Valid != valid || rep.Blocks != uint64(len(r.Blocks)) {
		t.Errorf("%+v: want %d transactions, %d valid", rep, all, valid)
	}
	if n := rep.Check(blockaudit.CheckConfig).Count; n != 2 {
		t.Errorf("%d configs: want the first and the update", n)
	}
	if rep.Genesis != blockaudittest.Genesis || rep.Channel != blockaudittest.Channel || rep.Entries != blockaudittest.Entries || rep.LastEntry != blockaudittest.LastEntry {
		t.Errorf("%+v", rep)
	}
	if len(rep.Definitions) != 2 || rep.Definitions[1].Sequence != 2 || rep.Definitions[0].Policy != "AND(VenueMSP.peer, CustodianMSP.peer)" ||
		rep.Definitions[1].Policy != "AND(VenueMSP.peer, OR(CustodianMSP.peer, ProviderMSP.peer, BuyerMSP.peer, RegulatorMSP.peer))" {
		t.Errorf("%+v", rep.Definitions)
	}
}

// TestMutations changes an export as somebody could who has no key at all.
func TestMutations(t *testing.T) {
	at, config := blocks.FileName, uint64(load(t).Update())
	for name, m := range map[string]struct {
		edit                 func(t *testing.T, r *blockaudittest.Recording)
		check, where, detail string
		too                  []string // checks that fail of necessity beside it
	}{
		"a flag makes an invalid transaction valid": {func(t *testing.T, r *blockaudittest.Recording) {
			b, i := r.Find(byte(peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE), 0)
			r.Flags(b)[i] = 0
		}, blockaudit.CheckFlags, "transaction 0: flag", "it says VALID and must be ENDORSEMENT_POLICY_FAILURE: endorsements of", []string{blockaudit.CheckCommitHash, blockaudit.CheckEndorsements}},
		"a flag makes a conflict valid": {func(t *testing.T, r *blockaudittest.Recording) {
			b, i := r.Find(byte(peer.TxValidationCode_MVCC_READ_CONFLICT), 0)
			r.Flags(b)[i] = 0
		}, blockaudit.CheckFlags, "flag", "it says VALID and must be MVCC_READ_CONFLICT: what it read has changed since", []string{blockaudit.CheckCommitHash}},
		"a flag makes a repeat valid": {func(t *testing.T, r *blockaudittest.Recording) {
			b, i := r.Find(byte(peer.TxValidationCode_DUPLICATE_TXID), 0)
			r.Flags(b)[i] = 0
		}, blockaudit.CheckFlags, "flag", "it says VALID and must be DUPLICATE_TXID", []string{blockaudit.CheckCommitHash}},
		"a flag makes a valid transaction invalid": {func(t *testing.T, r *blockaudittest.Recording) {
			r.Flags(30)[0] = byte(peer.TxValidationCode_MVCC_READ_CONFLICT)
		}, blockaudit.CheckFlags, at(30) + ": transaction 0: flag", "it says MVCC_READ_CONFLICT and must be VALID: nothing is wrong with it", []string{blockaudit.CheckCommitHash}},
		"another reason": {func(t *testing.T, r *blockaudittest.Recording) {
			b, i := r.Find(byte(peer.TxValidationCode_MVCC_READ_CONFLICT), 0)
			r.Flags(b)[i] = byte(peer.TxValidationCode_PHANTOM_READ_CONFLICT)
		}, blockaudit.CheckFlags, "flag", "it says PHANTOM_READ_CONFLICT and must be MVCC_READ_CONFLICT", []string{blockaudit.CheckCommitHash}},
		"a flag of no meaning": {func(t *testing.T, r *blockaudittest.Recording) { r.Flags(30)[0] = 99 },
			blockaudit.CheckFlags, at(30), "it says 99 and must be VALID", []string{blockaudit.CheckCommitHash}},
		"no flags": {func(t *testing.T, r *blockaudittest.Recording) {
			r.Blocks[30].Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = nil
		}, blockaudit.CheckFlags, at(30) + ": flags", "0 validation flags for 1 transactions", []string{blockaudit.CheckCommitHash}},
		"the genesis block's flag": {func(t *testing.T, r *blockaudittest.Recording) { r.Flags(0)[0] = 1 },
			blockaudit.CheckFlags, at(0) + ": transaction 0: flag", "", nil},
		"a byte of a transaction": {func(t *testing.T, r *blockaudittest.Recording) {
			d := r.Blocks[30].Data.Data[0]
			d[len(d)/2] ^= 1
		}, blockaudit.CheckData, at(30), "not those that the header names", []string{blockaudit.CheckFlags, blockaudit.CheckCreators, blockaudit.CheckCommitHash, blockaudit.CheckEntries}},
		"a byte of the config": {func(t *testing.T, r *blockaudittest.Recording) {
			d := r.Blocks[r.Update()].Data.Data[0]
			d[len(d)/2] ^= 1
		}, blockaudit.CheckData, at(config), "", []string{blockaudit.CheckFlags, blockaudit.CheckCreators, blockaudit.CheckCommitHash, blockaudit.CheckOrderers}},
		"an endorsement dropped": {func(t *testing.T, r *blockaudittest.Recording) {
			d := r.Blocks[30].Data.Data
			d[0] = blockaudittest.Reopen(d[0], r.Signer("VenueMSP.client"), func(a *peer.ChaincodeActionPayload) { a.Action.Endorsements = a.Action.Endorsements[:1] })
		}, blockaudit.CheckEndorsements, at(30) + ": transaction 0: endorsements", "endorsements of", []string{blockaudit.CheckData, blockaudit.CheckFlags, blockaudit.CheckCommitHash}},
		"two blocks swapped": {func(t *testing.T, r *blockaudittest.Recording) {
			r.Blocks[30], r.Blocks[31] = r.Blocks[31], r.Blocks[30]
		},
			blockaudit.CheckChain, at(30) + ": number", "it is block 31", []string{blockaudit.CheckFlags, blockaudit.CheckCommitHash, blockaudit.CheckEntries}},
		"a block left out": {func(t *testing.T, r *blockaudittest.Recording) { r.Blocks = append(r.Blocks[:30], r.Blocks[31:]...) },
			blockaudit.CheckChain, at(30) + ": number", "it is block 31", []string{blockaudit.CheckFlags, blockaudit.CheckCommitHash, blockaudit.CheckOrderers, blockaudit.CheckEntries}},
		"a block repeated": {func(t *testing.T, r *blockaudittest.Recording) { r.Blocks[31] = r.Blocks[30] },
			blockaudit.CheckChain, at(31) + ": number", "it is block 30", []string{blockaudit.CheckFlags, blockaudit.CheckCommitHash, blockaudit.CheckEntries}},
		"another previous hash": {func(t *testing.T, r *blockaudittest.Recording) { r.Blocks[30].Header.PreviousHash[3] ^= 1 },
			blockaudit.CheckChain, at(30) + ": previous hash", "another hash", []string{blockaudit.CheckOrderers}},
		"a forged orderer": {func(t *testing.T, r *blockaudittest.Recording) {
			sign(r, 30, r.Signer("VenueMSP.client").As(r.Signer("OrdererMSP.orderer").Identity))
		}, blockaudit.CheckOrderers, at(30) + ": signatures", "OrdererMSP/o1.orderer.bund: the signature is wrong", nil},
		"an orderer of no organisation": {func(t *testing.T, r *blockaudittest.Recording) {
			sign(r, 30, r.Signer("OrdererMSP.orderer").As([]byte("\n\aNobody\x12\x01x")))
		}, blockaudit.CheckOrderers, at(30), "a signer: ", nil},
		"a member that is no orderer": {func(t *testing.T, r *blockaudittest.Recording) { sign(r, 30, r.Signer("VenueMSP.peer")) },
			blockaudit.CheckOrderers, at(30), "the signers are not those that the channel asks for: ANY Writers", nil},
		"one signature more": {func(t *testing.T, r *blockaudittest.Recording) {
			o := r.Signer("OrdererMSP.orderer")
			sign(r, 30, o, o)
		}, blockaudit.CheckOrderers, at(30), "signed twice", nil},
		"no signature": {func(t *testing.T, r *blockaudittest.Recording) { sign(r, 30) }, blockaudit.CheckOrderers, at(30), "ANY Writers", nil},
		"a signature in its high form": {func(t *testing.T, r *blockaudittest.Recording) {
			o := r.Signer("OrdererMSP.orderer")
			editSignature(r, 30, func(s *common.MetadataSignature) { s.Signature = o.High(s.Signature) })
		}, blockaudit.CheckOrderers, at(30), "not in its low form", nil},
		"bytes behind a signature": {func(t *testing.T, r *blockaudittest.Recording) {
			editSignature(r, 30, func(s *common.MetadataSignature) { s.Signature = append(s.Signature, 0) })
		}, blockaudit.CheckOrderers, at(30), "more than one encoding", nil},
		"bytes behind the signatures": {func(t *testing.T, r *blockaudittest.Recording) {
			m := r.Blocks[30].Metadata.Metadata
			m[0] = append(m[0], 0xf8, 0x07, 1)
		}, blockaudit.CheckOrderers, at(30), "not in its one encoding", nil},
		"metadata of another block": {func(t *testing.T, r *blockaudittest.Recording) { r.Blocks[30].Metadata = r.Blocks[31].Metadata },
			blockaudit.CheckOrderers, at(30) + ": signatures", "the signature is wrong", []string{blockaudit.CheckCommitHash}},
		"an unsigned config index": {func(t *testing.T, r *blockaudittest.Recording) {
			r.Blocks[config+2].Metadata.Metadata[1] = r.Blocks[30].Metadata.Metadata[1]
		}, blockaudit.CheckOrderers, at(config+2) + ": metadata", fmt.Sprintf("the unsigned index of the config is 0, the signed one %d", config), nil},
		"consenter metadata": {func(t *testing.T, r *blockaudittest.Recording) { r.Blocks[30].Metadata.Metadata[3] = []byte{1} },
			blockaudit.CheckOrderers, at(30) + ": metadata", "nobody signed", nil},
		"a commit hash": {func(t *testing.T, r *blockaudittest.Recording) {
			m := r.Blocks[30].Metadata.Metadata
			m[4][len(m[4])-1] ^= 1
		}, blockaudit.CheckCommitHash, at(30), "differ from what the blocks give", nil},
		"metadata of the genesis block": {func(t *testing.T, r *blockaudittest.Recording) { r.Blocks[0].Metadata.Metadata[4] = []byte{1} },
			blockaudit.CheckFiles, at(0) + ": metadata", "", nil},
		"a field of metadata more": {func(t *testing.T, r *blockaudittest.Recording) {
			r.Blocks[30].Metadata.Metadata = append(r.Blocks[30].Metadata.Metadata, nil)
		}, blockaudit.CheckFiles, at(30) + ": metadata", "6 fields", nil},
		"another channel": {func(t *testing.T, r *blockaudittest.Recording) {
			d := r.Blocks[0].Data.Data[0]
			d[len(d)-1] ^= 1
			hash := blocks.DataHash(r.Blocks[0].Data)
			r.Blocks[0].Header.DataHash = hash[:]
		}, blockaudit.CheckGenesis, at(0) + ": hash", "not the trusted genesis block", []string{blockaudit.CheckChain, blockaudit.CheckConfig, blockaudit.CheckOrderers}},
	} {
		t.Run(name, func(t *testing.T) {
			r := load(t)
			m.edit(t, r)
			rep := audit(t, r)
			failed(t, rep, m.check, m.where, m.detail)
			only(t, rep, append(m.too, m.check)...)
		})
	}
}

func sign(r *blockaudittest.Recording, block int, by ...*blockaudittest.Signer) {
	var m common.Metadata
	if err := proto.Unmarshal(r.Blocks[block].Metadata.Metadata[0], &m); err != nil {
		panic(err)
	}
	r.Sign(r.Blocks[block], m.Value, by...)
}

func editSignature(r *blockaudittest.Recording, block int, edit func(*common.MetadataSignature)) {
	var m common.Metadata
	if err := proto.Unmarshal(r.Blocks[block].Metadata.Metadata[0], &m); err != nil {
		panic(err)
	}
	edit(m.Signatures[0])
	b, err := proto.Marshal(&m)
	if err != nil {
		panic(err)
	}
	r.Blocks[block].Metadata.Metadata[0] = b
}

func TestFolder(t *testing.T) {
	r := load(t)
	r.Blocks = r.Blocks[:5]
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	put := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(".block-123", []byte("left behind"))
	if rep := auditDir(t, dir, ""); !rep.OK() {
		t.Fatalf("a broken-off file matters: %+v", rep.Checks)
	}
	put("5.block", nil)
	rep := auditDir(t, dir, "")
	failed(t, rep, blockaudit.CheckFiles, "5.block: name", "no block has this name")
	only(t, rep, blockaudit.CheckFiles)
	if err := os.Remove(filepath.Join(dir, "5.block")); err != nil {
		t.Fatal(err)
	}

	third := filepath.Join(dir, blocks.FileName(3))
	b, err := os.ReadFile(third)
	if err != nil {
		t.Fatal(err)
	}
	put(blocks.FileName(3), append(bytes.Clone(b), 0xf8, 0x07, 1))
	failed(t, auditDir(t, dir, ""), blockaudit.CheckFiles, blocks.FileName(3), "other bytes")
	put(blocks.FileName(3), b[:len(b)-1])
	rep = auditDir(t, dir, "")
	failed(t, rep, blockaudit.CheckFiles, blocks.FileName(3), "malformed")
	if rep.Blocks != 3 {
		t.Errorf("%d blocks read", rep.Blocks)
	}
	if err := os.Remove(third); err != nil {
		t.Fatal(err)
	}
	failed(t, auditDir(t, dir, ""), blockaudit.CheckFiles, blocks.FileName(3)+": name", "missing")
	failed(t, auditDir(t, t.TempDir(), ""), blockaudit.CheckFiles, blocks.FileName(0), "missing")
	if _, err := blockaudit.Audit(context.Background(), blockaudit.Config{Dir: filepath.Join(dir, "nowhere")}); err == nil {
		t.Error("audited a folder that isn't there")
	}
}

// TestUntrusted audits without a trusted genesis block: everything else is still checked.
func TestUntrusted(t *testing.T) {
	dir := t.TempDir()
	if err := load(t).Write(dir); err != nil {
		t.Fatal(err)
	}
	rep, err := blockaudit.Audit(context.Background(), blockaudit.Config{Dir: dir, Names: blockaudittest.Names})
	if err != nil || !rep.OK() {
		t.Fatal(err, rep)
	}
	if c := rep.Check(blockaudit.CheckGenesis); c.Verdict != evidence.NotCheckable || !strings.Contains(c.Detail, blockaudittest.Genesis) {
		t.Errorf("%+v", c)
	}
}

// TestEveryByte changes single bits of files: each is found.
func TestEveryByte(t *testing.T) {
	r := load(t)
	for _, last := range []int{0, 2, 12} { // the config, lifecycle, the market
		step := 1 + len(encode(t, r.Blocks[last]))/40
		short := *r
		short.Blocks = r.Blocks[:last+1]
		dir := t.TempDir()
		if err := short.Write(dir); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, blocks.FileName(uint64(last)))
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tail := max(0, len(b)-120) // metadata: every byte, since no hash covers it
		for i := 0; i < len(b); i++ {
			if i < tail && i%step != 0 {
				continue
			}
			x := bytes.Clone(b)
			x[i] ^= 1 << (i % 8)
			if err := os.WriteFile(file, x, 0o600); err != nil {
				t.Fatal(err)
			}
			if rep := auditDir(t, dir, ""); rep.OK() {
				t.Errorf("block %d: bit %d of byte %d changed and nothing was found", last, i%8, i)
			}
		}
	}
}

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
