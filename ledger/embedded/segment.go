package embedded

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/bund-exchange/bund/ledger"
)

// A segment begins with magic (8) ‖ SHA-256 of the ledger id (32) ‖ first position (8) ‖ hash of the entry before (32) ‖
// number of the last batch before (8) ‖ first position of the segment before (8) ‖ its size in bytes (8) ‖ CRC-32C (4).
// So the headers alone show a missing, shortened or foreign segment without reading what the others hold.
const (
	headerLen   = 108
	headerMagic = "BUNDLOG1"
	segmentExt  = ".seg"
	maxIndexed  = 64      // offset tables of full segments kept in memory
	readAtOnce  = 4 << 20 // bytes
)

type header struct {
	ledger        [32]byte
	first         uint64
	prev          [32]byte
	batch         uint64
	previousFirst uint64
	previousSize  int64
}

func ledgerDigest(id string) [32]byte { return sha256.Sum256([]byte("bund/log/v1\x00" + id)) }

func (h header) encode() []byte {
	b := append(make([]byte, 0, headerLen), headerMagic...)
	b = append(b, h.ledger[:]...)
	b = binary.BigEndian.AppendUint64(b, h.first)
	b = append(b, h.prev[:]...)
	b = binary.BigEndian.AppendUint64(b, h.batch)
	b = binary.BigEndian.AppendUint64(b, h.previousFirst)
	b = binary.BigEndian.AppendUint64(b, uint64(h.previousSize))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func parseHeader(b []byte) (header, bool) {
	if len(b) < headerLen || string(b[:8]) != headerMagic {
		return header{}, false
	}
	b = b[:headerLen]
	if crc32.Checksum(b[:headerLen-4], castagnoli) != binary.BigEndian.Uint32(b[headerLen-4:]) {
		return header{}, false
	}
	return header{
		ledger:        [32]byte(b[8:40]),
		first:         binary.BigEndian.Uint64(b[40:]),
		prev:          [32]byte(b[48:80]),
		batch:         binary.BigEndian.Uint64(b[80:]),
		previousFirst: binary.BigEndian.Uint64(b[88:]),
		previousSize:  int64(binary.BigEndian.Uint64(b[96:])),
	}, true
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentExt) }

func isSegment(name string) bool { return strings.HasSuffix(name, segmentExt) }

// segment is one file of the log. offsets, one for each entry, is nil until somebody reads a full segment; the last
// segment's is always there.
type segment struct {
	header
	name    string
	size    int64 // durable bytes
	offsets []int64
	used    uint64 // when offsets were last needed, in reads of the log
}

// Damage says where stored bytes are not what was written.
type Damage struct {
	File   string // name in the log's folder
	Offset int64  // in bytes
	What   string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%v: %s at offset %d: %s", ledger.ErrDamaged, d.File, d.Offset, d.What)
}

func (d *Damage) Unwrap() error { return ledger.ErrDamaged }

func damaged(file string, offset int64, what string, args ...any) error {
	return &Damage{file, offset, fmt.Sprintf(what, args...)}
}
