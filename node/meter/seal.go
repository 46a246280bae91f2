package meter

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// sealer encrypts answers at rest under a key of its own for each log and epoch, derived from the node's key: deleted
// bytes stay in free blocks, and only ciphertext may be there. Destroying the node's key erases them all.
type sealer struct{ aead cipher.AEAD }

const minSealKey = 32

func newSealer(nodeKey []byte, use string, agreement [16]byte, epoch int64) (*sealer, error) {
	info := be(append([]byte("bund/receipts/seal/v1\x00"+use+"\x00"), agreement[:]...), epoch)
	key, err := hkdf.Key(sha256.New, nodeKey, nil, string(info), 32)
	if err != nil {
		return nil, fmt.Errorf("couldn't derive seal key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't derive seal key: %w", err)
	}
	// A random nonce for each answer: one key is good for 2^32 of them.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("couldn't derive seal key: %w", err)
	}
	return &sealer{aead}, nil
}

// seal binds the bytes to what they belong to.
func (s *sealer) seal(plain, to []byte) []byte { return s.sealInto(nil, plain, to) }

func (s *sealer) sealInto(buf, plain, to []byte) []byte { return s.aead.Seal(buf[:0], nil, plain, to) }

func (s *sealer) open(sealed, to []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, nil, sealed, to)
	if err != nil {
		return nil, fmt.Errorf("couldn't open sealed answer: %w", err)
	}
	return plain, nil
}
