package envelope

import (
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// MessageOverhead is how many bytes SealMessage adds.
const MessageOverhead = encBytes + tagBytes

// SealMessage seals one short message: encapsulated key ‖ ciphertext. info names the protocol and the role in it, aad
// all that the message belongs to; Open wants the same of both.
func SealMessage(to contracts.PublicKey, info, aad, message []byte) ([]byte, error) {
	enc, s, err := sealTo(to, info, nil)
	if err != nil {
		return nil, err
	}
	ct, err := s.Seal(message, aad)
	if err != nil {
		return nil, fmt.Errorf("couldn't seal message: %w", err)
	}
	return append(enc, ct...), nil
}

// OpenMessage opens what SealMessage sealed to this key with the same info and aad.
func (k *Key) OpenMessage(info, aad, sealed []byte) ([]byte, error) {
	if len(sealed) < MessageOverhead {
		return nil, refuse(BadForm, "a sealed message has %d bytes at least", MessageOverhead)
	}
	o, err := k.openFrom(sealed[:encBytes], info)
	if err != nil {
		return nil, err
	}
	m, err := o.Open(sealed[encBytes:], aad)
	if err != nil {
		return nil, refuse(BadChunk, "the message was not sealed to this key for this use, or was altered")
	}
	return m, nil
}
