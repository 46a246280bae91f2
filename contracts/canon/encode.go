package canon

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"
)

// encoder writes values. A trusted one encodes what a decoder has just accepted and skips the checks of content.
type encoder struct{ trusted bool }

func (e *encoder) value(b []byte, p *plan, v reflect.Value, depth int) []byte {
	switch p.form {
	case formString:
		return e.str(b, v.String())
	case formBool:
		return strconv.AppendBool(b, v.Bool())
	case formInt:
		return append(strconv.AppendInt(append(b, '"'), v.Int(), 10), '"')
	case formUint:
		return append(strconv.AppendUint(append(b, '"'), v.Uint(), 10), '"')
	case formBytes:
		return append(hex.AppendEncode(append(b, '"'), v.Bytes()), '"')
	case formArray:
		b = append(b, '"')
		for i := range v.Len() {
			c := byte(v.Index(i).Uint())
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
		}
		return append(b, '"')
	case formRaw:
		return e.raw(b, v.Bytes(), depth)
	case formPointer:
		if v.IsNil() {
			panic("canon: a nil pointer has no canonical form")
		}
		return e.value(b, p.elem, v.Elem(), depth)
	}
	if depth > MaxDepth {
		panic(fmt.Sprintf("canon: %s is nested deeper than %d", p.typ, MaxDepth))
	}
	if p.form != formStruct && v.Len() > MaxElements {
		panic(fmt.Sprintf("canon: %s has more than %d elements", p.typ, MaxElements))
	}
	switch p.form {
	case formSlice:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.value(b, p.elem, v.Index(i), depth+1)
		}
		return append(b, ']')
	case formStrings:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.str(b, v.Index(i).String())
		}
		return append(b, ']')
	case formMap:
		return e.mapping(b, p, v, depth)
	case formStruct:
		b = append(b, '{')
		start := len(b)
		for i := range p.fields {
			f := &p.fields[i]
			x := f.in(v)
			if f.omit && f.plan.zero(x) {
				continue
			}
			key := f.key
			if len(b) == start {
				key = key[1:]
			}
			b = e.value(append(b, key...), f.plan, x, depth+1)
		}
		return append(b, '}')
	}
	panic(unsupported(p.typ, "value"))
}

func (e *encoder) mapping(b []byte, p *plan, v reflect.Value, depth int) []byte {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return compareUTF16(a.String(), b.String()) })
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(e.str(b, k.String()), ':')
		b = e.value(b, p.elem, v.MapIndex(k), depth+1)
	}
	return append(b, '}')
}

func (e *encoder) raw(b, raw []byte, depth int) []byte {
	if !e.trusted {
		s := scanner{b: raw}
		err := s.skip(depth)
		if err == nil && s.i != len(raw) {
			err = fault("bytes after the value")
		}
		if err != nil {
			panic("canon: a Raw value is not canonical: " + err.Error())
		}
	}
	return append(b, raw...)
}

const hexDigits = "0123456789abcdef"

func (e *encoder) str(b []byte, s string) []byte {
	if !e.trusted && !utf8.ValidString(s) {
		panic("canon: a string is not UTF-8")
	}
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		if short := shortEscape(c); short != 0 {
			b = append(b, '\\', short)
		} else {
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// shortEscape gives the letter of the two-character escape that RFC 8785 demands for c, or 0 when it has none.
func shortEscape(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case '\b':
		return 'b'
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\f':
		return 'f'
	case '\r':
		return 'r'
	}
	return 0
}

// compareUTF16 orders strings by their UTF-16 code units (RFC 8785 §3.2.3). It differs from the order of bytes only
// between characters above U+FFFF, written as surrogates, and those from U+E000 to U+FFFF.
func compareUTF16(a, b string) int {
	for a != "" && b != "" {
		x, n := utf8.DecodeRuneInString(a)
		y, m := utf8.DecodeRuneInString(b)
		if x != y {
			if (x > 0xFFFF) == (y > 0xFFFF) {
				return int(x - y)
			}
			return int(firstUnit(x) - firstUnit(y))
		}
		a, b = a[n:], b[m:]
	}
	return len(a) - len(b)
}

func firstUnit(r rune) rune {
	if r > 0xFFFF {
		return 0xD800 + (r-0x10000)>>10
	}
	return r
}
