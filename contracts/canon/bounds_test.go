package canon

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// tree holds itself.
type tree struct {
	Kids []tree `json:"kids,omitempty"`
	Next *tree  `json:"next,omitempty"`
}

func deep(n int) tree {
	t := tree{}
	for range n - 1 {
		inner := t
		t = tree{Next: &inner}
	}
	return t
}

func TestDepthLimit(t *testing.T) {
	most := Marshal(deep(MaxDepth))
	if err := Unmarshal(most, new(tree)); err != nil {
		t.Fatal(err)
	}
	if err := Valid(most); err != nil {
		t.Fatal(err)
	}
	over := []byte(strings.Repeat(`{"next":`, MaxDepth) + "{}" + strings.Repeat("}", MaxDepth))
	if err := Unmarshal(over, new(tree)); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("%v", err)
	}
	if err := Valid(over); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("%v", err)
	}
	panics(t, "nested deeper", func() { Marshal(deep(MaxDepth + 1)) })

	// Arrays count as well, and Raw counts from where it stands.
	brackets := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	type holder struct {
		Any Raw `json:"any"`
	}
	for n, ok := range map[int]bool{MaxDepth - 1: true, MaxDepth: false} {
		if err := Unmarshal([]byte(`{"any":`+brackets(n)+`}`), new(holder)); (err == nil) != ok {
			t.Errorf("%d brackets: %v", n, err)
		}
	}
	panics(t, "too deep", func() { Marshal(holder{Raw(brackets(MaxDepth))}) })
	if err := Unmarshal([]byte(strings.Repeat("[", MaxBytes)), new([]tree)); err == nil {
		t.Error("accepted a million brackets")
	}
}

func TestElementLimit(t *testing.T) {
	most := Marshal(make([]bool, MaxElements))
	var back []bool
	if err := Unmarshal(most, &back); err != nil || len(back) != MaxElements {
		t.Fatal(len(back), err)
	}
	over := append(most[:len(most)-1:len(most)-1], ",true]"...)
	for _, err := range []error{Unmarshal(over, &back), Valid(over)} {
		if err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("%v", err)
		}
	}
	panics(t, "elements", func() { Marshal(make([]bool, MaxElements+1)) })

	names := map[string]bool{}
	for i := range MaxElements {
		names[fmt.Sprintf("n%05d", i)] = true
	}
	most = Marshal(names)
	if err := Unmarshal(most, new(map[string]bool)); err != nil {
		t.Fatal(err)
	}
	over = append(most[:len(most)-1:len(most)-1], `,"z":true}`...)
	for _, err := range []error{Unmarshal(over, new(map[string]bool)), Valid(over)} {
		if err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("%v", err)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	most := strings.Repeat("x", MaxBytes-2)
	b := Marshal(most)
	var back string
	if err := Unmarshal(b, &back); err != nil || back != most {
		t.Fatal(err)
	}
	over := append([]byte(`"x`), b[1:]...)
	for _, err := range []error{Unmarshal(over, &back), Valid(over)} {
		if err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%v", err)
		}
	}
	if _, err := Split(over); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
	panics(t, "more than", func() { Marshal(most + "x") })
}

func panics(t *testing.T, word string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), word) {
			t.Errorf("want a panic with %q, got %v", word, r)
		}
	}()
	f()
}

func TestTypesWithoutCanonicalForm(t *testing.T) {
	type noTag struct{ A string }
	type dash struct {
		A string `json:"-"`
	}
	type option struct {
		A string `json:"a,string"`
	}
	type lost struct {
		//lint:ignore U1000 its being there is the test
		a string
	}
	type twin struct {
		base
		Owner string `json:"owner"`
	}
	type must struct {
		A *part `json:"a"`
	}
	type odd struct {
		A string `json:"a b"`
	}
	type number struct {
		A float64 `json:"a"`
	}
	type inner struct {
		A []struct {
			B any `json:"b"`
		} `json:"a"`
	}
	type clock struct {
		A time.Time `json:"a"`
	}
	for _, c := range []struct {
		word string
		v    any
	}{
		{"nil", nil}, {"nil pointer", (*part)(nil)}, {"tag", noTag{}}, {"tag", dash{}}, {"tag", option{}}, {"tag", odd{}},
		{"not exported", lost{}}, {"two fields", twin{}}, {"without omitempty", must{}}, {"float64", number{}}, {"interface", inner{}},
		{"not exported", clock{}}, {"float64", 1.5}, {"map[int]bool", map[int]bool{}}, {"*canon.part", []*part{}}, {"*int", map[string]*int{}},
		{"[2]string", [2]string{}}, {"nil pointer", new(*part)}, {"func()", func() {}}, {"chan", make(chan int)},
	} {
		panics(t, "canon: ", func() { Marshal(c.v) })
		panics(t, c.word, func() { Marshal(c.v) }) // and again: nothing half-made stays behind
	}
	panics(t, "pointer", func() { Unmarshal([]byte(`""`), "") })
	panics(t, "pointer", func() { Unmarshal([]byte(`""`), (*string)(nil)) })
	panics(t, "float64", func() { Unmarshal([]byte(`"1"`), new(float64)) })
}

func TestValuesWithoutCanonicalForm(t *testing.T) {
	panics(t, "UTF-8", func() { Marshal("\xff") })
	panics(t, "UTF-8", func() { Marshal(map[string]bool{"\xed\xa0\x80": true}) })
	panics(t, "Raw", func() { Marshal(record{}) })
	for _, raw := range []string{"1", "null", " {}", "{} ", `{"b":"","a":""}`, `"\u0041"`, "\"\xff\"", `{}{}`, `{`, `tru`} {
		panics(t, "Raw", func() { Marshal(record{Any: Raw(raw)}) })
	}
}

// A panic of Append must not damage what stands in dst: callers build larger things in it.
func TestAppendKeepsWhatIsThere(t *testing.T) {
	dst := append(make([]byte, 0, 64), "before"...)
	panics(t, "UTF-8", func() { Append(dst, "\xff") })
	if string(dst) != "before" {
		t.Errorf("%q", dst)
	}
	if got := Append(dst, "after"); string(got) != `before"after"` {
		t.Errorf("%q", got)
	}
}

func TestSplit(t *testing.T) {
	in := `{"a":{"x":["1",true]},"body":{"n":"1"},"kind":"k\n"}`
	ms, err := Split([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	want := []Member{{"a", Raw(`{"x":["1",true]}`)}, {"body", Raw(`{"n":"1"}`)}, {"kind", Raw(`"k\n"`)}}
	if !reflect.DeepEqual(ms, want) {
		t.Errorf("%q", ms)
	}
	if ms, err := Split([]byte(`{}`)); err != nil || len(ms) != 0 {
		t.Error(ms, err)
	}
	for _, bad := range []string{``, `[]`, `"a"`, `{"a":1}`, `{"a":null}`, `{"b":"","a":""}`, `{"a":"","a":""}`, `{"a":""`, `{"a"}`, `{a:""}`,
		`{"a":"",}`, `{"a":"\`, `{"a":"\u00`, ` {}`, `{} `, `{"a" :""}`, `{"a":{"b":{"d":"","c":""}}}`} {
		ms, err := Split([]byte(bad))
		var e *Error
		if !errors.As(err, &e) || ms != nil {
			t.Errorf("%s: %v %v", bad, ms, err)
		}
	}
	if err := Valid([]byte(`{"a":{"b":{"d":"","c":""}}}`)); err == nil || err.(*Error).Field != "0.0" {
		t.Errorf("%v", err)
	}
}

// An error is shown to whoever sent the bytes and may be logged: it must not repeat them.
func TestErrorsQuoteNoValues(t *testing.T) {
	const secret = "91310115MA1K00007Q"
	for _, in := range []string{
		fullWith(`"owner":"o"`, `"owner":"`+secret+`" `),
		fullWith(`"big":"18446744073709551615"`, `"big":"`+secret+`"`),
		fullWith(`"opt":true,`, `"opt":true,"`+secret+`":"",`),
		fullWith(`"done":true`, `"done":"`+secret+`"`),
		fullWith(`"00ff"`, `"`+secret+`"`),
		fullWith(`"blue":"4"`, `"`+secret+`":"4"`),
		fullWith(`"names":{"a":{"colour":"red",`, `"names":{"`+secret+`":{"colour":"`+secret+`",`),
		fullWith(`"any":{"a":[`, `"any":{"`+secret+`":[null`),
	} {
		err := Unmarshal([]byte(in), new(record))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
}

func fullWith(old, new string) string {
	if !strings.Contains(fullGolden, old) {
		panic(old)
	}
	return strings.Replace(fullGolden, old, new, 1)
}

type outer struct {
	In Raw `json:"in"`
}

func (o *outer) Check() error { return Unmarshal(o.In, new(part)) }

func TestCheckMayDecode(t *testing.T) {
	type top struct {
		Outer outer `json:"outer"`
	}
	err := Unmarshal([]byte(`{"outer":{"in":{"size":"x"}}}`), new(top))
	if e, ok := err.(*Error); !ok || e.Field != "outer.size" || !strings.Contains(e.What, "decimal") {
		t.Errorf("%v", err)
	}
}

func TestFirstUseIsSafeFromManyGoroutines(t *testing.T) {
	type a struct {
		Kids []tree           `json:"kids"`
		Any  map[string]level `json:"any"`
	}
	want := []byte(`{"any":{"x":"1"},"kids":[{}]}`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var v a
			if err := Unmarshal(want, &v); err != nil {
				t.Error(err)
			}
			if b := Marshal(v); !bytes.Equal(b, want) {
				t.Errorf("%s", b)
			}
		})
	}
	wg.Wait()
}
