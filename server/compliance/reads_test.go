package compliance_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/compliance"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

func reads(t *testing.T) *compliance.Reads {
	t.Helper()
	at := time.Date(2026, 3, 2, 9, 0, 0, 123_456_789, time.UTC) // finer than what PostgreSQL keeps
	return &compliance.Reads{DB: pgtest.New(t), Now: func() time.Time { return at }}
}

func record(t *testing.T, x *compliance.Reads, n int) {
	t.Helper()
	for i := range n {
		if err := x.Record(t.Context(), contracts.ID(strings.Repeat("a", 32)), contracts.ID(strings.Repeat("b", 32)), fmt.Sprintf("entries?page=%d", i), "例行检查"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadsChain(t *testing.T) {
	x := reads(t)
	if n, err := verify(t, x); n != 0 || err != nil {
		t.Fatalf("an empty record: %d, %v", n, err)
	}
	record(t, x, 5)
	if n, err := verify(t, x); n != 5 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
}

// Whatever is changed, taken out or put in is found, and the row is named.
func TestReadsTamperedWith(t *testing.T) {
	x := reads(t)
	for _, c := range []struct {
		what, sql, want string
	}{
		{"time", `UPDATE app.reads SET at = at + interval '1 microsecond' WHERE seq = 3`, "at 3"},
		{"member", `UPDATE app.reads SET member = 'c' WHERE seq = 3`, "at 3"},
		{"person", `UPDATE app.reads SET person = '' WHERE seq = 3`, "at 3"},
		{"what was read", `UPDATE app.reads SET what = 'entries?page=9' WHERE seq = 1`, "at 1"},
		{"reason", `UPDATE app.reads SET reason = 'another' WHERE seq = 5`, "at 5"},
		{"link", `UPDATE app.reads SET prev = '' WHERE seq = 4`, "at 4"},
		{"hash", `UPDATE app.reads SET hash = 'x' WHERE seq = 2`, "at 2"},
		{"one taken out", `DELETE FROM app.reads WHERE seq = 3`, "at 3"},
		{"the first taken out", `DELETE FROM app.reads WHERE seq = 1`, "at 1"},
		{"one taken out and the numbers closed up", `DELETE FROM app.reads WHERE seq = 3; UPDATE app.reads SET seq = seq - 1 WHERE seq > 3`, "at 3"},
		{"two exchanged", `UPDATE app.reads SET seq = 99 WHERE seq = 2; UPDATE app.reads SET seq = 2 WHERE seq = 3; UPDATE app.reads SET seq = 3 WHERE seq = 99`, "at 2"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if _, err := x.DB.ExecContext(t.Context(), `TRUNCATE app.reads`); err != nil {
				t.Fatal(err)
			}
			record(t, x, 5)
			if _, err := x.DB.ExecContext(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
			if n, err := verify(t, x); err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("%d, %v, want broken %s", n, err, c.want)
			}
		})
	}
}

// Supervisors who read at the same time make one chain.
func TestReadsAtOnce(t *testing.T) {
	x := reads(t)
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			for range 5 {
				if err := x.Record(t.Context(), "m", "", "entries", "r"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, err := verify(t, x); n != 40 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// No record, no answer.
func TestReadsUnrecorded(t *testing.T) {
	x := reads(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Record(ctx, "m", "", "entries", "r"); err == nil {
		t.Error("a read that wasn't recorded is let through")
	}
	if n, err := verify(t, x); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// verify walks the record and gives its number of rows, or says what is broken.
func verify(t *testing.T, x *compliance.Reads) (int64, error) {
	t.Helper()
	c, err := x.Chain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.Broken != "" {
		return c.Count, errors.New(c.Broken)
	}
	return c.Count, nil
}
