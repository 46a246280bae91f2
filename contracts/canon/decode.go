package canon

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
)

type decoder struct{ scanner }

// value reads into v, which is the zero value of p's type and can be set.
func (d *decoder) value(p *plan, v reflect.Value, depth int) *Error {
	if err := d.form(p, v, depth); err != nil {
		return err
	}
	if p.check {
		return checked(v)
	}
	return nil
}

func checked(v reflect.Value) *Error {
	err := v.Addr().Interface().(checker).Check()
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return &Error{Field: e.Field, What: e.What, cause: e.cause}
	}
	return &Error{What: err.Error(), cause: err}
}

func (d *decoder) form(p *plan, v reflect.Value, depth int) *Error {
	switch p.form {
	case formString:
		t, err := d.text()
		if err != nil {
			return err
		}
		v.SetString(string(t))
	case formBool:
		switch {
		case d.literal("true"):
			v.SetBool(true)
		case !d.literal("false"):
			return d.wrong("true or false")
		}
	case formInt:
		t, err := d.integer()
		if err != nil {
			return err
		}
		n, perr := strconv.ParseInt(string(t), 10, p.typ.Bits())
		if perr != nil {
			return fault("an integer out of range")
		}
		v.SetInt(n)
	case formUint:
		t, err := d.integer()
		if err != nil {
			return err
		}
		n, perr := strconv.ParseUint(string(t), 10, p.typ.Bits())
		if perr != nil {
			return fault("an integer out of range")
		}
		v.SetUint(n)
	case formBytes:
		t, err := d.hex()
		if err != nil || len(t) == 0 {
			return err
		}
		b := make([]byte, len(t)/2)
		unhex(b, t)
		v.SetBytes(b)
	case formArray:
		t, err := d.hex()
		if err != nil {
			return err
		}
		if len(t) != 2*v.Len() {
			return fault("want " + strconv.Itoa(2*v.Len()) + " hex digits")
		}
		unhex(v.Bytes(), t)
	case formRaw:
		start := d.i
		if err := d.skip(depth); err != nil {
			return err
		}
		v.SetBytes(append([]byte(nil), d.b[start:d.i]...))
	case formPointer:
		v.Set(reflect.New(p.elem.typ))
		return d.value(p.elem, v.Elem(), depth)
	case formSlice:
		return d.elements(depth, func(n int) *Error {
			v.Grow(1)
			v.SetLen(n + 1)
			x := v.Index(n)
			x.SetZero()
			return d.value(p.elem, x, depth+1)
		})
	case formStrings:
		return d.strings(v.Addr().Interface().(*[]string), depth)
	case formMap:
		return d.mapping(p, v, depth)
	case formStruct:
		return d.object(p, v, depth)
	}
	return nil
}

// strings reads an array of strings. All of them share one piece of memory.
func (d *decoder) strings(into *[]string, depth int) *Error {
	ends := make([]int, 0, 32)
	var all strings.Builder
	all.Grow(min(len(d.b)-d.i, 256))
	err := d.elements(depth, func(int) *Error {
		t, err := d.text()
		all.Write(t)
		ends = append(ends, all.Len())
		return err
	})
	if err != nil || len(ends) == 0 {
		return err
	}
	out, text, from := make([]string, len(ends)), all.String(), 0
	for i, end := range ends {
		out[i], from = text[from:end], end
	}
	*into = out
	return nil
}

// integer reads the shortest decimal form of an integer: no plus, no leading zero, no minus zero.
func (d *decoder) integer() ([]byte, *Error) {
	t, err := d.text()
	if err != nil {
		return nil, err
	}
	digits := t
	if len(t) > 1 && t[0] == '-' {
		digits = t[1:]
	}
	if len(digits) == 0 || digits[0] == '0' && len(t) > 1 {
		return nil, fault("want an integer as a decimal string")
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return nil, fault("want an integer as a decimal string")
		}
	}
	return t, nil
}

func (d *decoder) hex() ([]byte, *Error) {
	t, err := d.text()
	if err != nil {
		return nil, err
	}
	if len(t)%2 != 0 {
		return nil, fault("want an even number of hex digits")
	}
	for _, c := range t {
		if hexValue(c) > 15 {
			return nil, fault("want lower-case hex digits")
		}
	}
	return t, nil
}

func unhex(dst, digits []byte) {
	for i := range dst {
		dst[i] = hexValue(digits[2*i])<<4 | hexValue(digits[2*i+1])
	}
}

func (d *decoder) mapping(p *plan, v reflect.Value, depth int) *Error {
	return d.members(depth, func(name string) *Error {
		if v.IsNil() {
			v.Set(reflect.MakeMap(p.typ))
		}
		k, x := reflect.New(p.key.typ).Elem(), reflect.New(p.elem.typ).Elem()
		k.SetString(name)
		if p.key.check {
			if err := checked(k); err != nil {
				return err
			}
		}
		if err := d.value(p.elem, x, depth+1); err != nil {
			return err
		}
		v.SetMapIndex(k, x)
		return nil
	})
}

// object expects the keys in the one order in which an encoder writes them, so it never searches.
func (d *decoder) object(p *plan, v reflect.Value, depth int) *Error {
	if !d.byte('{') {
		return d.wrong("an object")
	}
	if depth > MaxDepth {
		return fault("nested too deep")
	}
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		key := f.key
		if first {
			key = key[1:]
		}
		if !d.literal(key) {
			if f.omit {
				continue
			}
			return d.misplaced(p, i, first)
		}
		first = false
		x := f.in(v)
		if err := d.value(f.plan, x, depth+1); err != nil {
			return err.under(f.name)
		}
		if f.omit && f.plan.zero(x) {
			return fault("the zero value is written by leaving it out").under(f.name)
		}
	}
	if !d.byte('}') {
		return d.misplaced(p, len(p.fields), first)
	}
	return nil
}

// misplaced explains what stands where field next of p (or the object's end) was expected.
func (d *decoder) misplaced(p *plan, next int, first bool) *Error {
	missing := func(what string) *Error {
		if next < len(p.fields) {
			return fault(what).under(p.fields[next].name)
		}
		return fault("malformed")
	}
	if d.peek() == '}' {
		return missing("missing")
	}
	if !first && !d.byte(',') {
		return d.wrong("a comma or the end of an object")
	}
	t, err := d.text()
	if err != nil {
		return err
	}
	name := string(t)
	for i := range p.fields {
		switch f := &p.fields[i]; {
		case f.name == name && d.peek() != ':':
			return d.wrong("a colon").under(name)
		case f.name == name && i < next:
			return fault("there twice, or not in sorted order").under(name)
		case f.name == name:
			return missing("missing, or not in sorted order")
		case strings.EqualFold(f.name, name):
			return fault("unknown: names are case-sensitive").under(f.name)
		}
	}
	// The name is the sender's text. It helps only where it looks like a name.
	if len(name) <= 32 && plainName(name) && (name[0] < '0' || name[0] > '9') {
		return fault("unknown").under(name)
	}
	return fault("an unknown name")
}
