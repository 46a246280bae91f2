package blocks_test

import (
	"fmt"
	"testing"

	"github.com/golang/protobuf/proto"
	"github.com/golang/protobuf/ptypes/timestamp"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go/peer"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

var names = blocks.Names{Market: "market", Clearing: "clearing"}

// invocation is a transaction before it is put in a block.
type invocation struct {
	header, action string // chaincode as the header and the endorsed action name it
	args           [][]byte
	input          []byte // instead of args, as bytes
	status         int32
	payload        []byte
	sets           []*rwset.NsReadWriteSet
	flag           peer.TxValidationCode
	kind           common.HeaderType
	actions        int
}

// invoke makes what the rule book's chaincode makes of a call.
func invoke(t testing.TB, chaincode string, args [][]byte, payload []byte, writes []contracts.Write) *invocation {
	return &invocation{header: chaincode, action: chaincode, args: args, status: 200, payload: payload,
		sets: []*rwset.NsReadWriteSet{set(t, chaincode, writes)}, kind: common.HeaderType_ENDORSER_TRANSACTION, actions: 1}
}

func set(t testing.TB, namespace string, writes []contracts.Write) *rwset.NsReadWriteSet {
	kv := &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "rulebook"}}}
	for _, w := range writes {
		kv.Writes = append(kv.Writes, &kvrwset.KVWrite{Key: w.Key, Value: proposal.Stored(w.Value), IsDelete: w.Value == nil})
	}
	return &rwset.NsReadWriteSet{Namespace: namespace, Rwset: encode(t, kv)}
}

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v *invocation) envelope(t testing.TB, id string) []byte {
	input := v.input
	if input == nil {
		input = encode(t, &peer.ChaincodeInvocationSpec{
			ChaincodeSpec: &peer.ChaincodeSpec{ChaincodeId: &peer.ChaincodeID{Name: "the sender's word"}, Input: &peer.ChaincodeInput{Args: v.args}}})
	}
	action := &peer.ChaincodeActionPayload{
		ChaincodeProposalPayload: encode(t, &peer.ChaincodeProposalPayload{Input: input}),
		Action: &peer.ChaincodeEndorsedAction{ProposalResponsePayload: encode(t, &peer.ProposalResponsePayload{Extension: encode(t, &peer.ChaincodeAction{
			ChaincodeId: &peer.ChaincodeID{Name: v.action, Version: "1"}, Response: &peer.Response{Status: v.status, Payload: v.payload},
			Results: encode(t, &rwset.TxReadWriteSet{NsRwset: v.sets})})})},
	}
	tx := &peer.Transaction{}
	for range v.actions {
		tx.Actions = append(tx.Actions, &peer.TransactionAction{Payload: encode(t, action)})
	}
	return encode(t, &common.Envelope{Payload: encode(t, &common.Payload{Header: &common.Header{ChannelHeader: encode(t, &common.ChannelHeader{
		Type: int32(v.kind), TxId: id, ChannelId: "bund", Timestamp: &timestamp.Timestamp{Seconds: 1_800_000_000, Nanos: 5_000_000},
		Extension: encode(t, &peer.ChaincodeHeaderExtension{ChaincodeId: &peer.ChaincodeID{Name: v.header}})})}, Data: encode(t, tx)})})
}

func block(t testing.TB, number uint64, txs ...*invocation) *common.Block {
	b := &common.Block{Header: &common.BlockHeader{Number: number}, Data: &common.BlockData{}, Metadata: &common.BlockMetadata{Metadata: make([][]byte, 5)}}
	for i, v := range txs {
		b.Data.Data = append(b.Data.Data, v.envelope(t, fmt.Sprintf("tx%d.%d", number, i)))
		b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = append(b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER], byte(v.flag))
	}
	return b
}

// batch makes a submission of several accepted commands. mutate, if any, changes the reply.
func batch(t testing.TB, chaincode string, cmds []contractstest.Applied, mutate ...func(*proposal.Reply)) *invocation {
	call := proposal.Call{Function: proposal.Submit, Epoch: 7}
	var reply proposal.Reply
	var writes []contracts.Write
	for _, c := range cmds {
		call.Commands = append(call.Commands, c.Submission)
		reply.Answers = append(reply.Answers, proposal.Accept(c.Result, c.Time, false))
		writes = append(writes, c.Result.Writes...)
	}
	for _, f := range mutate {
		f(&reply)
	}
	return invoke(t, chaincode, call.Args(), reply.Encode(), writes)
}

func clearing(t testing.TB, c contractstest.Applied) bool {
	cmd, err := contracts.Decode(c.Submission)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range contracts.Kinds() {
		if k.Name == cmd.Kind {
			return k.Clearing
		}
	}
	t.Fatalf("kind %s", cmd.Kind)
	return false
}
