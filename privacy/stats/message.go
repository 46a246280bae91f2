package stats

import (
	"bytes"
	"encoding/binary"
)

// Messages are binary and of one form: magic ‖ type ‖ task digest ‖ batch ‖ number of entries ‖ entries of a size that
// the task gives. Integers are big-endian.
const (
	magic       = "bund/stats/v1"
	headerBytes = len(magic) + 1 + 32 + 8 + 4
)

type messageType byte

const (
	uploadMessage messageType = iota + 1
	jobMessage
	answerMessage
	closeMessage
	closedMessage
	shareMessage
)

func appendHeader(b []byte, m messageType, task [32]byte, batch int64, entries int) []byte {
	b = append(append(b, magic...), byte(m))
	b = append(b, task[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(batch))
	return binary.BigEndian.AppendUint32(b, uint32(entries))
}

// readHeader reads what stands before the entries and gives the rest.
func readHeader(b []byte, m messageType, task [32]byte) (batch int64, entries int, rest []byte, err error) {
	if len(b) < headerBytes || string(b[:len(magic)]) != magic || messageType(b[len(magic)]) != m {
		return 0, 0, nil, refuse(BadForm, "not this protocol's message, or not one of this type")
	}
	rest = b[len(magic)+1:]
	if !bytes.Equal(rest[:32], task[:]) {
		return 0, 0, nil, refuse(BadTask, "the message belongs to another task, or to one that this side reads differently")
	}
	u, n := binary.BigEndian.Uint64(rest[32:]), binary.BigEndian.Uint32(rest[40:])
	if u > 1<<53 || n > MaxBatch {
		return 0, 0, nil, refuse(BadForm, "a number is larger than any that occurs")
	}
	return int64(u), int(n), rest[44:], nil
}
