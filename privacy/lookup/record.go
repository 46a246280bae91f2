package lookup

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

const (
	tagBytes    = 16
	sealBytes   = 16 // of the AEAD
	lengthBytes = 4  // before a row, within its padding
)

// Tag names a record to whoever evaluated its id.
type Tag [tagBytes]byte

func (t Tag) prefix(bits int64) uint32 {
	if bits == 0 {
		return 0
	}
	return binary.BigEndian.Uint32(t[:]) >> (32 - bits)
}

// derived is what an evaluated id gives.
type derived struct {
	tag Tag
	prk []byte
}

func derive(y []byte) derived {
	prk, err := hkdf.Extract(sha256.New, y, nil)
	if err != nil {
		panic(err) // only a FIPS mode without SHA-256 refuses
	}
	return derived{Tag(expand(prk, "tag", tagBytes)), prk}
}

func expand(prk []byte, info string, n int) []byte {
	b, err := hkdf.Expand(sha256.New, prk, info, n)
	if err != nil {
		panic(err)
	}
	return b
}

// aead is the record's own cipher: its key seals one row of one table, which is why the nonce may be fixed.
func (d *derived) aead(base *[32]byte) cipher.AEAD {
	block, err := aes.NewCipher(expand(d.prk, "aead"+string(base[:]), 32))
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCM(block); err == nil {
			return a
		}
	}
	panic(err)
}

var fixedNonce [12]byte

// bound is what a record is authenticated with beside its content.
func bound(base *[32]byte, tag Tag) []byte {
	return append(append(make([]byte, 0, 48), base[:]...), tag[:]...)
}

// seal appends a record: the tag, and the row, padded and sealed.
func (d *derived) seal(dst []byte, base *[32]byte, recordBytes int, row []byte) []byte {
	plain := make([]byte, recordBytes)
	binary.BigEndian.PutUint32(plain, uint32(len(row)))
	copy(plain[lengthBytes:], row)
	return d.aead(base).Seal(append(dst, d.tag[:]...), fixedNonce[:], plain, bound(base, d.tag))
}

// open gives the row of a record that was found by this tag.
func (d *derived) open(base *[32]byte, record []byte) ([]byte, error) {
	bad := refuse(BadRecord, "a record of the committed table is not sealed with its own id's key")
	plain, err := d.aead(base).Open(nil, fixedNonce[:], record[tagBytes:], bound(base, d.tag))
	if err != nil {
		return nil, bad
	}
	n := binary.BigEndian.Uint32(plain)
	plain = plain[lengthBytes:]
	if uint64(n) > uint64(len(plain)) {
		return nil, bad
	}
	for _, x := range plain[n:] {
		if x != 0 {
			return nil, bad
		}
	}
	return plain[:n:n], nil
}
