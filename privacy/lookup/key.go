package lookup

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"

	"github.com/bund-exchange/bund/contracts"
)

// EpochKey is a provider's key of one epoch. Who has it opens every row of the epoch's table: it is stored sealed, and
// destroyed when the epoch has ended.
type EpochKey struct {
	Epoch   int64
	Created contracts.Millis

	k      group.Scalar
	public group.Element
}

const keyMagic = "bund lookup key\x01"

// keyBytes is the length of a key's encoding: magic, epoch, created, scalar.
const keyBytes = len(keyMagic) + 8 + 8 + ScalarBytes

// NewEpochKey makes the key of an epoch.
func NewEpochKey(epoch int64, created contracts.Millis) (*EpochKey, error) {
	sk, err := oprf.GenerateKey(oprf.SuiteRistretto255, rand.Reader)
	if err != nil {
		return nil, err
	}
	b, err := sk.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return newEpochKey(epoch, created, b)
}

func newEpochKey(epoch int64, created contracts.Millis, scalar []byte) (*EpochKey, error) {
	k, ok := decodeScalar(scalar)
	if !ok || epoch < 1 || created < 0 {
		return nil, refuse(Malformed, "not an epoch's key")
	}
	return &EpochKey{Epoch: epoch, Created: created, k: k, public: r255.NewElement().MulGen(k)}, nil
}

// Bytes gives the key in the clear, for its owner to seal.
func (k *EpochKey) Bytes() []byte {
	b := append(make([]byte, 0, keyBytes), keyMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(k.Epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(k.Created))
	return appendScalar(b, k.k)
}

// ParseEpochKey reads what Bytes gave.
func ParseEpochKey(b []byte) (*EpochKey, error) {
	if len(b) != keyBytes || string(b[:len(keyMagic)]) != keyMagic {
		return nil, refuse(Malformed, "not an epoch's key")
	}
	b = b[len(keyMagic):]
	return newEpochKey(int64(binary.BigEndian.Uint64(b)), contracts.Millis(binary.BigEndian.Uint64(b[8:])), b[16:])
}

// Public gives the encoded public key.
func (k *EpochKey) Public() []byte { return appendElement(nil, k.public) }
