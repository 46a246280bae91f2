package blockaudit

import (
	"errors"
	"fmt"
	"slices"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"

	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

const blockPolicy = "/Channel/Orderer/BlockValidation"

// ordered is what orderers signed beside a block's header.
type ordered struct {
	lastConfig uint64
	by         []*identity
}

// errSmartBFT means that orderers signed in a form that isn't checked.
var errSmartBFT = errors.New("SmartBFT")

// orderers checks who signed a block. No hash covers these signatures: so each must be right, and nothing may stand
// beside them.
func (c *channel) orderers(b *common.Block) (*ordered, error) {
	if c.consensus == "BFT" {
		return nil, errSmartBFT
	}
	var m common.Metadata
	if err := strictly(metadata(b, common.BlockMetadataIndex_SIGNATURES), &m); err != nil {
		return nil, fmt.Errorf("the signatures: %w", err)
	}
	var value common.OrdererBlockMetadata
	if err := proto.Unmarshal(m.Value, &value); err != nil || value.LastConfig == nil {
		return nil, errors.New("what the orderers signed is malformed")
	}
	o := &ordered{lastConfig: value.LastConfig.Index}
	header := blocks.HeaderBytes(b.Header)
	for _, s := range m.Signatures {
		var h common.SignatureHeader
		if err := proto.Unmarshal(s.GetSignatureHeader(), &h); err != nil {
			return nil, errors.New("a signature's header is malformed")
		}
		id, err := c.identity(h.Creator)
		if err != nil {
			return nil, fmt.Errorf("a signer: %w", err)
		}
		if err := id.verify(slices.Concat(m.Value, s.SignatureHeader, header), s.Signature); err != nil {
			return nil, fmt.Errorf("%s: %w", id.name(), err)
		}
		if !plainSignature(s.Signature) {
			return nil, fmt.Errorf("%s: the signature has more than one encoding", id.name())
		}
		if slices.ContainsFunc(o.by, func(x *identity) bool { return x.key == id.key }) {
			return nil, fmt.Errorf("%s signed twice", id.name())
		}
		o.by = append(o.by, id)
	}
	if p := c.policies.get(blockPolicy); !p.satisfied(o.by) {
		return nil, fmt.Errorf("the signers are not those that the channel asks for: %s", p)
	}
	return o, nil
}

// beside checks the metadata that orderers write and don't sign.
func (o *ordered) beside(b *common.Block) error {
	var m common.Metadata
	if err := strictly(metadata(b, common.BlockMetadataIndex_LAST_CONFIG), &m); err != nil {
		return fmt.Errorf("the unsigned index of the config: %w", err)
	}
	var last common.LastConfig
	if err := strictly(m.Value, &last); err != nil {
		return fmt.Errorf("the unsigned index of the config: %w", err)
	}
	switch {
	case len(m.Signatures) > 0:
		return errors.New("the unsigned index of the config is signed")
	case last.Index != o.lastConfig:
		return fmt.Errorf("the unsigned index of the config is %d, the signed one %d", last.Index, o.lastConfig)
	case len(metadata(b, common.BlockMetadataIndex_ORDERER)) > 0:
		return errors.New("there is consenter metadata that nobody signed")
	}
	return nil
}

// unsigned checks the metadata of the genesis block, in which nobody signs anything.
func unsigned(b *common.Block) error {
	var m common.Metadata
	if err := strictly(metadata(b, common.BlockMetadataIndex_SIGNATURES), &m); err != nil {
		return fmt.Errorf("the signatures: %w", err)
	}
	var value common.OrdererBlockMetadata
	if err := strictly(m.Value, &value); err != nil || value.LastConfig.GetIndex() != 0 || len(value.ConsenterMetadata)+len(m.Signatures) > 0 {
		return errors.New("the genesis block says more than that it is the config")
	}
	if len(metadata(b, common.BlockMetadataIndex_COMMIT_HASH)) > 0 {
		return errors.New("the genesis block has a commit hash")
	}
	return (&ordered{}).beside(b)
}

func metadata(b *common.Block, i common.BlockMetadataIndex) []byte {
	if m := b.GetMetadata().GetMetadata(); int(i) < len(m) {
		return m[i]
	}
	return nil
}

// strictly decodes what has one encoding and holds nothing unknown.
func strictly(b []byte, into proto.Message) error {
	if err := proto.Unmarshal(b, into); err != nil {
		return errors.New("malformed")
	}
	known := proto.Clone(into)
	proto.DiscardUnknown(known)
	again, err := proto.Marshal(known)
	if err != nil || string(again) != string(b) {
		return errors.New("not in its one encoding")
	}
	return nil
}
