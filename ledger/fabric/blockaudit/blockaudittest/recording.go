// Package blockaudittest is the channel of a real network, recorded, with some of the keys of those who made it: so a test
// can do what only they could have done.
package blockaudittest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"

	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// archive holds blocks/ and keys/ of a development network of five organisations (deploy/fabric) that was wiped after it.
// On the channel: the market opened and listed a product; transactions with too few endorsers, one twice, one that
// conflicts; a trade; a config update of the orderers' administrator (BatchTimeout); market's definition at sequence 2
// with another policy; a trade. TestRecord of ledger/fabric makes it anew.
//
//go:embed recording.tar.gz
var archive []byte

// Facts about the recording, from the network's own client.
const (
	Channel   = "bund"
	Genesis   = "f48dca47e1698c36cd09db85a9febef6b35e225d8976dfe59819dd200dd34b3a" // hash of block 0
	Entries   = 56
	LastEntry = "7ca36dac4abf18af0e99dab87f8e2885b52a14601afdf0c101c690ac2adcb493" // hash
)

// Names of the definitions.
var Names = blocks.Names{Market: "market", Clearing: "clearing"}

// Recording is a channel's blocks, to be changed by a test.
type Recording struct {
	Blocks  []*common.Block
	signers map[string]*Signer
}

// Load gives a copy of the recording.
func Load() (*Recording, error) {
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	r := &Recording{signers: map[string]*Signer{}}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return nil, err
		}
		switch dir, name := filepath.Split(h.Name); {
		case dir == "blocks/" && name != "":
			block, err := blocks.Parse(b)
			if err != nil {
				return nil, err
			}
			if name != blocks.FileName(uint64(len(r.Blocks))) {
				return nil, fmt.Errorf("%s is out of order", name)
			}
			r.Blocks = append(r.Blocks, block)
		case dir == "keys/" && name != "":
			name = strings.TrimSuffix(name, ".pem")
			if r.signers[name], err = newSigner(name, b); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
}

// Signer gives somebody of the network: VenueMSP.client, VenueMSP.peer, CustodianMSP.peer, ProviderMSP.peer,
// BuyerMSP.peer, VenueMSP.admin, OrdererMSP.orderer, OrdererMSP.admin.
func (r *Recording) Signer(name string) *Signer {
	s := r.signers[name]
	if s == nil {
		panic("no key of " + name)
	}
	return s
}

// Write makes an export of the blocks.
func (r *Recording) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for i, b := range r.Blocks {
		raw, err := proto.Marshal(b)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, blocks.FileName(uint64(i))), raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Seal does what dishonest orderers could do: it chains the blocks from one on anew over what they hold now, and signs
// them.
func (r *Recording) Seal(from int) {
	for i := from; i < len(r.Blocks); i++ {
		b := r.Blocks[i]
		data, prev := blocks.DataHash(b.Data), blocks.HeaderHash(r.Blocks[i-1].Header)
		b.Header = &common.BlockHeader{Number: uint64(i), PreviousHash: prev[:], DataHash: data[:]}
		var m common.Metadata
		must(proto.Unmarshal(b.Metadata.Metadata[common.BlockMetadataIndex_SIGNATURES], &m))
		r.Sign(b, m.Value, r.Signer("OrdererMSP.orderer"))
	}
}

// Sign puts signatures over value and the header in a block's metadata.
func (r *Recording) Sign(b *common.Block, value []byte, by ...*Signer) {
	m := &common.Metadata{Value: value}
	for _, s := range by {
		h := encode(&common.SignatureHeader{Creator: s.Identity, Nonce: []byte("a nonce of the test's")})
		m.Signatures = append(m.Signatures, &common.MetadataSignature{SignatureHeader: h,
			Signature: s.Sign(bytes.Join([][]byte{value, h, blocks.HeaderBytes(b.Header)}, nil))})
	}
	b.Metadata.Metadata[common.BlockMetadataIndex_SIGNATURES] = encode(m)
}

// Append adds a block of envelopes, properly signed, its flags as given and without commit hash.
func (r *Recording) Append(flags []byte, envelopes ...[]byte) {
	last := r.Blocks[len(r.Blocks)-1]
	b := proto.Clone(last).(*common.Block)
	b.Data = &common.BlockData{Data: envelopes}
	b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = flags
	b.Metadata.Metadata[common.BlockMetadataIndex_COMMIT_HASH] = nil
	r.Blocks = append(r.Blocks, b)
	r.Seal(len(r.Blocks) - 1)
}

// Flags gives a block's validation flags, to be changed.
func (r *Recording) Flags(block int) []byte {
	return r.Blocks[block].Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
}

// Find gives the first transaction with a flag, from a block on.
func (r *Recording) Find(flag byte, from int) (block, tx int) {
	for i := from; i < len(r.Blocks); i++ {
		if j := bytes.IndexByte(r.Flags(i), flag); j >= 0 {
			return i, j
		}
	}
	panic(fmt.Sprintf("no transaction with flag %d", flag))
}

// Update is the number of the block with the config update.
func (r *Recording) Update() int {
	for i := 1; i < len(r.Blocks); i++ {
		var e common.Envelope
		var payload common.Payload
		var header common.ChannelHeader
		must(proto.Unmarshal(r.Blocks[i].Data.Data[0], &e))
		must(proto.Unmarshal(e.Payload, &payload))
		must(proto.Unmarshal(payload.Header.ChannelHeader, &header))
		if header.Type == int32(common.HeaderType_CONFIG) {
			return i
		}
	}
	panic("no config update")
}

func encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	must(err)
	return b
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
