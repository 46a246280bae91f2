package blockaudit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// transactions works out which transactions of a block are valid, holds that against what the block says, and applies
// what they did.
func (a *audit) transactions(number uint64, b *common.Block) {
	data := b.GetData().GetData()
	recorded, err := blocks.Flags(b)
	if err != nil {
		a.fail(CheckFlags, at(number, "flags"), say{"%v", "%v"}, err)
	}
	txs := make([]*transaction, len(data))
	r := rules{a.channel, a.state, a.ids}
	onAllCores(len(data), func(i int) { txs[i] = r.judge(data[i]) })

	u, here := updates{}, map[string]bool{}
	flags := make([]byte, len(data))
	for i, t := range txs {
		var says peer.TxValidationCode = -1 // nothing
		if recorded != nil {
			says = recorded[i]
		}
		a.repeat(t, here)
		if t.ok() && t.config == nil {
			a.conflicts(t, u)
		}
		if t.ok() && t.config != nil {
			a.configure(number, i, t, len(data))
		}
		flag := a.flag(number, i, t, says)
		flags[i] = byte(flag)
		if flag == peer.TxValidationCode_VALID {
			a.valid(number, i, t)
			u.add(t.sets, version{number, uint64(i)})
		}
	}
	for _, t := range txs {
		if t.id != "" {
			a.ids[t.id] = true
		}
	}
	a.state.apply(u)
	a.committed(number, b, flags, u)
	a.derive(number, b, flags)
}

// repeat finds a transaction that stands in its block twice.
func (a *audit) repeat(t *transaction, here map[string]bool) {
	if !t.ok() || t.kind != common.HeaderType_ENDORSER_TRANSACTION {
		return
	}
	if here[t.id] {
		t.invalid(peer.TxValidationCode_DUPLICATE_TXID, "the block has this transaction twice")
	}
	here[t.id] = true
}

// conflicts looks for what a transaction read that has changed since.
func (a *audit) conflicts(t *transaction, u updates) {
	if t.readsPrivate() {
		t.unknown = &say{"a transaction reads private data", "有交易读取私有数据"}
		return
	}
	flag, ok := a.state.conflict(t.sets, u)
	switch {
	case !ok:
		t.unknown = &say{"a transaction gives the results of a range query as hashes", "有交易以哈希给出范围查询的结果"}
	case flag != peer.TxValidationCode_VALID:
		t.invalid(flag, "what it read has changed since")
	}
}

// configure takes a new config, if those signed it whom the old one asks for. Peers that meet one that isn't stop.
func (a *audit) configure(number uint64, i int, t *transaction, n int) {
	where := atTransaction(number, i, "config")
	if n != 1 {
		a.fail(CheckConfig, where, say{"other transactions stand beside the config", "配置之外另有交易"})
		return
	}
	if err := a.channel.follows(t.config); err != nil {
		a.fail(CheckConfig, where, say{"%v", "%v"}, err)
		return
	}
	next, err := newChannel(a.channel.id, t.config.Config)
	if err != nil {
		a.fail(CheckConfig, where, say{"%v", "%v"}, err)
		return
	}
	next.block = number
	a.channel = next
	a.count(CheckConfig, 1)
}

// flag compares the flag that a block says with the one that it must be, and gives the latter; where that can't be told,
// the former.
func (a *audit) flag(number uint64, i int, t *transaction, says peer.TxValidationCode) peer.TxValidationCode {
	if t.unknown != nil || a.lost != nil {
		why := a.lost
		if why == nil {
			why = t.unknown
		}
		a.skip(CheckFlags, 1, *why)
		for _, x := range t.sets {
			if x.metadata() {
				a.lost = why // from here on, single keys may have policies of their own
			}
		}
		return says
	}
	if slices.Contains(t.flags, says) {
		a.count(CheckFlags, 1)
		return says
	}
	want := t.flags[0]
	why := t.why
	if why == "" {
		why = "nothing is wrong with it"
	}
	a.fail(CheckFlags, atTransaction(number, i, "flag"), say{"it says %v and must be %v: %s", "记为 %v，应为 %v：%s"}, named(says), named(want), why)
	if says == peer.TxValidationCode_VALID {
		switch {
		case t.policy:
			a.fail(CheckEndorsements, atTransaction(number, i, "endorsements"), say{"%s", "%s"}, why)
		case want == peer.TxValidationCode_BAD_CREATOR_SIGNATURE, want == peer.TxValidationCode_BAD_PROPOSAL_TXID, want == peer.TxValidationCode_INVALID_ENDORSER_TRANSACTION:
			a.fail(CheckCreators, atTransaction(number, i, "creator"), say{"%s", "%s"}, why)
		}
	}
	return want
}

func named(f peer.TxValidationCode) string {
	if f < 0 {
		return "nothing"
	}
	if s, ok := peer.TxValidationCode_name[int32(f)]; ok {
		return s
	}
	return fmt.Sprint(int32(f))
}

// valid counts what was verified of a valid transaction.
func (a *audit) valid(number uint64, i int, t *transaction) {
	a.report.Valid++
	if t.creator != nil {
		// Orderers ask this before they take a transaction; peers rely on it.
		if p := a.channel.policies.get(writersPolicy); p.satisfied([]*identity{t.creator}) {
			a.count(CheckCreators, 1)
		} else {
			a.fail(CheckCreators, atTransaction(number, i, "creator"), say{"%s may not write to the channel", "%s 无权向通道写入"}, t.creator.name())
		}
		a.dated(atTransaction(number, i, "creator"), t.creator, t.timestamp)
	}
	if t.kind != common.HeaderType_ENDORSER_TRANSACTION || t.unknown != nil {
		return
	}
	a.count(CheckEndorsements, 1)
	for _, id := range t.endorsers {
		a.dated(atTransaction(number, i, "endorsements"), id, t.timestamp)
	}
}

const writersPolicy = "/Channel/Writers"

// committed checks what the peer noted about its own state.
func (a *audit) committed(number uint64, b *common.Block, flags []byte, u updates) {
	raw := metadata(b, common.BlockMetadataIndex_COMMIT_HASH)
	var m common.Metadata
	err := strictly(raw, &m)
	prev := a.commit
	a.commit = m.Value
	switch {
	case len(raw) == 0:
		a.skip(CheckCommitHash, 1, say{"the peer recorded none", "节点未记录"})
	case a.lost != nil:
		a.skip(CheckCommitHash, 1, *a.lost)
	case number > 1 && len(prev) == 0:
		a.skip(CheckCommitHash, 1, say{"the block before has none", "前一区块没有"})
	case err != nil || len(m.Signatures) > 0:
		a.fail(CheckCommitHash, at(number, "commit hash"), say{"malformed", "格式错误"})
	case !bytes.Equal(m.Value, commitHash(flags, u, prev)):
		a.fail(CheckCommitHash, at(number, "commit hash"), say{"the peer's state or flags differ from what the blocks give", "节点的状态或标志与区块得出者不符"})
	default:
		a.count(CheckCommitHash, 1)
	}
}

// derivation is the entries so far.
type derivation struct {
	hashes [][32]byte
	failed bool // nothing behind may be derived
}

func (a *audit) derive(number uint64, b *common.Block, flags []byte) {
	d := &a.entries
	if d.failed {
		return
	}
	judged := &common.Block{Header: b.Header, Data: b.Data, Metadata: &common.BlockMetadata{}}
	judged.Metadata.Metadata = [][]byte{common.BlockMetadataIndex_TRANSACTIONS_FILTER: flags}
	got, err := blocks.Derive(judged, a.cfg.Names)
	if err != nil {
		d.failed = true
		a.fail(CheckEntries, at(number, "data"), say{"%v", "%v"}, errors.Unwrap(err))
		return
	}
	var prev [32]byte
	if n := len(d.hashes); n > 0 {
		prev = d.hashes[n-1]
	}
	for _, s := range blocks.Entries(prev, uint64(len(d.hashes)), got.Commands) {
		d.hashes = append(d.hashes, s.Hash)
	}
	a.findings[CheckEntries].Count = len(d.hashes)
}
