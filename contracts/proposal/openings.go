package proposal

import (
	"encoding/binary"
	"errors"

	"github.com/bund-exchange/bund/contracts"
)

// errOpenings never says what it read: an error of chaincode may be in a log.
var errOpenings = errors.New("proposal: the openings are malformed")

// Openings encodes the openings of a batch for the transient map, nil when there are none: for each command the count
// (1), then each salt (32) and value with its length (4).
func Openings(commands []contracts.Submission) []byte {
	var b []byte
	some := false
	for _, c := range commands {
		b = append(b, byte(len(c.Openings)))
		for _, o := range c.Openings {
			some = true
			b = append(b, o.Salt[:]...)
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(o.Value))), o.Value...)
		}
	}
	if !some {
		return nil
	}
	return b
}

// SetOpenings gives each command its openings. It accepts exactly what Openings writes.
func SetOpenings(commands []contracts.Submission, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	some := false
	for i := range commands {
		if len(b) < 1 || b[0] > contracts.MaxOpenings {
			return errOpenings
		}
		n := int(b[0])
		b = b[1:]
		for range n {
			if len(b) < 36 {
				return errOpenings
			}
			size := binary.BigEndian.Uint32(b[32:])
			if size > contracts.MaxOpeningBytes || len(b) < 36+int(size) {
				return errOpenings
			}
			o := contracts.Opening{Salt: [32]byte(b)}
			if size > 0 {
				o.Value = b[36 : 36+size : 36+size]
			}
			commands[i].Openings = append(commands[i].Openings, o)
			b = b[36+size:]
			some = true
		}
	}
	if len(b) > 0 || !some {
		return errOpenings
	}
	return nil
}
