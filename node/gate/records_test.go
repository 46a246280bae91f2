package gate

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/bund-exchange/bund/contracts"
)

type mapState map[string][]byte

func (m mapState) Get(key string) ([]byte, error) {
	if key == "broken" {
		return nil, errDisk
	}
	return m[key], nil
}

func TestRecords(t *testing.T) {
	st := mapState{"a": []byte("one"), "b": []byte("bad")}
	var r Records
	reads := 0
	ask := func(key string) (any, error) {
		d := r.Over(st).(interface {
			contracts.State
			Record(string, func([]byte) (any, error)) (any, error)
		})
		return d.Record(key, func(v []byte) (any, error) {
			reads++
			if string(v) == "bad" {
				return nil, errDamaged
			}
			return string(v), nil
		})
	}
	want := func(key string, record any, n int) {
		t.Helper()
		if got, err := ask(key); got != record || err != nil || reads != n {
			t.Fatalf("%s: %v, %v after %d reads, want %v after %d", key, got, err, reads, record, n)
		}
	}
	want("a", "one", 1)
	want("a", "one", 1)
	st["a"] = []byte("two") // a new value is new bytes
	want("a", "two", 2)
	st["a"] = slices.Clone(st["a"]) // the same value, and not known to be
	want("a", "two", 3)
	delete(st, "a")
	want("a", nil, 3)
	for range 2 { // what can't be read is remembered by nobody
		if _, err := ask("b"); !errors.Is(err, errDamaged) {
			t.Fatal(err)
		}
	}
	if _, err := ask("broken"); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	for i := range 2*maxRecords + 5 {
		key := fmt.Sprint("k", i)
		st[key] = []byte(key)
		if got, err := ask(key); got != key || err != nil {
			t.Fatal(got, err)
		}
		if len(r.kept) > maxRecords {
			t.Fatalf("%d kept", len(r.kept))
		}
	}
	if none := (*Records)(nil); none.Over(st).(mapState) == nil {
		t.Fatal("no records, no state")
	}
}
