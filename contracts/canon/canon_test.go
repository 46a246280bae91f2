package canon

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
)

type colour string

func (c colour) Check() error {
	if c != "red" && c != "blue" {
		return errors.New("want red or blue")
	}
	return nil
}

type level int64

func (l *level) Check() error {
	if *l < 0 || *l > 4 {
		return errors.New("want 0 to 4")
	}
	return nil
}

type base struct {
	Owner string `json:"owner"`
}

type part struct {
	Colour colour `json:"colour,omitempty"`
	Size   int64  `json:"size"`
}

type record struct {
	Title   string           `json:"title"`
	Any     Raw              `json:"any"`
	Big     uint64           `json:"big"`
	Bytes   []byte           `json:"bytes"`
	Colours map[colour]level `json:"colours,omitempty"`
	Digest  [4]byte          `json:"digest"`
	Done    bool             `json:"done"`
	Level   level            `json:"level"`
	Maybe   *part            `json:"maybe,omitempty"`
	Names   map[string]part  `json:"names"`
	Opt     bool             `json:"opt,omitempty"`
	Parts   []part           `json:"parts"`
	Tags    []string         `json:"tags,omitempty"`
	Whole   part             `json:"whole,omitempty"`
	base
}

func full() record {
	return record{
		Title: "外滩 \"\\/\b\t\n\f\r\x01\x1f\x7f\u2028😀<>&", Any: Raw(`{"a":[true,"x",{}]}`), Big: 18446744073709551615, Bytes: []byte{0, 255},
		Colours: map[colour]level{"red": 1, "blue": 4}, Digest: [4]byte{1, 2, 3, 0xab}, Done: true, Level: 3, Maybe: &part{Size: -9223372036854775808},
		Names: map[string]part{"\ue000": {Size: 1}, "😀": {Size: 2}, "a": {Colour: "red"}}, Opt: true, Parts: []part{{Size: 1}, {Colour: "blue"}},
		Tags: []string{"", "x"}, Whole: part{Size: 7}, base: base{Owner: "o"},
	}
}

const fullGolden = `{"any":{"a":[true,"x",{}]},"big":"18446744073709551615","bytes":"00ff","colours":{"blue":"4","red":"1"},` +
	`"digest":"010203ab","done":true,"level":"3","maybe":{"size":"-9223372036854775808"},` +
	`"names":{"a":{"colour":"red","size":"0"},"😀":{"size":"2"},"` + "\ue000" + `":{"size":"1"}},"opt":true,"owner":"o",` +
	`"parts":[{"size":"1"},{"colour":"blue","size":"0"}],"tags":["","x"],` +
	`"title":"外滩 \"\\/\b\t\n\f\r\u0001\u001f` + "\x7f\u2028" + `😀<>&","whole":{"size":"7"}}`

const leastGolden = `{"any":"","big":"0","bytes":"","digest":"00000000","done":false,"level":"0","names":{},"owner":"","parts":[],"title":""}`

func TestGoldenBytes(t *testing.T) {
	for _, c := range []struct {
		v    record
		want string
	}{
		{full(), fullGolden},
		{record{Any: Raw(`""`)}, leastGolden},
		{record{Any: Raw(`""`), Bytes: []byte{}, Colours: map[colour]level{}, Names: map[string]part{}, Parts: []part{}, Tags: []string{}}, leastGolden},
	} {
		got := Marshal(c.v)
		if string(got) != c.want {
			t.Fatalf("got  %s\nwant %s", got, c.want)
		}
		if viaPointer := Append([]byte("x"), &c.v); string(viaPointer) != "x"+c.want {
			t.Fatalf("through a pointer: %s", viaPointer)
		}
		sameAsJCS(t, got)
		back := record{Title: "left over", Tags: []string{"left over"}, Maybe: &part{}}
		if err := Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		if again := Marshal(back); !bytes.Equal(again, got) {
			t.Fatalf("round trip gave %s", again)
		}
	}
}

func TestEmptyDecodesToNil(t *testing.T) {
	var r record
	if err := Unmarshal([]byte(leastGolden), &r); err != nil {
		t.Fatal(err)
	}
	if want := (record{Any: Raw(`""`)}); !reflect.DeepEqual(r, want) {
		t.Fatalf("%#v", r)
	}
}

func TestDecodedValueOwnsItsMemory(t *testing.T) {
	in := []byte(fullGolden)
	var r record
	if err := Unmarshal(in, &r); err != nil {
		t.Fatal(err)
	}
	for i := range in {
		in[i] = 'x'
	}
	if want := full(); !reflect.DeepEqual(r, want) {
		t.Fatalf("%#v", r)
	}
}

// sameAsJCS holds a foreign implementation of RFC 8785 against bytes that this package accepts.
func sameAsJCS(t testing.TB, b []byte) {
	t.Helper()
	if b[0] != '{' && b[0] != '[' {
		return // the oracle reads objects and arrays only
	}
	want, err := jcs.Transform(b)
	if err != nil {
		t.Fatalf("JCS refuses %q: %v", b, err)
	}
	if !bytes.Equal(want, b) {
		t.Fatalf("JCS writes\n%q, not\n%q", want, b)
	}
	if !json.Valid(b) {
		t.Fatalf("not JSON: %q", b)
	}
}

// refusals are one edit of fullGolden each, with the error's path and a word of it.
var refusals = []struct{ name, old, new, field, word string }{
	{"unknown", `"opt":true,`, `"opt":true,"other":"1",`, "other", "unknown"},
	{"unknown last", `"whole":{"size":"7"}}`, `"whole":{"size":"7"},"zz":"1"}`, "zz", "unknown"},
	{"unknown secret-like", `"opt":true,`, `"opt":true,"91310115MA1K00007Q":"1",`, "", "unknown name"},
	{"unknown nested", `"maybe":{`, `"maybe":{"extra":"1",`, "maybe.extra", "unknown"},
	{"case-folded", `"owner"`, `"Owner"`, "owner", "case-sensitive"},
	{"duplicate", `"opt":true,`, `"opt":true,"opt":true,`, "opt", "twice"},
	{"duplicate nested", `"parts":[{"size":"1"}`, `"parts":[{"size":"1","size":"1"}`, "parts.0.size", "twice"},
	{"duplicate map name", `{"blue":"4",`, `{"blue":"4","blue":"4",`, "colours", "twice"},
	{"duplicate in raw", `{"a":[true,"x",{}]}`, `{"a":"1","a":"1"}`, "any", "twice"},
	{"unsorted in raw", `{"a":[true,"x",{}]}`, `{"b":"1","a":"1"}`, "any", "order"},
	{"number in raw", `[true,"x",{}]`, `[true,1,{}]`, "any.0.1", "number"},
	{"null in raw", `[true,"x",{}]`, `[true,null,{}]`, "any.0.1", "null"},
	{"escape in raw", `[true,"x",{}]`, `[true,"\u0041",{}]`, "any.0.1", "escape"},
	{"missing", `"owner":"o",`, ``, "owner", "missing"},
	{"missing last", `,"title":"外滩 \"\\/\b\t\n\f\r\u0001\u001f` + "\x7f\u2028" + `😀<>&","whole":{"size":"7"}`, ``, "title", "missing"},
	{"out of order", `"done":true,"level":"3"`, `"level":"3","done":true`, "done", "order"},
	{"map out of order", `{"blue":"4","red":"1"}`, `{"red":"1","blue":"4"}`, "colours", "order"},
	{"map in byte order", `"😀":{"size":"2"},"` + "\ue000" + `":{"size":"1"}`, `"` + "\ue000" + `":{"size":"1"},"😀":{"size":"2"}`, "names", "order"},
	{"number", `"big":"18446744073709551615"`, `"big":1`, "big", "number"},
	{"null", `"owner":"o"`, `"owner":null`, "owner", "null"},
	{"null array", `"parts":[{"size":"1"},{"colour":"blue","size":"0"}]`, `"parts":null`, "parts", "null"},
	{"null pointer", `"maybe":{"size":"-9223372036854775808"}`, `"maybe":null`, "maybe", "null"},
	{"zero bool", `"opt":true`, `"opt":false`, "opt", "zero value"},
	{"zero list", `"tags":["","x"]`, `"tags":[]`, "tags", "zero value"},
	{"zero struct", `"whole":{"size":"7"}`, `"whole":{"size":"0"}`, "whole", "zero value"},
	{"zero map", `"colours":{"blue":"4","red":"1"}`, `"colours":{}`, "colours", "zero value"},
	{"zero string", `{"colour":"blue",`, `{"colour":"",`, "parts.1.colour", "red or blue"},
	{"plus", `"level":"3"`, `"level":"+3"`, "level", "decimal"},
	{"leading zero", `"level":"3"`, `"level":"03"`, "level", "decimal"},
	{"minus zero", `"size":"7"`, `"size":"-0"`, "whole.size", "decimal"},
	{"lone minus", `"size":"7"`, `"size":"-"`, "whole.size", "decimal"},
	{"empty integer", `"size":"7"`, `"size":""`, "whole.size", "decimal"},
	{"hex integer", `"size":"7"`, `"size":"0x7"`, "whole.size", "decimal"},
	{"fraction", `"size":"7"`, `"size":"7.0"`, "whole.size", "decimal"},
	{"exponent", `"size":"7"`, `"size":"7e1"`, "whole.size", "decimal"},
	{"underscore", `"size":"7"`, `"size":"7_0"`, "whole.size", "decimal"},
	{"too small", `"-9223372036854775808"`, `"-9223372036854775809"`, "maybe.size", "range"},
	{"too big", `"18446744073709551615"`, `"18446744073709551616"`, "big", "range"},
	{"negative unsigned", `"18446744073709551615"`, `"-1"`, "big", "range"},
	{"boolean as string", `"done":true`, `"done":"true"`, "done", "true or false"},
	{"string as boolean", `"owner":"o"`, `"owner":true`, "owner", "a string"},
	{"object as array", `"parts":[{"size":"1"},{"colour":"blue","size":"0"}]`, `"parts":{}`, "parts", "an array"},
	{"array as object", `"whole":{"size":"7"}`, `"whole":[]`, "whole", "an object"},
	{"upper-case hex", `"010203ab"`, `"010203AB"`, "digest", "lower-case"},
	{"odd hex", `"00ff"`, `"00f"`, "bytes", "even"},
	{"short array", `"010203ab"`, `"010203"`, "digest", "8 hex"},
	{"long array", `"010203ab"`, `"010203ab00"`, "digest", "8 hex"},
	{"space", `"opt":true,`, `"opt": true,`, "opt", "white space"},
	{"newline", `"opt":true,`, "\"opt\":true,\n", "", "white space"},
	{"trailing comma", `"whole":{"size":"7"}}`, `"whole":{"size":"7"},}`, "", "a string"},
	{"trailing comma in array", `"tags":["","x"]`, `"tags":["","x",]`, "tags.2", "a string"},
	{"no comma", `"opt":true,`, `"opt":true`, "", "comma"},
	{"no colon", `"opt":true`, `"opt"true`, "opt", "colon"},
	{"slash", `\\/`, `\\\/`, "title", "escape"},
	{"long escape for newline", `\n`, `\u000a`, "title", "escape"},
	{"long escape for a letter", `"owner":"o"`, `"owner":"\u006f"`, "owner", "escape"},
	{"long escape for é", `"owner":"o"`, `"owner":"\u00e9"`, "owner", "escape"},
	{"upper-case escape", `\u001f`, `\u001F`, "title", "escape"},
	{"surrogate pair", `"owner":"o"`, `"owner":"\ud83d\ude00"`, "owner", "escape"},
	{"lone surrogate", `"owner":"o"`, `"owner":"\ud800"`, "owner", "escape"},
	{"surrogate in UTF-8", `"owner":"o"`, "\"owner\":\"\xed\xa0\x80\"", "owner", "UTF-8"},
	{"overlong UTF-8", `"owner":"o"`, "\"owner\":\"\xc0\xaf\"", "owner", "UTF-8"},
	{"bad UTF-8 after an escape", `"owner":"o"`, "\"owner\":\"\\n\xff\"", "owner", "UTF-8"},
	{"bad UTF-8 in a map name", `"a":{"colour"`, "\"\xff\":{\"colour\"", "names", "UTF-8"},
	{"raw control", `"owner":"o"`, "\"owner\":\"\x01\"", "owner", "control"},
	{"raw control after an escape", `"owner":"o"`, "\"owner\":\"\\n\x01\"", "owner", "control"},
	{"zero byte", `"owner":"o"`, "\"owner\":\"\x00\"", "owner", "control"},
	{"escaped key", `"owner"`, `"\u006fwner"`, "", "escape"},
	{"check of an element", `"colour":"blue"`, `"colour":"pink"`, "parts.1.colour", "red or blue"},
	{"check of a map name", `"red":"1"`, `"rot":"1"`, "colours.1", "red or blue"},
	{"check of a map value", `"red":"1"`, `"red":"5"`, "colours.1", "0 to 4"},
	{"check by pointer", `"level":"3"`, `"level":"5"`, "level", "0 to 4"},
}

func TestRefusedForms(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(fullGolden, c.old) != 1 {
				t.Fatalf("%q stands %d times in the golden bytes", c.old, strings.Count(fullGolden, c.old))
			}
			in := strings.Replace(fullGolden, c.old, c.new, 1)
			r := full()
			var e *Error
			if err := Unmarshal([]byte(in), &r); !errors.As(err, &e) {
				t.Fatalf("accepted, or another error: %v", err)
			}
			if e.Field != c.field || !strings.Contains(e.What, c.word) {
				t.Errorf("field %q, %q", e.Field, e.What)
			}
			if !reflect.DeepEqual(r, record{}) {
				t.Error("a half-read value is left behind")
			}
		})
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for i := range len(fullGolden) {
		if err := Unmarshal([]byte(fullGolden[:i]), new(record)); err == nil {
			t.Fatalf("accepted %d bytes", i)
		}
		if err := Valid([]byte(fullGolden[:i])); err == nil {
			t.Fatalf("valid at %d bytes", i)
		}
		if _, err := Split([]byte(fullGolden[:i])); err == nil {
			t.Fatalf("split at %d bytes", i)
		}
	}
	for _, more := range []string{" ", "\n", "}", "{}", "\x00"} {
		in := []byte(fullGolden + more)
		if Unmarshal(in, new(record)) == nil || Valid(in) == nil {
			t.Fatalf("accepted %q after the value", more)
		}
		if _, err := Split(in); err == nil {
			t.Fatalf("split with %q after the value", more)
		}
	}
}
