// Package packed writes the canonical JSON of commands and records in fewer bytes, for ledgers that copy them often: on
// Hyperledger Fabric every peer parses a transaction some ten times, and keeps it. It knows the names of the rule book, writes
// hexadecimal digits as bytes and long decimal numbers as varints. It is no compression that learns from its input: the same
// bytes are packed the same by every build with the same words, as endorsers must, and alone, as the value under a key is.
package packed

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
)

// Pack gives the packed form of b, which may be any bytes.
func Pack(b []byte) []byte {
	out := make([]byte, 0, len(b)/2+16)
	for i := 0; i < len(b); {
		n := 0
		switch kind := kinds[b[i]]; {
		case kind == head:
			out, n = packName(out, b[i:])
		case kind >= letter && (i == 0 || b[i-1] == '"'):
			out, n = packText(out, b[i:])
		}
		if n == 0 {
			switch kinds[b[i]] {
			case digit, hexLetter:
				out, n = packDigits(out, b[i:])
			case beyond:
				out, n = packPlain(out, b[i:])
			default:
				out, n = append(out, b[i]), 1
			}
		}
		i += n
	}
	return out
}

// What may begin with a byte.
const (
	other     = iota
	head      // a name with what stands before it
	beyond    // bytes beyond ASCII
	digit     // hexadecimal or decimal digits
	letter    // a text
	hexLetter // a text or hexadecimal digits
)

var kinds = func() (k [256]byte) {
	for c := range k {
		switch {
		case c == '{' || c == ',' || c == '"':
			k[c] = head
		case c >= 0x80:
			k[c] = beyond
		case '0' <= c && c <= '9':
			k[c] = digit
		case 'a' <= c && c <= 'f':
			k[c] = hexLetter
		case 'g' <= c && c <= 'z':
			k[c] = letter
		}
	}
	return k
}()

// packName packs the name at the beginning of b and gives the length of all, 0 when there is none.
func packName(out, b []byte) ([]byte, int) {
	before := headOf(b)
	if before < 0 {
		return out, 0
	}
	at := len(heads[before])
	end := bytes.IndexByte(b[at:min(len(b), at+longest+1)], '"') + at
	if end < at || end+1 == len(b) || b[end+1] != ':' {
		return out, 0
	}
	code, ok := nameCodes[string(b[at:end])]
	if !ok {
		return out, 0
	}
	code, n := (code*len(heads)+before)*len(tails), end+2
	if n < len(b) && b[n] == '"' {
		code, n = code+1, n+1
	}
	return append(out, name|byte(code>>8), byte(code)), n
}

// headOf gives the place of the head that b begins with, or -1.
func headOf(b []byte) int {
	switch {
	case len(b) < 3:
	case b[0] == '{' && b[1] == '"':
		return 0
	case b[0] == ',' && b[1] == '"':
		return 1
	case b[0] == '"' && b[1] == ',' && b[2] == '"':
		return 2
	}
	return -1
}

// packText packs the text at the beginning of b and gives its length, 0 when there is none.
func packText(out, b []byte) ([]byte, int) {
	code, n := findText(b)
	if n == 0 {
		return out, 0
	}
	return append(out, text|byte(code>>8), byte(code)), n
}

// findText finds the text that a string is, or begins with.
func findText(b []byte) (code, n int) {
	for n, c := range b[:min(len(b), longest+1)] {
		switch c {
		case '"':
			if code, ok := textCodes[string(b[:n])]; ok {
				return code, n
			}
			return 0, 0
		case '/', ':':
			if code, ok := textCodes[string(b[:n+1])]; ok {
				return code, n + 1
			}
		}
	}
	return 0, 0
}

// Shorter runs of digits are no shorter packed.
const (
	minHex    = 8
	maxHex    = 2 * math.MaxUint8 // digits that one code packs; what follows is packed as if it began there
	minNumber = 10
	maxNumber = 18 // digits that surely fit an int64
)

func packPlain(out, b []byte) ([]byte, int) {
	n := 1
	for n < len(b) && n < math.MaxUint8 && b[n] >= 0x80 {
		n++
	}
	return append(append(out, plain, byte(n)), b[:n]...), n
}

func packDigits(out, b []byte) ([]byte, int) {
	b = b[:min(len(b), maxHex)]
	digits, decimal := 0, 0
	for decimal < len(b) && kinds[b[decimal]] == digit {
		decimal++
	}
	for digits = decimal; digits < len(b) && (kinds[b[digits]] == digit || kinds[b[digits]] == hexLetter); {
		digits++
	}
	if decimal == digits && digits >= minNumber && digits <= maxNumber && b[0] != '0' {
		n, _ := strconv.ParseUint(string(b[:digits]), 10, 64)
		return binary.AppendUvarint(append(out, number), n), digits
	}
	if digits < minHex {
		return append(out, b[:digits]...), digits
	}
	n := min(digits/2, math.MaxUint8)
	switch n {
	case 16:
		out = append(out, hex16)
	case 32:
		out = append(out, hex32)
	default:
		out = append(out, hexN, byte(n))
	}
	out, _ = hex.AppendDecode(out, b[:2*n])
	return out, 2 * n
}

var errMalformed = errors.New("packed: malformed")

// Unpack gives what was packed, of at most limit bytes. It takes any spelling: what a Pack of fewer words wrote stays
// readable.
func Unpack(b []byte, limit int) ([]byte, error) {
	out := make([]byte, 0, min(3*len(b), limit))
	for len(b) > 0 {
		var ok bool
		if out, b, ok = unpackOne(out, b); !ok || len(out) > limit {
			return nil, errMalformed
		}
	}
	return out, nil
}

func unpackOne(out, b []byte) (_, rest []byte, ok bool) {
	c := b[0]
	if c < 0x80 {
		return append(out, c), b[1:], true
	}
	if len(b) < 2 {
		return out, nil, false
	}
	switch {
	case c < text:
		code := int(c-name)<<8 | int(b[1])
		if code/forms >= len(names) {
			return out, nil, false
		}
		form := code % forms
		out = append(append(append(out, heads[form/len(tails)]...), names[code/forms]...), tails[form%len(tails)]...)
		return out, b[2:], true
	case c < hex16:
		code := int(c-text)<<8 | int(b[1])
		if code >= len(texts) {
			return out, nil, false
		}
		return append(out, texts[code]...), b[2:], true
	case c == hex16:
		return unpackHex(out, b[1:], 16)
	case c == hex32:
		return unpackHex(out, b[1:], 32)
	case c == hexN:
		return unpackHex(out, b[2:], int(b[1]))
	case c == number:
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return out, nil, false
		}
		return strconv.AppendUint(out, v, 10), b[1+n:], true
	case c == plain && len(b) >= 2+int(b[1]):
		return append(out, b[2:2+int(b[1])]...), b[2+int(b[1]):], true
	}
	return out, nil, false
}

func unpackHex(out, b []byte, n int) (_, rest []byte, ok bool) {
	if len(b) < n {
		return out, nil, false
	}
	return hex.AppendEncode(out, b[:n]), b[n:], true
}
