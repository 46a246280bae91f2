package compute

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// badly makes children of another kind.
func badly(what string) func(*exec.Cmd) {
	return func(c *exec.Cmd) { c.Args = []string{"datanode", "compute-child-bad", what} }
}

func sample(n int) *rowsInMemory {
	var rows [][]string
	for i := range n {
		rows = append(rows, []string{fmt.Sprintf("%06d", i), "2026-01-01", []string{"farm", "shop", "mill"}[i%3], []string{"East", "West"}[i%2], fmt.Sprint(i % 50), fmt.Sprintf("%d.25", i%100), "true", ""})
	}
	return &rowsInMemory{enterprises(), rows}
}

func mustCompile(t testing.TB, s Spec, src *rowsInMemory, tb *table) *plan {
	t.Helper()
	s = s.Ordered()
	if _, err := ParseSpec(s.Bytes()); err != nil {
		t.Fatal(err)
	}
	p, r := compile(&s, src.schema, &tb.header, 1)
	if r != nil {
		t.Fatal(r)
	}
	return p
}

var byTrade = Spec{Epsilon: "1", GroupBy: []string{"trade"}, Aggregates: []Aggregate{{Function: Count}, {Field: "tax", Function: Sum, Lower: "0", Upper: "50"}}}

func openFile(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestChildAnswers(t *testing.T) {
	src := sample(3000)
	tb := mustTable(t, src)
	p := mustCompile(t, byTrade, src, tb)
	r := &Runner{Stderr: os.Stderr}
	got, err := r.run(t.Context(), openFile(t, tb.path), &p.program, tb.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	want, err := plainEngine(tb.path, &p.program)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprint(told(t, p, tb, src, got)), fmt.Sprint(told(t, p, tb, src, want)); a != b || len(got.cells) != 3 {
		t.Errorf("%s\nwant %s", a, b)
	}
}

// TestConfinement tries from within a child what a child must not. It needs what this machine has, and says when it
// has less.
func TestConfinement(t *testing.T) {
	r := &Runner{}
	held, err := r.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log("held by", held)
	if runtime.GOOS != "linux" || held.Missing() != 0 {
		t.Skipf("this machine lacks %s", held.Missing())
	}
	src := sample(10)
	tb := mustTable(t, src)
	other := t.TempDir() + "/secret"
	if err := os.WriteFile(other, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{
		"network": "operation not permitted", "socket": "operation not permitted", "program": "permi", "fork": "operation not permitted",
		"read " + other: "permission denied", "read /etc/passwd": "permission denied", "read /proc/self/environ": "permission denied", "read " + tablePath: "<nil>",
		"write": "permi", "write table": "permi", "parent": "operation not permitted", "ptrace": "operation not permitted", "code": "operation not permitted", "raise": "operation not permitted",
		"environment": "env []",
	} {
		r := &Runner{change: badly(what)}
		out, _, err := r.start(t.Context(), r.Limits.complete(), openFile(t, tb.path), nil)
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %q, %v, want %q", what, out, err, want)
		}
	}
	if _, err := os.Stat("/tmp/bund-compute-must-not-exist"); err == nil {
		t.Error("a child has written a file")
	}
}

// TestChildFails: whatever becomes of a child is a failure that wraps ErrChild, never a refusal or an answer, and says
// nothing of what the child held.
func TestChildFails(t *testing.T) {
	src := sample(300)
	tb := mustTable(t, src)
	p := mustCompile(t, byTrade, src, tb)
	for what, limits := range map[string]Limits{
		"crash": {}, "nothing": {}, "memory": {}, "cpu": {}, "much": {ResultBytes: 1 << 20}, "forever": {Wall: 300 * time.Millisecond},
	} {
		t.Run(what, func(t *testing.T) {
			r := &Runner{Limits: limits, change: badly(what)}
			_, err := r.run(t.Context(), openFile(t, tb.path), &p.program, tb.Subjects)
			if !errors.Is(err, ErrChild) {
				t.Fatal(err)
			}
			if strings.Contains(err.Error(), "91310115MA1K00007Q") {
				t.Error("the error says what the child held")
			}
		})
	}
	t.Run("killed by its caller", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &Runner{change: func(c *exec.Cmd) { badly("forever")(c); cancel() }}
		if _, err := r.run(ctx, openFile(t, tb.path), &p.program, tb.Subjects); !errors.Is(err, ErrChild) || !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
	t.Run("another table", func(t *testing.T) {
		if _, err := (&Runner{}).run(t.Context(), openFile(t, headerPath(tb.path)), &p.program, tb.Subjects); !errors.Is(err, ErrChild) {
			t.Fatal(err)
		}
	})
}

func TestMissingConfinementIsTold(t *testing.T) {
	var b bytes.Buffer
	r := &Runner{Log: slog.New(slog.NewTextHandler(&b, nil))}
	r.report(Rlimits | NoNewPrivs)
	r.report(Rlimits | NoNewPrivs)
	if got := b.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "seccomp, landlock, capabilities") {
		t.Errorf("log %q", got)
	}
	if !r.namespaces.Load() || r.Held() != Rlimits|NoNewPrivs {
		t.Error("no namespaces in place of seccomp")
	}
}
