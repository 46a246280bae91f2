package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
)

// TestLatest gives of each key what a lookup without times finds, in order, once.
func TestLatest(t *testing.T) {
	var b strings.Builder
	b.WriteString(taxHeader)
	keys := map[string]bool{}
	for i := range 300 {
		code := string(contracts.SyntheticCreditCode(uint32(i % 97)))
		keys[code] = true
		fmt.Fprintf(&b, "%s,2024-0%d-0%d,2024-05-0%dT0%d:00:00+08:00,%d,%d,A,true,row %d\n", code, 1+i%4, 1+i%9, 1+i%7, i%10, i, i, i)
	}
	d := importCSV(t, newVault(t), "tax", taxSchema(), b.String())
	fields, last := []string{"note", "staff", "code"}, ""
	seen := 0
	for k, err := range d.Latest(t.Context(), fields) {
		if err != nil {
			t.Fatal(err)
		}
		if k.Key <= last || !keys[k.Key] {
			t.Fatalf("%s after %s", k.Key, last)
		}
		last = k.Key
		seen++
		if want := d.Snapshot.Lookup(t.Context(), Query{Key: k.Key, Fields: fields}); !reflect.DeepEqual(k.Answer, want) {
			t.Fatalf("%s: %+v, want %+v", k.Key, k.Answer, want)
		}
	}
	if seen != len(keys) || int64(seen) != d.Keys() {
		t.Errorf("%d of %d keys", seen, len(keys))
	}
	seen = 0
	for range d.Latest(t.Context(), fields) {
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Errorf("a reader that stops got %d", seen)
	}
	only := func(s *Snapshot, ctx context.Context, fields []string) (err error) {
		n := 0
		for _, e := range s.Latest(ctx, fields) {
			if n++; e != nil {
				err = e
			} else if err != nil {
				t.Error("it goes on after an error")
			}
		}
		return err
	}
	if err := only(d.Snapshot, t.Context(), []string{"whatever"}); err == nil {
		t.Error("an unknown field is read")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := only(d.Snapshot, ctx, fields); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A flipped bit in any group is found, wherever it is.
	raw, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{int64(len(fileMagic)) + 20, d.foot.Entries / 2, d.foot.Entries - 3} {
		bad := slices.Clone(raw)
		bad[at] ^= 4
		path := t.TempDir() + "/" + string(d.Digest()) + ".snapshot"
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSnapshot(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := only(s, t.Context(), fields); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: %v", at, err)
		}
		s.Close()
	}
}
