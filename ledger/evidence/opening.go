package evidence

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

const (
	openingVersion = 1
	maxTagBytes    = 255
	openingHead    = 1 + 32 + 1 + 32
	maxOpening     = openingHead + maxTagBytes + contracts.MaxOpeningBytes
)

// encodeOpening: version (1) ‖ commitment (32) ‖ length of tag (1) ‖ tag ‖ salt (32) ‖ value. Whom an opening may be
// shown to isn't in it: that follows from the entries, and nothing here would bind it.
func encodeOpening(k contracts.KeptOpening) ([]byte, error) {
	if len(k.Tag) > maxTagBytes || len(k.Opening.Value) > contracts.MaxOpeningBytes {
		return nil, errors.New("couldn't encode the opening: tag or value is too long")
	}
	if k.Opening.Commitment(k.Tag) != k.Commitment {
		return nil, fmt.Errorf("couldn't encode the opening: it doesn't fit its commitment %s", k.Commitment)
	}
	c := k.Commitment.Bytes()
	b := append(make([]byte, 0, openingHead+len(k.Tag)+len(k.Opening.Value)), openingVersion)
	b = append(b, c[:]...)
	b = append(b, byte(len(k.Tag)))
	b = append(b, k.Tag...)
	b = append(b, k.Opening.Salt[:]...)
	return append(b, k.Opening.Value...), nil
}

// DecodeOpening accepts only what a Writer writes: the commitment must fit tag, salt and value. The opening's audience
// is not known. Its value is part of b.
func DecodeOpening(b []byte) (contracts.KeptOpening, error) {
	if len(b) < openingHead || len(b) > maxOpening || b[0] != openingVersion {
		return contracts.KeptOpening{}, errors.New("version or size: malformed")
	}
	k := contracts.KeptOpening{Commitment: contracts.Hash(hex.EncodeToString(b[1:33]))}
	n := int(b[33])
	if len(b) < openingHead+n {
		return contracts.KeptOpening{}, errors.New("tag: malformed")
	}
	k.Tag = string(b[34 : 34+n])
	b = b[34+n:]
	copy(k.Opening.Salt[:], b)
	k.Opening.Value = b[32:]
	if k.Opening.Commitment(k.Tag) != k.Commitment {
		return contracts.KeptOpening{}, errors.New("commitment: does not fit tag, salt and value")
	}
	return k, nil
}
