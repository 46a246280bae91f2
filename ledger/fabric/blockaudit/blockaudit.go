// Package blockaudit verifies exported blocks of a Fabric channel, for someone who trusts no peer, no orderer and not the
// venue. An export is a folder of blocks 0..n, each a file as a peer stores it (blocks.Export). Nothing is asked of any
// network: what the audit rests on is the hash of the genesis block, which the auditor has from elsewhere.
//
// A block's hash covers its transactions and not its metadata. So the flags that say which transactions are valid are
// worked out again here, as Fabric 3.1 does: who was on the channel comes from its config blocks, whose endorsement a
// chaincode needs from the definitions that lifecycle wrote, and what a transaction read from all that was written before.
//
// What can't be told from blocks is reported as not checkable: blocks of SmartBFT orderers, endorsement policies of
// single keys, private data, validation code of a chaincode's own, and range queries whose results the transaction gives
// as hashes. The market uses none of these.
//
// What blocks can't show at all: that these are the newest, and that another organisation has the same; compare the last
// block's hash.
package blockaudit

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// Config of an Audit. Dir and Names are required.
type Config struct {
	Dir   string
	Names blocks.Names
	// Genesis is the hash of block 0, from a source that the auditor trusts. Without it nothing says that this is the
	// channel and not another one with the same names.
	Genesis *[32]byte
	// Evidence is the folder of an evidence package whose entries must be those that the blocks give; "" for none.
	Evidence string
	// Progress is told how many blocks are done, of how many.
	Progress func(done, total uint64)
}

// audit is one run over the blocks, in order.
type audit struct {
	findings
	cfg    Config
	report Report

	channel *channel // nil before the genesis block, and when its config can't be used
	state   *state
	ids     map[string]bool // of transactions in earlier blocks
	prev    [32]byte        // hash of the block before
	commit  []byte          // commit hash of the block before, as recorded

	// lost says why flags can't be worked out any more.
	lost    *say
	entries derivation
}

// Audit verifies an export. It goes on after a failure where it can, so that the report is whole. Its error is a failure
// to read, never a verdict.
func Audit(ctx context.Context, cfg Config) (*Report, error) {
	a := &audit{findings: newFindings(), cfg: cfg, state: newState(), ids: map[string]bool{}}
	names, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the export: %w", err)
	}
	total := uint64(0)
	for _, n := range names {
		if strings.HasPrefix(n.Name(), ".") { // left behind by an export that was broken off
			continue
		}
		var number uint64
		if _, err := fmt.Sscanf(n.Name(), "%d.block", &number); err != nil || blocks.FileName(number) != n.Name() {
			a.fail(CheckFiles, clip(n.Name())+": name", say{"no block has this name", "没有区块使用此名"})
			continue
		}
		total++
	}
	for number := uint64(0); number < total; number++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		more, err := a.next(number)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if cfg.Progress != nil {
			cfg.Progress(number+1, total)
		}
	}
	if total == 0 {
		a.fail(CheckFiles, blocks.FileName(0)+": name", say{"the block is missing", "区块缺失"})
	}
	if err := a.compare(); err != nil {
		return nil, err
	}
	r := &a.report
	r.Last = hex.EncodeToString(a.prev[:])
	if a.channel != nil {
		r.Channel, r.Config, r.Definitions = a.channel.id, a.channel.block, a.state.definitions(a.channel)
	}
	r.Checks = a.list(cfg.Evidence != "")
	return r, nil
}

// at names a place in the file of a block.
func at(number uint64, field string) string { return blocks.FileName(number) + ": " + field }

func atTransaction(number uint64, i int, field string) string {
	return fmt.Sprintf("%s: transaction %d: %s", blocks.FileName(number), i, field)
}

// next audits a block; more is false when nothing can be said of those behind it.
func (a *audit) next(number uint64) (more bool, err error) {
	raw, err := os.ReadFile(filepath.Join(a.cfg.Dir, blocks.FileName(number)))
	if errors.Is(err, fs.ErrNotExist) {
		a.fail(CheckFiles, at(number, "name"), say{"the block is missing; those behind it were not looked at", "区块缺失；其后的区块未予核验"})
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("couldn't read the export: %w", err)
	}
	b, err := blocks.Parse(raw)
	if err != nil {
		a.fail(CheckFiles, at(number, "block"), say{"the block is malformed; those behind it were not looked at", "区块格式错误；其后的区块未予核验"})
		return false, nil
	}
	a.file(number, raw, b)
	a.link(number, b)
	a.report.Blocks++
	a.report.Transactions += len(b.GetData().GetData())
	if number == 0 {
		return a.genesis(b), nil
	}
	a.signatures(number, b)
	a.transactions(number, b)
	return true, nil
}

// file checks that a file holds a block and nothing else.
func (a *audit) file(number uint64, raw []byte, b *common.Block) {
	var again common.Block
	switch {
	case strictly(raw, &again) != nil:
		a.fail(CheckFiles, at(number, "block"), say{"the file has other bytes than the block's one encoding", "文件内容不是区块的唯一编码"})
	case len(b.GetMetadata().GetMetadata()) != len(common.BlockMetadataIndex_name):
		a.fail(CheckFiles, at(number, "metadata"), say{"%d fields of metadata: want %d", "元数据有 %d 项：应为 %d"}, len(b.GetMetadata().GetMetadata()), len(common.BlockMetadataIndex_name))
	default:
		a.count(CheckFiles, 1)
	}
}

// link follows the chain of headers.
func (a *audit) link(number uint64, b *common.Block) {
	h := b.Header
	switch {
	case h.Number != number:
		a.fail(CheckChain, at(number, "number"), say{"it is block %d", "自称区块 %d"}, h.Number)
	case number == 0 && len(h.PreviousHash) > 0:
		a.fail(CheckChain, at(number, "previous hash"), say{"the first block follows another", "首个区块之前另有区块"})
	case number > 0 && !bytes.Equal(h.PreviousHash, a.prev[:]):
		a.fail(CheckChain, at(number, "previous hash"), say{"the block before has another hash: one of the two was changed, or one between them is gone", "前一区块的哈希不符：两者之一被改动，或其间有区块缺失"})
	default:
		a.count(CheckChain, 1)
	}
	if d := blocks.DataHash(b.Data); !bytes.Equal(h.DataHash, d[:]) {
		a.fail(CheckData, at(number, "data hash"), say{"the transactions are not those that the header names", "交易与区块头所载不符"})
	} else {
		a.count(CheckData, 1)
	}
	a.prev = blocks.HeaderHash(h)
}

// genesis takes the first config, on the word of whoever gave its hash.
func (a *audit) genesis(b *common.Block) bool {
	hash := blocks.HeaderHash(b.Header)
	a.report.Genesis = hex.EncodeToString(hash[:])
	switch {
	case a.cfg.Genesis == nil:
		a.skip(CheckGenesis, 1, say{"no trusted hash was given: " + a.report.Genesis, "未给出可信哈希：" + a.report.Genesis})
	case *a.cfg.Genesis != hash:
		a.fail(CheckGenesis, at(0, "hash"), say{"this is not the trusted genesis block", "不是可信的创世区块"})
	default:
		a.count(CheckGenesis, 1)
	}
	if len(b.GetData().GetData()) != 1 {
		a.fail(CheckConfig, at(0, "data"), say{"%d transactions: want one", "交易 %d 笔：应为一笔"}, len(b.GetData().GetData()))
		return false
	}
	envelope, id, err := genesisConfig(b.Data.Data[0])
	if err == nil {
		a.channel, err = newChannel(id, envelope.Config)
	}
	if err != nil {
		a.fail(CheckConfig, at(0, "transaction 0: config"), say{"%v; nothing behind it was looked at", "%v；其后均未核验"}, err)
		return false
	}
	a.count(CheckConfig, 1)
	a.ids[genesisID(b.Data.Data[0])] = true
	if f, err := blocks.Flags(b); err != nil || f[0] != peer.TxValidationCode_VALID {
		a.fail(CheckFlags, at(0, "transaction 0: flag"), say{"the genesis block is not marked as valid", "创世区块未标为有效"})
	} else {
		a.count(CheckFlags, 1)
	}
	a.report.Valid++
	if err := unsigned(b); err != nil {
		a.fail(CheckFiles, at(0, "metadata"), say{"%v", "%v"}, err)
	}
	return true
}

func genesisConfig(envelope []byte) (*common.ConfigEnvelope, string, error) {
	var e common.Envelope
	var payload common.Payload
	var header common.ChannelHeader
	var config common.ConfigEnvelope
	for _, x := range []struct {
		b    func() []byte
		into proto.Message
	}{{func() []byte { return envelope }, &e}, {func() []byte { return e.Payload }, &payload},
		{func() []byte { return payload.GetHeader().GetChannelHeader() }, &header}, {func() []byte { return payload.Data }, &config}} {
		if err := proto.Unmarshal(x.b(), x.into); err != nil {
			return nil, "", errors.New("the config is malformed")
		}
	}
	if common.HeaderType(header.Type) != common.HeaderType_CONFIG || config.Config == nil {
		return nil, "", errors.New("it is no config")
	}
	return &config, header.ChannelId, nil
}

// genesisID is the id under which peers index the genesis block's transaction.
func genesisID(envelope []byte) string {
	var e common.Envelope
	var payload common.Payload
	t := &transaction{}
	if proto.Unmarshal(envelope, &e) == nil && proto.Unmarshal(e.Payload, &payload) == nil {
		t.headers(payload.Header)
	}
	return t.id
}

// signatures checks who ordered a block.
func (a *audit) signatures(number uint64, b *common.Block) {
	o, err := a.channel.orderers(b)
	if errors.Is(err, errSmartBFT) {
		a.skip(CheckOrderers, 1, say{"the orderers are SmartBFT", "排序服务为 SmartBFT"})
		return
	}
	if err != nil {
		a.fail(CheckOrderers, at(number, "signatures"), say{"%v", "%v"}, err)
		return
	}
	want := a.channel.block
	if len(b.GetData().GetData()) == 1 {
		if _, id, err := genesisConfig(b.Data.Data[0]); err == nil && id == a.channel.id {
			want = number // a config block is the newest config already
		}
	}
	if o.lastConfig != want {
		a.fail(CheckOrderers, at(number, "last config"), say{"the orderers signed that the config is in block %d: it is in block %d", "排序节点签称配置在区块 %d：实在区块 %d"}, o.lastConfig, want)
		return
	}
	if err := o.beside(b); err != nil {
		a.fail(CheckOrderers, at(number, "metadata"), say{"%v", "%v"}, err)
		return
	}
	a.count(CheckOrderers, 1)
	for _, id := range o.by {
		a.dated(at(number, "signatures"), id, latest(b))
	}
}

// latest is the time of the newest transaction of a block, by its sender's clock; zero when none has one.
func latest(b *common.Block) (t time.Time) {
	for _, e := range b.GetData().GetData() {
		if x := timeOf(e); x.After(t) {
			t = x
		}
	}
	return t
}

func timeOf(envelope []byte) time.Time {
	var e common.Envelope
	var payload common.Payload
	t := &transaction{}
	if proto.Unmarshal(envelope, &e) == nil && proto.Unmarshal(e.Payload, &payload) == nil {
		t.headers(payload.Header)
	}
	return t.timestamp
}

// dated checks that a signer's certificate was in force. Peers don't ask that of blocks.
func (a *audit) dated(where string, id *identity, t time.Time) {
	switch {
	case t.IsZero():
		a.skip(CheckCertificates, 1, say{"a transaction has no time", "有交易未载时间"})
	case t.Before(id.cert.NotBefore) || t.After(id.cert.NotAfter):
		a.fail(CheckCertificates, where, say{"the certificate of %s was not in force on %s", "%s 的证书于 %s 不在有效期内"}, id.name(), t.Format(time.RFC3339))
	default:
		a.count(CheckCertificates, 1)
	}
}

// onAllCores calls fn with every index below n.
func onAllCores(n int, fn func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
		})
	}
	wg.Wait()
}
