package proposal

import (
	"encoding/binary"
	"errors"
)

// Values encodes the answer of Gets: for each key, in order, the length of its value (4) and the value as Stored; empty for a
// key that isn't there, since no rule writes an empty value.
func Values(values [][]byte) []byte {
	n := 0
	for _, v := range values {
		n += 4 + len(v)
	}
	b := make([]byte, 0, n)
	for _, v := range values {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	return b
}

// ParseValues accepts exactly what Values writes for so many keys; a key that isn't there gives nil.
func ParseValues(b []byte, keys int) ([][]byte, error) {
	var out [][]byte
	for range keys {
		if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
			return nil, errValues
		}
		n := 4 + int(binary.BigEndian.Uint32(b))
		var v []byte
		if n > 4 {
			v = b[4:n:n]
		}
		out, b = append(out, v), b[n:]
	}
	if len(b) > 0 {
		return nil, errValues
	}
	return out, nil
}

var errValues = errors.New("proposal: the values are malformed")
