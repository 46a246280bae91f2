package embedded

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/bund-exchange/bund/ledger"
)

// A record is magic (4) ‖ length (4) ‖ crc (4) ‖ batch (8) ‖ payload, big-endian. The payload is an encoded
// ledger.Entry. crc is CRC-32C over length, batch and payload. The top bit of batch marks the last record of it.
//
// The batch number tells a torn tail from rot: batch b+1 is written only after batch b was synced, so a bad record of
// batch b with a good record of a later batch behind it is damage to acknowledged data, never a torn tail.
const (
	recordLen         = 20
	lastOfBatch       = 1 << 63
	recordMagic       = 0xB04D1E55 // not UTF-8, so no command's bytes hold it
	maxRecordedLength = ledger.MaxEntryBytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type record struct {
	payload []byte // aliases what was read
	batch   uint64
	last    bool
	size    int64 // with the header
}

func appendRecord(b, payload []byte, batch uint64, last bool) []byte {
	if last {
		batch |= lastOfBatch
	}
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, recordMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, batch)
	b = append(b, payload...)
	r := b[at:]
	binary.BigEndian.PutUint32(r[8:], recordCRC(r))
	return b
}

func recordCRC(r []byte) uint32 {
	return crc32.Update(crc32.Checksum(r[4:8], castagnoli), castagnoli, r[12:])
}

// parseRecord reads the record that b begins with.
func parseRecord(b []byte) (record, bool) {
	if len(b) < recordLen || binary.BigEndian.Uint32(b) != recordMagic {
		return record{}, false
	}
	n := int(binary.BigEndian.Uint32(b[4:]))
	if n > maxRecordedLength || len(b)-recordLen < n {
		return record{}, false
	}
	b = b[: recordLen+n : recordLen+n]
	if recordCRC(b) != binary.BigEndian.Uint32(b[8:]) {
		return record{}, false
	}
	batch := binary.BigEndian.Uint64(b[12:])
	return record{b[recordLen:], batch &^ lastOfBatch, batch&lastOfBatch != 0, int64(recordLen + n)}, true
}

// recordAfter reports whether b holds, anywhere, a good record of a batch not before from. An entry that holds such
// bytes inside it would look the same, so the payload must be an entry at position next or later.
func recordAfter(b []byte, from, next uint64) bool {
	magic := binary.BigEndian.AppendUint32(nil, recordMagic)
	for {
		i := bytes.Index(b, magic)
		if i < 0 {
			return false
		}
		b = b[i:]
		if r, ok := parseRecord(b); ok && r.batch >= from {
			if e, err := ledger.DecodeEntry(r.payload); err == nil && e.Position >= next {
				return true
			}
		}
		b = b[len(magic):]
	}
}
