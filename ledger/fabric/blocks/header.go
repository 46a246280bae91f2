package blocks

import (
	"crypto/sha256"
	"encoding/asn1"
	"math/big"

	"github.com/hyperledger/fabric-protos-go/common"
)

// HeaderBytes is the encoding of a header that blocks are chained by and that orderers sign.
func HeaderBytes(h *common.BlockHeader) []byte {
	b, err := asn1.Marshal(struct {
		Number         *big.Int
		Previous, Data []byte
	}{new(big.Int).SetUint64(h.GetNumber()), h.GetPreviousHash(), h.GetDataHash()})
	if err != nil {
		panic(err) // an integer and two strings always have an encoding
	}
	return b
}

// HeaderHash is a block's hash. Through the data hash it covers the transactions, and no metadata: neither the orderers'
// signatures nor the validation flags.
func HeaderHash(h *common.BlockHeader) [32]byte { return sha256.Sum256(HeaderBytes(h)) }

// DataHash is what a block's header says of its transactions.
func DataHash(d *common.BlockData) [32]byte {
	h := sha256.New()
	for _, x := range d.GetData() {
		h.Write(x)
	}
	return [32]byte(h.Sum(nil))
}
