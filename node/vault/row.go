package vault

import (
	"encoding/binary"
	"errors"

	"github.com/bund-exchange/bund/contracts"
)

// appendRow appends a row's canonical bytes: each value as (length ‖ text), length 0 for empty.
func appendRow(b []byte, values []string) []byte {
	for _, v := range values {
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	return b
}

var errRow = errors.New("stored row is malformed")

// splitRow reads a row's canonical bytes into values, which share b's memory.
func splitRow(values [][]byte, b []byte) error {
	for i := range values {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return errRow
		}
		values[i] = b[size : size+int(n)]
		b = b[size+int(n):]
	}
	if len(b) != 0 {
		return errRow
	}
	return nil
}

// sortKey orders rows: key, a zero byte (no text holds one), asOf, knownAt.
func sortKey(b []byte, key string, asOf, knownAt contracts.Millis) []byte {
	b = append(append(b, key...), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(asOf))
	return binary.BigEndian.AppendUint64(b, uint64(knownAt))
}

const sortKeyTail = 1 + 8 + 8

// keyOf takes the key out of a sort key.
func keyOf(sortKey []byte) []byte { return sortKey[:len(sortKey)-sortKeyTail] }
