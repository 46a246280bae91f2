package canon

import "unicode/utf8"

// scanner reads canonical JSON without knowing the types behind it.
type scanner struct {
	b []byte
	i int
}

// peek gives the next byte, or 0 at the end: no canonical byte is 0.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) byte(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) literal(x string) bool {
	if len(s.b)-s.i < len(x) || string(s.b[s.i:s.i+len(x)]) != x {
		return false
	}
	s.i += len(x)
	return true
}

// wrong says what stands where a value of another kind was wanted.
func (s *scanner) wrong(want string) *Error {
	if s.i >= len(s.b) {
		return fault("the input ends too early")
	}
	switch c := s.b[s.i]; {
	case c == 'n':
		return fault("null is not allowed")
	case c == '-' || c >= '0' && c <= '9':
		return fault("a JSON number is not allowed, integers are decimal strings")
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		return fault("white space is not allowed")
	}
	return fault("want " + want)
}

// text reads a string. The result is a part of the input where nothing was escaped, and else a copy.
func (s *scanner) text() ([]byte, *Error) {
	if !s.byte('"') {
		return nil, s.wrong("a string")
	}
	start, ascii := s.i, true
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			t := s.b[start:s.i]
			s.i++
			if !ascii && !utf8.Valid(t) {
				return nil, fault("a string is not UTF-8")
			}
			return t, nil
		case c == '\\':
			return s.escaped(start)
		case c < 0x20:
			return nil, fault("a raw control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
		s.i++
	}
	return nil, fault("the input ends within a string")
}

// escaped goes on from the first backslash of a string that began at start.
func (s *scanner) escaped(start int) ([]byte, *Error) {
	t := append(make([]byte, 0, s.i-start+32), s.b[start:s.i]...)
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			if !utf8.Valid(t) {
				return nil, fault("a string is not UTF-8")
			}
			return t, nil
		case c < 0x20:
			return nil, fault("a raw control character in a string")
		case c == '\\':
			r, ok := s.escape()
			if !ok {
				return nil, fault("an escape that RFC 8785 would not write")
			}
			t = append(t, r)
		default:
			t = append(t, c)
		}
	}
	return nil, fault("the input ends within a string")
}

// escape reads what follows a backslash. Only the escapes that an encoder must write are read.
func (s *scanner) escape() (byte, bool) {
	if s.i >= len(s.b) {
		return 0, false
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case '"', '\\':
		return c, true
	case 'b':
		return '\b', true
	case 't':
		return '\t', true
	case 'n':
		return '\n', true
	case 'f':
		return '\f', true
	case 'r':
		return '\r', true
	case 'u':
		if !s.literal("00") || len(s.b)-s.i < 2 {
			return 0, false
		}
		hi, lo := hexValue(s.b[s.i]), hexValue(s.b[s.i+1])
		r := hi<<4 | lo
		s.i += 2
		return r, hi < 2 && lo < 16 && shortEscape(r) == 0
	}
	return 0, false
}

// hexValue gives 255 for what is not a lower-case hex digit.
func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// skip reads one canonical value of any kind; depth is that of a container that begins here.
func (s *scanner) skip(depth int) *Error {
	switch c := s.peek(); c {
	case '"':
		_, err := s.text()
		return err
	case 't', 'f':
		if s.literal("true") || s.literal("false") {
			return nil
		}
		return s.wrong("a value")
	case '{':
		return s.members(depth, func(string) *Error { return s.skip(depth + 1) })
	case '[':
		return s.elements(depth, func(int) *Error { return s.skip(depth + 1) })
	}
	return s.wrong("a value")
}

// members reads an object with sorted, distinct names, and calls each to read the value after a name.
func (s *scanner) members(depth int, each func(name string) *Error) *Error {
	if !s.byte('{') {
		return s.wrong("an object")
	}
	if depth > MaxDepth {
		return fault("nested too deep")
	}
	if s.byte('}') {
		return nil
	}
	last := ""
	for n := 0; ; n++ {
		if n >= MaxElements {
			return fault("too many members")
		}
		t, err := s.text()
		if err != nil {
			return err
		}
		name := string(t)
		if n > 0 {
			switch c := compareUTF16(last, name); {
			case c == 0:
				return fault("a name is there twice")
			case c > 0:
				return fault("names are not in sorted order")
			}
		}
		last = name
		if !s.byte(':') {
			return s.wrong("a colon")
		}
		if err := each(name); err != nil {
			return err.under(indexName(n))
		}
		if s.byte('}') {
			return nil
		}
		if !s.byte(',') {
			return s.wrong("a comma or the end of an object")
		}
	}
}

// elements reads an array, and calls each to read the element of an index.
func (s *scanner) elements(depth int, each func(n int) *Error) *Error {
	if !s.byte('[') {
		return s.wrong("an array")
	}
	if depth > MaxDepth {
		return fault("nested too deep")
	}
	if s.byte(']') {
		return nil
	}
	for n := 0; ; n++ {
		if n >= MaxElements {
			return fault("too many elements")
		}
		if err := each(n); err != nil {
			return err.under(indexName(n))
		}
		if s.byte(']') {
			return nil
		}
		if !s.byte(',') {
			return s.wrong("a comma or the end of an array")
		}
	}
}
