// Package strictjson refuses request bodies that different JSON readers read differently: encoding/json alone takes the
// last of two equal names, replaces bad UTF-8, and rounds large integers. What passes Check means the same to all.
//
// It knows no types: unknown and differently capitalised names are the API document's to refuse.
package strictjson

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of one body. Its size is limited where it is read.
const (
	MaxDepth       = 32  // containers within containers
	MaxNumberBytes = 32  // of one number
	MaxNameBytes   = 256 // of one member's name
)

// maxInteger is the largest integer that every JSON reader keeps: 2^53−1.
const maxInteger = 1<<53 - 1

// Error says what is wrong and where. It never quotes a value.
type Error struct {
	Pointer string // RFC 6901; "" is the whole body
	Offset  int    // in bytes
	What    string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s (at %q, byte %d)", e.What, e.Pointer, e.Offset)
}

// Check reports the first thing that makes b ambiguous or not JSON: bytes that are not UTF-8 or begin with a byte order
// mark, anything after the value, a name twice in one object, half a surrogate pair, U+0000, integers beyond ±(2^53−1),
// numbers with an exponent, minus zero, and more depth than MaxDepth.
func Check(b []byte) error {
	s := &scanner{b: b}
	s.value(1)
	if s.err == nil {
		s.space()
		if s.i != len(b) {
			s.fail("bytes after the value")
		}
	}
	if s.err != nil {
		s.err.Pointer = s.pointer()
		return s.err
	}
	return nil
}

type scanner struct {
	b    []byte
	i    int
	path []string // where the value being read stands; kept as it is once err is set
	err  *Error
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = &Error{Offset: s.i, What: what}
	}
}

var escapePointer = strings.NewReplacer("~", "~0", "/", "~1")

func (s *scanner) pointer() string {
	var p strings.Builder
	for _, name := range s.path {
		p.WriteByte('/')
		p.WriteString(escapePointer.Replace(name))
	}
	return p.String()
}

// peek gives the next byte after white space, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) take(c byte, want string) bool {
	if s.peek() != c {
		s.fail("want " + want)
		return false
	}
	s.i++
	return true
}

func (s *scanner) value(depth int) {
	switch c := s.peek(); {
	case c == '{':
		s.object(depth)
	case c == '[':
		s.array(depth)
	case c == '"':
		s.text()
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	case s.literal("true") || s.literal("false") || s.literal("null"):
	case s.i >= len(s.b):
		s.fail("the body ends too early")
	default:
		s.fail("want a value")
	}
}

func (s *scanner) literal(word string) bool {
	if !strings.HasPrefix(string(s.b[s.i:min(len(s.b), s.i+len(word))]), word) {
		return false
	}
	s.i += len(word)
	return true
}

func (s *scanner) object(depth int) {
	s.i++
	if depth > MaxDepth {
		s.fail("nested too deep")
		return
	}
	if s.peek() == '}' {
		s.i++
		return
	}
	seen := map[string]bool{}
	for s.err == nil {
		if s.peek() != '"' {
			s.fail("want a name")
			return
		}
		name := s.text()
		switch {
		case s.err != nil:
			return
		case len(name) > MaxNameBytes:
			s.fail("a name is too long")
			return
		}
		s.path = append(s.path, name)
		if seen[name] {
			s.fail("a name is there twice")
			return
		}
		seen[name] = true
		if !s.take(':', "a colon") {
			return
		}
		s.value(depth + 1)
		if s.err != nil {
			return
		}
		s.path = s.path[:len(s.path)-1]
		if s.peek() == '}' {
			s.i++
			return
		}
		s.take(',', "a comma or the end of the object")
	}
}

func (s *scanner) array(depth int) {
	s.i++
	if depth > MaxDepth {
		s.fail("nested too deep")
		return
	}
	if s.peek() == ']' {
		s.i++
		return
	}
	for n := 0; s.err == nil; n++ {
		s.path = append(s.path, strconv.Itoa(n))
		s.value(depth + 1)
		if s.err != nil {
			return
		}
		s.path = s.path[:len(s.path)-1]
		if s.peek() == ']' {
			s.i++
			return
		}
		s.take(',', "a comma or the end of the array")
	}
}

// text reads a string and gives its value.
func (s *scanner) text() string {
	s.i++
	start := s.i // of what is not in t yet
	var t []byte
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return string(append(t, s.b[start:s.i-1]...))
		case c == '\\':
			t = append(t, s.b[start:s.i]...)
			r, ok := s.escape()
			if !ok {
				return ""
			}
			t = utf8.AppendRune(t, r)
			start = s.i
		case c < 0x20:
			s.fail("a raw control character in a string")
			return ""
		case c < utf8.RuneSelf:
			s.i++
		default:
			r, n := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && n == 1 {
				s.fail("not UTF-8")
				return ""
			}
			s.i += n
		}
	}
	s.fail("the body ends within a string")
	return ""
}

// escape reads from a backslash on.
func (s *scanner) escape() (rune, bool) {
	s.i++
	if s.i >= len(s.b) {
		s.fail("the body ends within a string")
		return 0, false
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case 'u':
		r, ok := s.hex4()
		switch {
		case !ok:
			return 0, false
		case r == 0:
			s.fail("U+0000 in a string")
			return 0, false
		case !utf16.IsSurrogate(r):
			return r, true
		}
		if s.i+1 < len(s.b) && s.b[s.i] == '\\' && s.b[s.i+1] == 'u' {
			s.i += 2
			low, ok := s.hex4()
			if !ok {
				return 0, false
			}
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				return both, true
			}
		}
		s.fail("half a surrogate pair")
		return 0, false
	}
	s.fail("an unknown escape")
	return 0, false
}

func (s *scanner) hex4() (r rune, ok bool) {
	if s.i+4 <= len(s.b) {
		n := 0
		for ; n < 4; n++ {
			switch c := s.b[s.i+n]; {
			case c >= '0' && c <= '9':
				r = r<<4 | rune(c-'0')
			case c >= 'a' && c <= 'f':
				r = r<<4 | rune(c-'a'+10)
			case c >= 'A' && c <= 'F':
				r = r<<4 | rune(c-'A'+10)
			default:
				s.fail("an unknown escape")
				return 0, false
			}
		}
		s.i += 4
		return r, true
	}
	s.fail("the body ends within a string")
	return 0, false
}

func (s *scanner) number() {
	start := s.i
	if s.b[s.i] == '-' {
		s.i++
	}
	whole := s.digits()
	if s.err == nil && len(whole) > 1 && whole[0] == '0' {
		s.fail("a number begins with 0")
	}
	fraction := ""
	if s.err == nil && s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		fraction = s.digits()
	}
	if s.err == nil && s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.fail("a number with an exponent")
	}
	if s.err != nil {
		return
	}
	switch n, err := strconv.ParseUint(whole, 10, 64); {
	case s.i-start > MaxNumberBytes:
		s.fail("a number is too long")
	case err != nil || n > maxInteger:
		s.fail("an integer beyond 2^53−1")
	case s.b[start] == '-' && n == 0 && strings.Trim(fraction, "0") == "":
		s.fail("minus zero")
	}
}

func (s *scanner) digits() string {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	if s.i == start {
		s.fail("want a digit")
	}
	return string(s.b[start:s.i])
}
