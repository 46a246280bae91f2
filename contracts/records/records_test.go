package records

import (
	"errors"
	"fmt"
	"testing"
)

// A remembered record is that of the value which stands there now, whatever became of batches between.
func TestRecordsFollowValues(t *testing.T) {
	r := New(2)
	reads := 0
	read := func(key, value string) string {
		t.Helper()
		x, err := r.Read(key, []byte(value), func(v []byte) (any, error) { reads++; return "read " + string(v), nil })
		if err != nil {
			t.Fatal(err)
		}
		return x.(string)
	}
	for _, x := range []struct {
		key, value string
		reads      int
	}{{"a", "1", 1}, {"a", "1", 1}, {"a", "2", 2}, {"a", "1", 3}, {"b", "1", 4}, {"a", "1", 4}, {"c", "1", 5}, {"a", "1", 5}, {"a", "2", 6}, {"a", "2", 6}} {
		if got := read(x.key, x.value); got != "read "+x.value || reads != x.reads {
			t.Fatalf("%s=%s reads %q after %d readings, want %d", x.key, x.value, got, reads, x.reads)
		}
	}
	for i := range 10 {
		read(fmt.Sprint(i), "v")
		if len(r.young) > 2 || len(r.old) > 2 {
			t.Fatalf("%d and %d records, at most 2 and 2", len(r.young), len(r.old))
		}
	}
	failed := errors.New("unreadable")
	for range 2 {
		if _, err := r.Read("a", []byte("x"), func([]byte) (any, error) { return nil, failed }); !errors.Is(err, failed) {
			t.Fatalf("an unreadable value gave %v", err)
		}
	}
}
