package blockaudit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/peer"
)

var emptyHash = func() string { h := sha256.Sum256(nil); return string(h[:]) }()

// transaction is one envelope of a block and what the rules of validation make of it.
type transaction struct {
	id        string // as a peer's index has it; "" where none can be read
	kind      common.HeaderType
	timestamp time.Time // the sender's
	creator   *identity
	endorsers []*identity // whose signatures are right
	sets      []readWriteSet
	config    *common.ConfigEnvelope // of a CONFIG transaction

	// flags are what a peer may record before it looks at what was read. Several only where peers leave it to chance
	// which of several faults they name; VALID stands alone.
	flags  []peer.TxValidationCode
	why    string // the fault, for people
	policy bool   // the fault is that endorsements don't suffice

	// unknown says why a rule that this program doesn't know decides; flags are then worth nothing.
	unknown *say
}

func (t *transaction) ok() bool {
	return t.unknown == nil && slices.Equal(t.flags, []peer.TxValidationCode{peer.TxValidationCode_VALID})
}

func (t *transaction) invalid(flag peer.TxValidationCode, why string, args ...any) {
	t.flags, t.why = []peer.TxValidationCode{flag}, fmt.Sprintf(why, args...)
}

// rules are what transactions of one block are judged by: the channel's config and the definitions before the block.
type rules struct {
	channel *channel
	state   *state
	before  map[string]bool // ids of transactions in earlier blocks, valid or not
}

// judge takes the steps of a peer's validation that need no other transaction, in a peer's order.
func (r rules) judge(envelope []byte) *transaction {
	t := &transaction{flags: []peer.TxValidationCode{peer.TxValidationCode_VALID}, kind: -1}
	var e common.Envelope
	if err := proto.Unmarshal(envelope, &e); err != nil {
		t.invalid(peer.TxValidationCode_INVALID_OTHER_REASON, "the envelope is malformed")
		return t
	}
	var payload common.Payload
	if err := proto.Unmarshal(e.Payload, &payload); err != nil {
		t.invalid(peer.TxValidationCode_BAD_PAYLOAD, "the payload is malformed")
		return t
	}
	header, signer, err := t.headers(payload.Header)
	if err != nil {
		t.invalid(peer.TxValidationCode_BAD_COMMON_HEADER, "%v", err)
		return t
	}
	if header.ChannelId != r.channel.id {
		// A peer asks the MSPs of the channel that is named. One that is on both channels finds the signature good, and takes
		// what was endorsed there for valid here; no honest orderer puts it in this channel's block.
		t.invalid(peer.TxValidationCode_BAD_CREATOR_SIGNATURE, "the transaction is of the channel %s", clip(header.ChannelId))
		return t
	}
	if err := t.signedBy(r.channel, signer.Creator, &e); err != nil {
		t.invalid(peer.TxValidationCode_BAD_CREATOR_SIGNATURE, "%v", err)
		return t
	}
	switch t.kind {
	case common.HeaderType_ENDORSER_TRANSACTION:
		if want := txID(signer); header.TxId != want {
			t.invalid(peer.TxValidationCode_BAD_PROPOSAL_TXID, "the transaction id is not that of its nonce and creator")
			return t
		}
		r.endorsed(t, header, &payload)
	case common.HeaderType_CONFIG:
		if payload.Data == nil {
			t.invalid(peer.TxValidationCode_INVALID_CONFIG_TRANSACTION, "the config is empty")
			return t
		}
		t.config = &common.ConfigEnvelope{}
		if err := proto.Unmarshal(payload.Data, t.config); err != nil {
			t.config = nil
			t.invalid(peer.TxValidationCode_INVALID_CONFIG_TRANSACTION, "the config is malformed")
		}
	default:
		t.invalid(peer.TxValidationCode_UNSUPPORTED_TX_PAYLOAD, "a transaction of type %d", t.kind)
	}
	return t
}

func (t *transaction) headers(h *common.Header) (*common.ChannelHeader, *common.SignatureHeader, error) {
	if h == nil {
		return nil, nil, errors.New("there is no header")
	}
	var header common.ChannelHeader
	if err := proto.Unmarshal(h.ChannelHeader, &header); err != nil {
		return nil, nil, errors.New("the channel header is malformed")
	}
	t.id, t.kind = header.TxId, common.HeaderType(header.Type)
	if header.Timestamp != nil {
		t.timestamp = time.Unix(header.Timestamp.Seconds, int64(header.Timestamp.Nanos)).UTC()
	}
	var signer common.SignatureHeader
	if err := proto.Unmarshal(h.SignatureHeader, &signer); err != nil {
		return nil, nil, errors.New("the signature header is malformed")
	}
	if t.id == "" {
		t.id = txID(&signer)
	}
	switch t.kind {
	case common.HeaderType_ENDORSER_TRANSACTION, common.HeaderType_CONFIG, common.HeaderType_CONFIG_UPDATE:
	default:
		return nil, nil, fmt.Errorf("a header of type %d", t.kind)
	}
	switch {
	case header.Epoch != 0:
		return nil, nil, errors.New("the header names an epoch")
	case len(signer.Nonce) == 0:
		return nil, nil, errors.New("there is no nonce")
	case len(signer.Creator) == 0:
		return nil, nil, errors.New("there is no creator")
	}
	return &header, &signer, nil
}

// txID is what a transaction's id must be.
func txID(h *common.SignatureHeader) string {
	d := sha256.New()
	d.Write(h.Nonce)
	d.Write(h.Creator)
	return hex.EncodeToString(d.Sum(nil))
}

func (t *transaction) signedBy(c *channel, creator []byte, e *common.Envelope) error {
	if e.Signature == nil || e.Payload == nil {
		return errors.New("the creator didn't sign")
	}
	id, err := c.identity(creator)
	if err != nil {
		return fmt.Errorf("the creator: %w", err)
	}
	if id.member != nil {
		return fmt.Errorf("the creator %s: %w", id.name(), id.member)
	}
	if err := id.verify(e.Payload, e.Signature); err != nil {
		return fmt.Errorf("the creator %s: %w", id.name(), err)
	}
	t.creator = id
	return nil
}

// endorsed checks what endorsers signed, and that it is theirs to sign.
func (r rules) endorsed(t *transaction, header *common.ChannelHeader, payload *common.Payload) {
	action, err := parseAction(payload)
	if err != nil {
		t.invalid(peer.TxValidationCode_INVALID_ENDORSER_TRANSACTION, "%v", err)
		return
	}
	if r.before[t.id] {
		t.invalid(peer.TxValidationCode_DUPLICATE_TXID, "an earlier block has this transaction")
		return
	}
	name, flag, err := t.named(header, action)
	if err != nil {
		t.invalid(flag, "%v", err)
		return
	}
	var set []signed
	for _, e := range action.endorsements {
		set = append(set, signed{data: slices.Concat(action.response, e.GetEndorser()), identity: e.GetEndorser(), signature: e.GetSignature()})
	}
	t.endorsers = r.channel.signers(set)

	written := map[string]bool{name: true}
	for _, x := range t.sets {
		if x.writes() {
			written[x.namespace] = true
		}
	}
	t.flags = nil
	for ns := range written {
		flag, err := r.mayWrite(t, ns)
		if t.unknown != nil {
			return
		}
		if err != nil && !slices.Contains(t.flags, flag) {
			t.flags, t.why, t.policy = append(t.flags, flag), err.Error(), flag == peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE
		}
	}
	if len(t.flags) == 0 {
		t.flags = []peer.TxValidationCode{peer.TxValidationCode_VALID}
	}
}

// action is what an endorser transaction holds.
type action struct {
	response     []byte // that endorsers signed, each with its own identity behind it
	result       *peer.ChaincodeAction
	endorsements []*peer.Endorsement
	err          error // why the result can't be read
}

func parseAction(payload *common.Payload) (*action, error) {
	if payload.Data == nil {
		return nil, errors.New("the transaction is empty")
	}
	var tx peer.Transaction
	if err := proto.Unmarshal(payload.Data, &tx); err != nil {
		return nil, errors.New("the transaction is malformed")
	}
	if len(tx.Actions) != 1 || tx.Actions[0] == nil {
		return nil, fmt.Errorf("%d actions: want one", len(tx.Actions))
	}
	var signer common.SignatureHeader
	if err := proto.Unmarshal(tx.Actions[0].Header, &signer); err != nil || len(signer.Nonce) == 0 || len(signer.Creator) == 0 {
		return nil, errors.New("the action's header is malformed")
	}
	var ap peer.ChaincodeActionPayload
	if err := proto.Unmarshal(tx.Actions[0].Payload, &ap); err != nil {
		return nil, errors.New("the action is malformed")
	}
	a := &action{response: ap.GetAction().GetProposalResponsePayload(), endorsements: ap.GetAction().GetEndorsements()}
	var response peer.ProposalResponsePayload
	if err := proto.Unmarshal(a.response, &response); err != nil {
		return nil, errors.New("the proposal's response is malformed")
	}
	if payload.Header.ChannelHeader == nil || tx.Actions[0].Header == nil || ap.ChaincodeProposalPayload == nil {
		return nil, errors.New("the proposal is incomplete")
	}
	d := sha256.New()
	d.Write(payload.Header.ChannelHeader)
	d.Write(tx.Actions[0].Header)
	d.Write(ap.ChaincodeProposalPayload)
	if string(d.Sum(nil)) != string(response.ProposalHash) {
		return nil, errors.New("the endorsers answered another proposal")
	}
	a.result = &peer.ChaincodeAction{}
	switch {
	case a.response == nil:
		a.err = errors.New("the action has no response")
	case response.Extension == nil:
		a.err = errors.New("the response has no result")
	default:
		if err := proto.Unmarshal(response.Extension, a.result); err != nil {
			a.err = errors.New("the result is malformed")
		}
	}
	return a, nil
}

// named gives the chaincode that was invoked, and reads what it read and wrote.
func (t *transaction) named(header *common.ChannelHeader, a *action) (string, peer.TxValidationCode, error) {
	var ext peer.ChaincodeHeaderExtension
	if err := proto.Unmarshal(header.Extension, &ext); err != nil {
		return "", peer.TxValidationCode_BAD_HEADER_EXTENSION, errors.New("the header's extension is malformed")
	}
	if a.err != nil {
		return "", peer.TxValidationCode_BAD_RESPONSE_PAYLOAD, a.err
	}
	var err error
	if t.sets, err = parseReadWriteSets(a.result.Results); err != nil {
		return "", peer.TxValidationCode_BAD_RWSET, err
	}
	if ext.ChaincodeId == nil || a.result.ChaincodeId == nil {
		return "", peer.TxValidationCode_INVALID_OTHER_REASON, errors.New("no chaincode is named")
	}
	name := ext.ChaincodeId.Name
	if name == "" || name != a.result.ChaincodeId.Name || a.result.ChaincodeId.Version == "" {
		return "", peer.TxValidationCode_INVALID_CHAINCODE, errors.New("the header and the endorsed result name different chaincodes, or none")
	}
	if a.result.Events != nil {
		var event peer.ChaincodeEvent
		if err := proto.Unmarshal(a.result.Events, &event); err != nil || event.ChaincodeId != name {
			return "", peer.TxValidationCode_INVALID_OTHER_REASON, errors.New("the event is malformed, or of another chaincode")
		}
	}
	seen := map[string]bool{}
	for _, x := range t.sets {
		if seen[x.namespace] {
			return "", peer.TxValidationCode_ILLEGAL_WRITESET, fmt.Errorf("the namespace %s stands twice in the read-write set", clip(x.namespace))
		}
		seen[x.namespace] = true
	}
	return name, 0, nil
}

// mayWrite holds a transaction's endorsers against the policies of what it wrote to a namespace.
func (r rules) mayWrite(t *transaction, namespace string) (peer.TxValidationCode, error) {
	main, flag, err := r.policyOf(t, namespace)
	if err != nil || t.unknown != nil {
		return flag, err
	}
	checked := false
	check := func(p policy) error {
		checked = true
		if !p.satisfied(t.endorsers) {
			return fmt.Errorf("%s are not enough for %s: %s", names(t.endorsers), clip(namespace), p)
		}
		return nil
	}
	for _, x := range t.sets {
		if x.namespace != namespace {
			continue
		}
		if x.metadata() {
			t.unknown = &say{"a transaction sets policies of single keys", "有交易为单个键设置策略"}
			return 0, nil
		}
		if len(x.keys.Writes) > 0 {
			if err := check(main); err != nil {
				return peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE, err
			}
		}
		for _, c := range x.collections {
			if len(c.hashed.HashedWrites) == 0 {
				continue
			}
			p, err := r.collection(t, namespace, c.name)
			if t.unknown != nil {
				return 0, nil
			}
			if err == nil {
				err = check(p)
			}
			if err != nil {
				return peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE, err
			}
		}
	}
	if !checked {
		if err := check(main); err != nil {
			return peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE, err
		}
	}
	return 0, nil
}

// policyOf gives the policy of a namespace, as it was before the block.
func (r rules) policyOf(t *transaction, namespace string) (policy, peer.TxValidationCode, error) {
	if namespace == lifecycleNamespace {
		p := r.channel.policies.get(lifecyclePolicy)
		if _, none := p.(noPolicy); none {
			t.unknown = &say{"the channel names no policy for chaincode definitions", "通道未规定链码定义的策略"}
		}
		return p, 0, nil
	}
	switch d, err := r.state.definition(namespace); {
	case err != nil:
		return nil, peer.TxValidationCode_INVALID_CHAINCODE, err
	case d == nil || len(d.parameter) == 0:
		return nil, peer.TxValidationCode_INVALID_CHAINCODE, fmt.Errorf("the channel has no chaincode %s", clip(namespace))
	case d.plugin != "vscc":
		t.unknown = &say{"a chaincode has validation code of its own", "某链码使用自有的校验代码"}
		return nil, 0, nil
	default:
		p, err := r.channel.applicationPolicy(d.parameter)
		if err != nil {
			err = fmt.Errorf("the policy of %s: %w", clip(namespace), err)
		}
		return p, peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE, err
	}
}

const lifecyclePolicy = "/Channel/Application/LifecycleEndorsement"

// collection gives the policy of a collection of private data. Only each organisation's own are known: lifecycle uses
// them, the market uses none.
func (r rules) collection(t *transaction, namespace, name string) (policy, error) {
	organisation, own := strings.CutPrefix(name, implicit)
	if !own {
		t.unknown = &say{"a transaction writes private data", "有交易写入私有数据"}
		return nil, nil
	}
	group, ok := r.channel.members[organisation]
	if !ok {
		return nil, fmt.Errorf("the organisation of the collection %s is not on the channel", clip(name))
	}
	p := r.channel.policies.get("/Channel/Application/" + group + "/Endorsement")
	if _, none := p.(noPolicy); none {
		t.unknown = &say{"an organisation names no policy for endorsement", "某机构未规定背书策略"}
	}
	return p, nil
}

// readsPrivate reports whether the transaction read private data of collections that aren't an organisation's own: when
// such data ends is not in the blocks.
func (t *transaction) readsPrivate() bool {
	for _, x := range t.sets {
		for _, c := range x.collections {
			if len(c.hashed.HashedReads) > 0 && !strings.HasPrefix(c.name, implicit) {
				return true
			}
		}
	}
	return false
}

// implicit begins the name of the collection that every organisation has by itself.
const implicit = "_implicit_org_"

func names(ids []*identity) string {
	if len(ids) == 0 {
		return "no endorsements"
	}
	s := "endorsements of "
	for i, id := range ids {
		if i > 0 {
			s += " and "
		}
		s += clip(id.name())
	}
	return s
}
