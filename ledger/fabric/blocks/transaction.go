package blocks

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go/peer"
)

// transaction is what Derive needs of an envelope.
type transaction struct {
	id        string
	timestamp time.Time
	kind      common.HeaderType

	chaincode string // invoked
	args      [][]byte
	unread    error // why the arguments can't be read
	status    int32
	payload   []byte             // of the chaincode's response
	writes    map[string]written // by namespace, where there are any
}

// written is what a transaction wrote to a namespace.
type written struct {
	values map[string][]byte // by key; nil for a deletion
	beside bool              // it also wrote private data or metadata of keys
	odd    error             // why values is not all that it wrote, which matters in our namespaces only
}

func (t *transaction) function() string {
	if len(t.args) == 0 {
		return ""
	}
	return string(t.args[0])
}

// parseTransaction reads an envelope. The transaction is never nil: with an error it holds what could be read.
func parseTransaction(b []byte) (*transaction, error) {
	t := &transaction{}
	var envelope common.Envelope
	if err := proto.Unmarshal(b, &envelope); err != nil {
		return t, fmt.Errorf("the envelope is malformed: %w", err)
	}
	var payload common.Payload
	if err := proto.Unmarshal(envelope.Payload, &payload); err != nil {
		return t, fmt.Errorf("the payload is malformed: %w", err)
	}
	var header common.ChannelHeader
	if err := proto.Unmarshal(payload.GetHeader().GetChannelHeader(), &header); err != nil {
		return t, fmt.Errorf("the channel header is malformed: %w", err)
	}
	t.id, t.kind = header.TxId, common.HeaderType(header.Type)
	if header.Timestamp != nil {
		t.timestamp = time.Unix(header.Timestamp.Seconds, int64(header.Timestamp.Nanos)).UTC()
	}
	if t.kind != common.HeaderType_ENDORSER_TRANSACTION {
		return t, nil
	}
	return t, t.parseAction(payload.Data, header.Extension)
}

func (t *transaction) parseAction(data, extension []byte) error {
	var invoked peer.ChaincodeHeaderExtension
	if err := proto.Unmarshal(extension, &invoked); err != nil {
		return fmt.Errorf("the header extension is malformed: %w", err)
	}
	var tx peer.Transaction
	if err := proto.Unmarshal(data, &tx); err != nil {
		return fmt.Errorf("the transaction is malformed: %w", err)
	}
	if len(tx.Actions) != 1 || tx.Actions[0] == nil {
		return fmt.Errorf("%d actions: want one", len(tx.Actions))
	}
	var action peer.ChaincodeActionPayload
	if err := proto.Unmarshal(tx.Actions[0].Payload, &action); err != nil {
		return fmt.Errorf("the action is malformed: %w", err)
	}
	var proposed peer.ChaincodeProposalPayload
	if err := proto.Unmarshal(action.ChaincodeProposalPayload, &proposed); err != nil {
		return fmt.Errorf("the proposal is malformed: %w", err)
	}
	// Peers look only at the hash of this. So it may be anything, in a transaction of somebody whose chaincode isn't ours.
	var invocation peer.ChaincodeInvocationSpec
	if err := proto.Unmarshal(proposed.Input, &invocation); err != nil {
		t.unread = fmt.Errorf("the invocation is malformed: %w", err)
	}
	var response peer.ProposalResponsePayload
	if err := proto.Unmarshal(action.GetAction().GetProposalResponsePayload(), &response); err != nil {
		return fmt.Errorf("the proposal's response is malformed: %w", err)
	}
	var result peer.ChaincodeAction
	if err := proto.Unmarshal(response.Extension, &result); err != nil {
		return fmt.Errorf("the chaincode's action is malformed: %w", err)
	}
	// The name within the invocation is the sender's word only; that of the header is the one that endorsers ran.
	t.chaincode = invoked.GetChaincodeId().GetName()
	if t.chaincode == "" || result.GetChaincodeId().GetName() != t.chaincode {
		return errors.New("the header and the endorsed action name different chaincodes")
	}
	t.args = invocation.GetChaincodeSpec().GetInput().GetArgs()
	t.status, t.payload = result.GetResponse().GetStatus(), result.GetResponse().GetPayload()
	var err error
	t.writes, err = parseWrites(result.Results)
	return err
}

// parseWrites reads the writes of a read-write set.
func parseWrites(b []byte) (map[string]written, error) {
	var set rwset.TxReadWriteSet
	if err := proto.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("the read-write set is malformed: %w", err)
	}
	out := map[string]written{}
	for _, ns := range set.NsRwset {
		var kv kvrwset.KVRWSet
		if err := proto.Unmarshal(ns.GetRwset(), &kv); err != nil {
			return nil, fmt.Errorf("the read-write set of %s is malformed: %w", ns.GetNamespace(), err)
		}
		beside, err := writesBeside(ns)
		if err != nil {
			return nil, err
		}
		w := written{values: map[string][]byte{}, beside: beside || len(kv.MetadataWrites) > 0}
		if len(kv.Writes) == 0 && !w.beside {
			continue
		}
		if _, twice := out[ns.Namespace]; twice {
			w.odd = fmt.Errorf("the namespace %s stands twice in the read-write set", ns.Namespace)
		}
		for _, x := range kv.Writes {
			if _, twice := w.values[x.GetKey()]; twice {
				w.odd = fmt.Errorf("the key %s of %s is written twice", x.GetKey(), ns.Namespace)
			}
			w.values[x.GetKey()] = nil
			if !x.GetIsDelete() {
				w.values[x.GetKey()] = append([]byte{}, x.GetValue()...)
			}
		}
		out[ns.Namespace] = w
	}
	return out, nil
}

// writesBeside reports whether private data is written. Reads of it alone ask nobody's endorsement, so anybody may have them
// in a transaction beside a namespace that isn't theirs.
func writesBeside(ns *rwset.NsReadWriteSet) (bool, error) {
	for _, c := range ns.GetCollectionHashedRwset() {
		var h kvrwset.HashedRWSet
		if err := proto.Unmarshal(c.GetHashedRwset(), &h); err != nil {
			return false, fmt.Errorf("the private read-write set of %s is malformed: %w", ns.GetNamespace(), err)
		}
		if len(h.HashedWrites)+len(h.MetadataWrites) > 0 {
			return true, nil
		}
	}
	return false, nil
}
