package contracts

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// ID names an object or a command: 16 bytes as 32 lower-case hex digits.
type ID string

// Check reports a malformed id. The zero value "" is not an id.
func (id ID) Check() error { return checkHex(string(id), 32) }

// Bytes gives the 16 bytes of a valid id.
func (id ID) Bytes() (b [16]byte) {
	hex.Decode(b[:], []byte(id))
	return b
}

// Hash is a SHA-256 digest as 64 lower-case hex digits.
type Hash string

// Check reports a malformed digest.
func (h Hash) Check() error { return checkHex(string(h), 64) }

// Bytes gives the 32 bytes of a valid digest.
func (h Hash) Bytes() (b [32]byte) {
	hex.Decode(b[:], []byte(h))
	return b
}

// HashOf is SHA-256 over tag, a zero byte, and the parts one after another. Every digest in Bund has a tag of its own,
// so that bytes made for one purpose are never valid for another.
func HashOf(tag string, parts ...[]byte) Hash {
	h := sha256.New()
	h.Write([]byte(tag))
	h.Write([]byte{0})
	for _, p := range parts {
		h.Write(p)
	}
	return Hash(hex.EncodeToString(h.Sum(nil)))
}

func checkHex(s string, n int) error {
	if len(s) != n {
		return fmt.Errorf("want %d lower-case hex digits, got %d characters", n, len(s))
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return errors.New("want lower-case hex digits")
		}
	}
	return nil
}

// Millis is a time in milliseconds since the Unix epoch. Zero means "not set"; valid times lie in 2000–2199.
type Millis int64

const (
	minMillis Millis = 946684800000  // 2000-01-01T00:00:00Z
	maxMillis Millis = 7258118400000 // 2200-01-01T00:00:00Z
)

// Check reports a time outside 2000–2199; zero passes, since an optional time may be unset.
func (m Millis) Check() error {
	if m != 0 && (m < minMillis || m >= maxMillis) {
		return errors.New("want a time in 2000–2199, in milliseconds since 1970")
	}
	return nil
}

// Add gives the time sec seconds later.
func (m Millis) Add(sec int64) Millis { return m + Millis(sec*1000) }

// Time converts for display.
func (m Millis) Time() time.Time { return time.UnixMilli(int64(m)).UTC() }

// Shanghai is the market's civil time: UTC+8, no daylight saving since 1991. Days and months of periods, publicity
// and working days are counted in it.
var Shanghai = time.FixedZone("Asia/Shanghai", 8*3600)

// Fen is an amount of money in hundredths of a yuan. Prices include tax.
type Fen int64

// MicroYuan is a unit price, or an amount that accrues from one, in millionths of a yuan (¥0.0028 is 2800). 1 fen is
// 10,000 of them.
type MicroYuan int64

const microPerFen = 10_000

// maxFen bounds every amount at one hundred billion yuan, so that no sum of amounts can overflow an int64.
const maxFen Fen = 10_000_000_000_000

// Check reports an amount below zero or above one hundred billion yuan.
func (f Fen) Check() error {
	if f < 0 || f > maxFen {
		return errors.New("want an amount from 0 to 10000000000000 fen")
	}
	return nil
}

// Check reports a price or accrued amount below zero or above one hundred billion yuan. What a price may be is the
// rulebook's to say.
func (p MicroYuan) Check() error {
	if p < 0 || p > MicroYuan(maxFen)*microPerFen {
		return errors.New("want 0 to 100000000000000000 millionths of a yuan")
	}
	return nil
}
