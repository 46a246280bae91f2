package canon

import (
	"fmt"
	"strconv"
)

// Raw is one canonical value whose Go type isn't known yet, kept as it was written: the body of a command whose kind
// stands beside it. As a field it is checked for form when decoded and when encoded. An empty Raw is no value.
type Raw []byte

// Valid reports why b is not one canonical value. Its error is an *Error.
func Valid(b []byte) error {
	s, err := whole(b)
	if err == nil {
		err = s.finish(s.skip(1))
	}
	if err != nil {
		return err
	}
	return nil
}

// Member is one name of an object with its value.
type Member struct {
	Name  string
	Value Raw // part of the input, not a copy
}

// Split gives the members of a canonical object in their order, all of it checked for form, without knowing the types
// of the values. Its error is an *Error.
func Split(b []byte) ([]Member, error) {
	s, err := whole(b)
	if err != nil {
		return nil, err
	}
	var ms []Member
	err = s.finish(s.members(1, func(name string) *Error {
		start := s.i
		if err := s.skip(2); err != nil {
			return err
		}
		ms = append(ms, Member{name, Raw(b[start:s.i:s.i])})
		return nil
	}))
	if err != nil {
		return nil, err
	}
	return ms, nil
}

func whole(b []byte) (*scanner, *Error) {
	if len(b) > MaxBytes {
		return nil, fault(fmt.Sprintf("more than %d bytes", MaxBytes))
	}
	return &scanner{b: b}, nil
}

func (s *scanner) finish(err *Error) *Error {
	if err == nil && s.i != len(s.b) {
		err = fault("bytes after the value")
	}
	return err
}

func indexName(n int) string { return strconv.Itoa(n) }
