package blockaudittest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/golang/protobuf/proto"
	"github.com/golang/protobuf/ptypes/timestamp"
	"github.com/hyperledger/fabric-protos-go/common"
	"github.com/hyperledger/fabric-protos-go/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go/peer"
)

// Call is an endorser transaction in the making.
type Call struct {
	Creator   *Signer
	Endorsers []*Signer
	Chaincode string
	Sets      []*rwset.NsReadWriteSet
	Nonce     uint64
	Seconds   int64 // of the sender's clock

	// Edits, where not nil, change what has been made so far.
	Header   func(*common.ChannelHeader)
	Response func(*peer.ProposalResponsePayload)
	Result   func(*peer.ChaincodeAction)
	Action   func(*peer.ChaincodeActionPayload)
	Tx       func(*peer.Transaction)
	Payload  func(*common.Payload)
	Envelope func(*common.Envelope)
}

// Encode makes the envelope.
func (c *Call) Encode() []byte {
	nonce := binary.BigEndian.AppendUint64(nil, c.Nonce)
	signer := encode(&common.SignatureHeader{Creator: c.Creator.Identity, Nonce: nonce})
	id := sha256.Sum256(append(nonce, c.Creator.Identity...))
	header := &common.ChannelHeader{Type: int32(common.HeaderType_ENDORSER_TRANSACTION), ChannelId: Channel, TxId: hex.EncodeToString(id[:]),
		Timestamp: &timestamp.Timestamp{Seconds: c.Seconds}, Extension: encode(&peer.ChaincodeHeaderExtension{ChaincodeId: &peer.ChaincodeID{Name: c.Chaincode}})}
	if c.Header != nil {
		c.Header(header)
	}
	channelHeader := encode(header)
	proposed := encode(&peer.ChaincodeProposalPayload{Input: encode(&peer.ChaincodeInvocationSpec{ChaincodeSpec: &peer.ChaincodeSpec{
		ChaincodeId: &peer.ChaincodeID{Name: c.Chaincode}, Input: &peer.ChaincodeInput{Args: [][]byte{[]byte("gets")}}}})})
	result := &peer.ChaincodeAction{ChaincodeId: &peer.ChaincodeID{Name: c.Chaincode, Version: "1"}, Response: &peer.Response{Status: 200},
		Results: encode(&rwset.TxReadWriteSet{NsRwset: c.Sets})}
	if c.Result != nil {
		c.Result(result)
	}
	hash := sha256.Sum256(bytes.Join([][]byte{channelHeader, signer, proposed}, nil))
	response := &peer.ProposalResponsePayload{ProposalHash: hash[:], Extension: encode(result)}
	if c.Response != nil {
		c.Response(response)
	}
	endorsed := &peer.ChaincodeEndorsedAction{ProposalResponsePayload: encode(response)}
	for _, e := range c.Endorsers {
		endorsed.Endorsements = append(endorsed.Endorsements, &peer.Endorsement{Endorser: e.Identity,
			Signature: e.Sign(append(bytes.Clone(endorsed.ProposalResponsePayload), e.Identity...))})
	}
	action := &peer.ChaincodeActionPayload{ChaincodeProposalPayload: proposed, Action: endorsed}
	if c.Action != nil {
		c.Action(action)
	}
	tx := &peer.Transaction{Actions: []*peer.TransactionAction{{Header: signer, Payload: encode(action)}}}
	if c.Tx != nil {
		c.Tx(tx)
	}
	payload := &common.Payload{Header: &common.Header{ChannelHeader: channelHeader, SignatureHeader: signer}, Data: encode(tx)}
	if c.Payload != nil {
		c.Payload(payload)
	}
	return SignEnvelope(payload, c.Creator, c.Envelope)
}

// SignEnvelope makes an envelope of a payload.
func SignEnvelope(payload *common.Payload, by *Signer, edit func(*common.Envelope)) []byte {
	e := &common.Envelope{Payload: encode(payload)}
	e.Signature = by.Sign(e.Payload)
	if edit != nil {
		edit(e)
	}
	return encode(e)
}

// Reopen decodes a recorded envelope, lets edit change the endorsed action and the creator sign what came of it.
func Reopen(envelope []byte, creator *Signer, edit func(*peer.ChaincodeActionPayload)) []byte {
	var e common.Envelope
	var payload common.Payload
	var tx peer.Transaction
	var action peer.ChaincodeActionPayload
	must(proto.Unmarshal(envelope, &e))
	must(proto.Unmarshal(e.Payload, &payload))
	must(proto.Unmarshal(payload.Data, &tx))
	must(proto.Unmarshal(tx.Actions[0].Payload, &action))
	edit(&action)
	tx.Actions[0].Payload = encode(&action)
	payload.Data = encode(&tx)
	return SignEnvelope(&payload, creator, nil)
}
