// Package canon gives everything that is hashed or signed its one sequence of bytes.
//
// The form is RFC 8785 (JCS) restricted to objects, arrays, strings and booleans. There is no null and no JSON number:
// JCS writes numbers as IEEE doubles, which round above 2^53, so every integer is a decimal string. Bytes are
// lower-case hex strings. Object members stand in the order of their names' UTF-16 code units.
//
// Unmarshal accepts exactly the bytes that Append writes for the same Go type: it scans for the struct's keys in their
// one order, and then encodes what it read and compares. So unknown, duplicate, missing or case-folded keys, null,
// numbers, white space, other escapes and trailing bytes are all refused, and two different inputs never decode to
// the same value.
//
// Structs say their form by tags. Every exported field has one:
//
//	Name  string `json:"name"`            // always there
//	Until int64  `json:"until,omitempty"` // there exactly when it is not the zero value
//
// Fields may be strings, booleans, integers, []byte and [N]byte, slices, maps with string keys, structs, pointers to
// structs (with omitempty only: nil is absent) and Raw. Embedded structs without a tag lend their fields to the outer
// one. Nil and empty slices and maps are one value; decoding gives nil. Any other type is the program's mistake and
// panics the first time it is met.
//
// A decoded value whose type has a method Check() error is checked after it was read, fields before the struct that
// holds them. A field that omitempty left out isn't checked.
package canon

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"
)

// Limits of a canonical value. Unmarshal refuses more; Append panics, since it never writes what Unmarshal refuses.
const (
	MaxBytes    = 1 << 20
	MaxDepth    = 16     // containers within containers
	MaxElements = 10_000 // of one array or map
)

// Error says why bytes are not the canonical form of a value, and where. It never holds a value that it read.
type Error struct {
	Field string // dotted path, array elements and map entries by their index from 0; "" is the whole value
	What  string // one English phrase
	cause error  // what a type's Check said
}

// Unwrap gives the error of the Check that refused the value, or nil.
func (e *Error) Unwrap() error { return e.cause }

func (e *Error) Error() string {
	if e.Field == "" {
		return "canon: " + e.What
	}
	return "canon: " + e.Field + ": " + e.What
}

// under puts a name before the path, as the error leaves the value of that name.
func (e *Error) under(name string) *Error {
	if e.Field == "" {
		e.Field = name
	} else {
		e.Field = name + "." + e.Field
	}
	return e
}

func fault(what string) *Error { return &Error{What: what} }

// Marshal gives the canonical bytes of v. It panics where Append does.
func Marshal(v any) []byte { return Append(nil, v) }

// Append appends the canonical bytes of v, a value or a pointer to one. It panics when v's type has no canonical form,
// and when v's value has none: a string that is not UTF-8, a required Raw that is empty or not canonical, a nil
// pointer, or a limit exceeded. Whoever lets outsiders fill v checks these before. Append doesn't call Check.
func Append(dst []byte, v any) []byte {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() {
		panic("canon: nil has no canonical form")
	}
	if rv.Kind() == reflect.Pointer {
		if rv.IsNil() {
			panic("canon: a nil pointer has no canonical form")
		}
		rv = rv.Elem()
	}
	start := len(dst)
	dst = (&encoder{}).value(dst, planOf(rv.Type()), rv, 1)
	if len(dst)-start > MaxBytes {
		panic(fmt.Sprintf("canon: %s takes more than %d bytes", rv.Type(), MaxBytes))
	}
	return dst
}

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// Unmarshal decodes b into the value that v points to. Its error is an *Error; then *v is the zero value. *v shares no
// memory with b.
func Unmarshal(b []byte, v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		panic("canon: want a pointer to decode into")
	}
	rv = rv.Elem()
	p := planOf(rv.Type())
	rv.SetZero()
	if err := unmarshal(b, p, rv); err != nil {
		rv.SetZero()
		return err
	}
	return nil
}

func unmarshal(b []byte, p *plan, rv reflect.Value) *Error {
	if len(b) > MaxBytes {
		return fault(fmt.Sprintf("more than %d bytes", MaxBytes))
	}
	d := decoder{scanner{b: b}}
	if err := d.value(p, rv, 1); err != nil {
		return err
	}
	if d.i != len(b) {
		return fault("bytes after the value")
	}
	// The scanner alone should already have refused every other form. This holds even where it has a gap.
	buf := scratch.Get().(*[]byte)
	again := (&encoder{trusted: true}).value((*buf)[:0], p, rv, 1)
	same := bytes.Equal(again, b)
	*buf = again[:0]
	scratch.Put(buf)
	if !same {
		return fault("not in canonical form")
	}
	return nil
}
