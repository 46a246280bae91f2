package canon

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// form is how a Go type is written.
type form uint8

const (
	formString form = iota + 1
	formBool
	formInt
	formUint
	formBytes // []byte
	formArray // [N]byte
	formRaw
	formSlice
	formStrings // []string, by itself: most slices are
	formMap
	formStruct
	formPointer
)

// plan is what there is to know about a type before a value of it is read or written.
type plan struct {
	form   form
	typ    reflect.Type
	elem   *plan   // of slices, maps and pointers
	key    *plan   // of maps
	fields []field // of structs, sorted by name
	check  bool    // *T has Check
}

type field struct {
	name  string
	key   string // ,"name":
	index []int  // more than one step into embedded structs
	plan  *plan
	omit  bool
}

func (f *field) in(v reflect.Value) reflect.Value {
	v = v.Field(f.index[0])
	for _, i := range f.index[1:] {
		v = v.Field(i)
	}
	return v
}

type checker interface{ Check() error }

var (
	checkerType = reflect.TypeFor[checker]()
	rawType     = reflect.TypeFor[Raw]()
	stringsType = reflect.TypeFor[[]string]()
	plans       sync.Map // reflect.Type → *plan, complete ones only
)

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	made := map[reflect.Type]*plan{}
	p := makePlan(t, made, t.String())
	for t, p := range made {
		plans.LoadOrStore(t, p)
	}
	return p
}

// makePlan keeps unfinished plans in made, so that a type may hold itself.
func makePlan(t reflect.Type, made map[reflect.Type]*plan, where string) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	if p, ok := made[t]; ok {
		return p
	}
	p := &plan{typ: t, check: t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(checkerType)}
	made[t] = p
	switch t.Kind() {
	case reflect.String:
		p.form = formString
	case reflect.Bool:
		p.form = formBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.form = formInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.form = formUint
	case reflect.Array:
		if t.Elem().Kind() != reflect.Uint8 {
			panic(unsupported(t, where))
		}
		p.form = formArray
	case reflect.Slice:
		switch {
		case t == rawType:
			p.form = formRaw
		case t.Elem().Kind() == reflect.Uint8:
			p.form = formBytes
		case t == stringsType:
			p.form = formStrings
		default:
			p.form, p.elem = formSlice, makePlan(t.Elem(), made, where+"[]")
			noPointer(p.elem, where)
		}
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			panic(unsupported(t, where))
		}
		p.form, p.key, p.elem = formMap, makePlan(t.Key(), made, where), makePlan(t.Elem(), made, where+"[]")
		noPointer(p.elem, where)
	case reflect.Struct:
		p.form = formStruct
		p.fields = structFields(t, nil, made, where)
		slices.SortFunc(p.fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
		for i := range p.fields[:max(0, len(p.fields)-1)] {
			if p.fields[i].name == p.fields[i+1].name {
				panic(fmt.Sprintf("canon: %s has two fields %q", where, p.fields[i].name))
			}
		}
	case reflect.Pointer:
		if t.Elem().Kind() != reflect.Struct {
			panic(unsupported(t, where))
		}
		p.form, p.elem = formPointer, makePlan(t.Elem(), made, where)
	default:
		panic(unsupported(t, where))
	}
	return p
}

func structFields(t reflect.Type, index []int, made map[reflect.Type]*plan, where string) []field {
	var fs []field
	for i := range t.NumField() {
		sf := t.Field(i)
		at := append(slices.Clone(index), i)
		tag, tagged := sf.Tag.Lookup("json")
		if sf.Anonymous && !tagged && sf.Type.Kind() == reflect.Struct {
			fs = append(fs, structFields(sf.Type, at, made, where+"."+sf.Name)...)
			continue
		}
		if !sf.IsExported() {
			panic(fmt.Sprintf("canon: %s.%s is not exported and would be lost", where, sf.Name))
		}
		name, opt, _ := strings.Cut(tag, ",")
		if !plainName(name) || name == "-" || (opt != "" && opt != "omitempty") {
			panic(fmt.Sprintf("canon: %s.%s wants a tag json:\"name\" or json:\"name,omitempty\"", where, sf.Name))
		}
		f := field{name: name, key: "," + strconv.Quote(name) + ":", index: at, omit: opt != "", plan: makePlan(sf.Type, made, where+"."+sf.Name)}
		if sf.Type.Kind() == reflect.Pointer && !f.omit {
			panic(fmt.Sprintf("canon: %s.%s is a pointer without omitempty", where, sf.Name))
		}
		fs = append(fs, f)
	}
	return fs
}

// plainName keeps names to characters whose order and spelling is the same in bytes, UTF-16 and JSON.
func plainName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '@' && c != ':' {
			return false
		}
	}
	return s != ""
}

func noPointer(p *plan, where string) {
	if p.typ.Kind() == reflect.Pointer {
		panic(unsupported(p.typ, where+"[]"))
	}
}

func unsupported(t reflect.Type, where string) string {
	return fmt.Sprintf("canon: %s: type %s has no canonical form", where, t)
}

// zero reports the value that omitempty leaves out. Unlike reflect's it doesn't tell nil from empty.
func (p *plan) zero(v reflect.Value) bool {
	switch p.form {
	case formBytes, formRaw, formSlice, formStrings, formMap, formString:
		return v.Len() == 0
	case formStruct:
		for i := range p.fields {
			f := &p.fields[i]
			if !f.plan.zero(f.in(v)) {
				return false
			}
		}
		return true
	}
	return v.IsZero()
}
