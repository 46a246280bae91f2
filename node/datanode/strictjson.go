package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// strictJSON decodes one JSON value into v: no unknown, duplicate or case-folded key, no bad UTF-8, nothing behind it.
// encoding/json alone accepts the last four.
func strictJSON(b []byte, v any) error {
	if !utf8.Valid(b) {
		return errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := checkKeys(d, reflect.TypeOf(v).Elem(), ""); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// checkKeys walks a value beside the type it is decoded into. Where the two don't fit, Unmarshal says so.
func checkKeys(d *json.Decoder, t reflect.Type, path string) error {
	tok, err := d.Token()
	if err != nil {
		return errors.New("the body is not JSON")
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch tok {
	case json.Delim('['):
		var e reflect.Type
		if t != nil && t.Kind() == reflect.Slice {
			e = t.Elem()
		}
		for i := 0; d.More(); i++ {
			if err := checkKeys(d, e, fmt.Sprintf("%s%d.", path, i)); err != nil {
				return err
			}
		}
		_, err = d.Token()
	case json.Delim('{'):
		seen := map[string]bool{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return errors.New("the body is not JSON")
			}
			name := k.(string)
			if seen[name] {
				return fmt.Errorf("%s%s is there twice", path, name)
			}
			seen[name] = true
			ft, ok := fieldType(t, name)
			if !ok {
				return fmt.Errorf("%s%.40q is unknown", path, name)
			}
			if err := checkKeys(d, ft, path+name+"."); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	if err != nil {
		return errors.New("the body is not JSON")
	}
	return nil
}

func fieldType(t reflect.Type, name string) (reflect.Type, bool) {
	if t == nil || t.Kind() != reflect.Struct {
		return nil, t == nil || t.Kind() != reflect.Struct
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
			return f.Type, true
		}
	}
	return nil, false
}
