package compute

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts/canon"
)

var goldenSpec = Spec{Epsilon: "0.5", GroupBy: []string{"trade"}, Filters: []Filter{{Field: "staff", Operator: GreaterEqual, Values: []string{"10"}}, {Field: "trade", Operator: In, Values: []string{"farm", "shop"}}},
	Aggregates: []Aggregate{{Function: Count}, {Field: "tax", Function: Mean, Lower: "0", Upper: "100"}}}

const golden = `{"aggregates":[{"function":"count"},{"field":"tax","function":"mean","lower":"0","upper":"100"}],"epsilon":"0.5",` +
	`"filters":[{"field":"staff","operator":"ge","values":["10"]},{"field":"trade","operator":"in","values":["farm","shop"]}],"groupBy":["trade"]}`

func TestSpecForm(t *testing.T) {
	if got := string(goldenSpec.Ordered().Bytes()); got != golden {
		t.Errorf("%s\nwant %s", got, golden)
	}
	for _, change := range [][2]string{
		{`"0.5"`, `"0.50"`}, {`"0.5"`, `".5"`}, {`"0.5"`, `"0"`}, {`"0.5"`, `"-1"`}, {`"0.5"`, `"5e-1"`}, {`"0.5"`, `"8.000001"`}, {`"0.5"`, `"0.0009"`}, {`"0.5"`, `"0.0000001"`}, {`"0.5"`, `0.5`},
		{`"ge"`, `"GE"`}, {`"ge"`, `"like"`}, {`"ge"`, `"in"`}, {`"ge"`, `"empty"`}, {`"farm","shop"`, `"shop","farm"`}, {`"farm","shop"`, `"farm","farm"`}, {`"farm","shop"`, `"farm"`}, {`["10"]`, `[""]`}, {`["10"]`, `[]`},
		{`"mean"`, `"max"`}, {`"function":"count"`, `"field":"tax","function":"count"`}, {`,"lower":"0","upper":"100"`, ``}, {`"groupBy":["trade"]`, `"groupBy":["trade","trade"]`},
		{`"groupBy":["trade"]`, `"groupBy":["trade"],"having":"1=1"`}, {`"groupBy"`, `"groupby"`}, {`}],"groupBy"`, `}], "groupBy"`},
		{`{"function":"count"},`, `{"function":"count"},{"function":"count"},`}, {`"groupBy":["trade"]`, `"groupBy":["a","b","c","d","e"]`},
	} {
		bad := strings.Replace(golden, change[0], change[1], 1)
		if bad == golden {
			t.Fatalf("%v changes nothing", change)
		}
		if _, err := ParseSpec([]byte(bad)); err == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
	if _, err := ParseSpec([]byte(golden + " ")); err == nil {
		t.Error("bytes after it are accepted")
	}
}

func TestCanonical(t *testing.T) {
	s := goldenSpec
	s.Filters = []Filter{{Field: "trade", Operator: In, Values: []string{"shop", "farm", "shop"}}, goldenSpec.Filters[0], goldenSpec.Filters[0]}
	if b, err := s.Canonical(); err != nil || string(b) != golden {
		t.Errorf("%s, %v", b, err)
	}
	s.GroupBy = []string{strings.Repeat("x", maxSpecBytes)}
	if _, err := s.Canonical(); err == nil {
		t.Error("a field of 64 KiB is accepted")
	}
	if _, err := (Spec{Epsilon: "1", Aggregates: []Aggregate{{Function: "median"}}}).Canonical(); err == nil {
		t.Error("a median is accepted")
	}
}

func TestOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t)
		other := s
		other.Filters, other.Aggregates, other.GroupBy = rapid.Permutation(s.Filters).Draw(t, "filters"), rapid.Permutation(s.Aggregates).Draw(t, "aggregates"), rapid.Permutation(s.GroupBy).Draw(t, "groups")
		if !bytes.Equal(other.Ordered().Bytes(), s.Bytes()) {
			t.Fatalf("%s and %s are one question", other.Bytes(), s.Bytes())
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFixed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 999_999_999_999).Draw(t, "n")
		if got, err := parseFixed(fixed(n, 6), 6); err != nil || got != n {
			t.Fatalf("%d: %s, %d, %v", n, fixed(n, 6), got, err)
		}
	})
	if got := fixed(-5, 2) + fixed(500, 2) + fixed(-120, 2) + fixed(7, 0); got != "-0.055-1.27" {
		t.Error(got)
	}
}

// exactSample is what an engine gives for byTrade over few rows.
func exactSample(t testing.TB) (*exact, *program, *table) {
	src := sample(60)
	tb, err := openTable(t.Context(), t.TempDir(), src)
	if err != nil {
		t.Fatal(err)
	}
	p := mustCompile(t, byTrade, src, tb)
	e, err := plainEngine(tb.path, &p.program)
	if err != nil {
		t.Fatal(err)
	}
	return e, &p.program, tb
}

func TestAnswerOfAChild(t *testing.T) {
	e, p, tb := exactSample(t)
	good := (&answer{held: Rlimits, state: stateFigures, exact: e}).encode()
	a, err := decodeAnswer(good, p, tb.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(a.exact) != fmt.Sprint(e) || a.held != Rlimits {
		t.Error("it isn't what was encoded")
	}
	for i := range good {
		if _, err := decodeAnswer(good[:i], p, tb.Subjects); err == nil {
			t.Errorf("cut at %d, and accepted", i)
		}
	}
	if _, err := decodeAnswer(append(slices.Clone(good), 0), p, tb.Subjects); err == nil {
		t.Error("bytes after it are accepted")
	}
	change := func(what string, f func(c *exactCell)) {
		t.Helper()
		x := &exact{slices.Clone(e.cells)}
		x.cells[1].keys, x.cells[1].sums = slices.Clone(x.cells[1].keys), slices.Clone(x.cells[1].sums)
		f(&x.cells[1])
		if _, err := decodeAnswer((&answer{state: stateFigures, exact: x}).encode(), p, tb.Subjects); !errors.Is(err, errAnswer) {
			t.Errorf("%s: %v", what, err)
		}
	}
	change("a key twice", func(c *exactCell) { c.keys[0]-- })
	change("more rows than subjects have", func(c *exactCell) { c.rows++ })
	change("fewer rows than subjects", func(c *exactCell) { c.rows-- })
	change("a sum above its bounds", func(c *exactCell) { c.sums[0].total = c.sums[0].rows*5000 + 1 })
	change("a sum below its bounds", func(c *exactCell) { c.sums[0].total = -1 })
	change("a sum of more rows", func(c *exactCell) { c.sums[0].rows++ })
	change("a subject more", func(c *exactCell) { c.subjects, c.rows = c.subjects+1, c.rows+1 })
	change("a subject that isn't there", func(c *exactCell) {
		c.cohort = binary.AppendUvarint(slices.Clone(c.cohort), 60)
		c.subjects++
		c.rows++
	})
	change("a longer way to write a gap", func(c *exactCell) { c.cohort = append([]byte{c.cohort[0] | 0x80, 0}, c.cohort[1:]...) })
	for _, state := range []answerState{stateConfined, 0, 9} {
		if _, err := decodeAnswer((&answer{state: state}).encode(), p, tb.Subjects); err == nil {
			t.Errorf("state %d is an answer to a program", state)
		}
	}
	if _, err := decodeAnswer(good, nil, tb.Subjects); err == nil {
		t.Error("figures are an answer to no program")
	}
}

// TestNearest holds the comparison of cohorts against the one that looks at every pair.
func TestNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const subjects = 60
		draw := func(label string, several bool) []group {
			sets := make([][]uint32, rapid.IntRange(0, 4).Draw(t, label))
			for s := range uint32(subjects) {
				for i := range sets {
					if rapid.IntRange(0, 2).Draw(t, "in") == 0 {
						sets[i] = append(sets[i], s)
						if !several {
							break
						}
					}
				}
			}
			gs := make([]group, len(sets))
			for i, set := range sets {
				gs[i] = group{int64(len(set)), appendCohort(nil, set)}
			}
			return gs
		}
		several := rapid.Bool().Draw(t, "several rows")
		now, old, limit := draw("new", several), draw("old", several), rapid.Int64Range(1, 2*subjects).Draw(t, "limit")
		want := limit
		for _, a := range now {
			for _, b := range old {
				var in [subjects]int
				eachSubject(a.cohort, a.subjects, subjects, func(s uint32) { in[s]++ })
				eachSubject(b.cohort, b.subjects, subjects, func(s uint32) { in[s]-- })
				differ := int64(0)
				for _, n := range in {
					differ += int64(n * n)
				}
				want = min(want, differ)
			}
		}
		kept, err := decodeGroups(encodeGroups(old))
		if err != nil {
			t.Fatal(err)
		}
		got, err := newComparison(now, subjects).nearest(kept, limit)
		if err != nil || got != want {
			t.Fatalf("nearest %d, %v, want %d", got, err, want)
		}
	})
}

// TestMargin: the margin is never below zero, so what differs by fewer than k is refused whatever is drawn.
func TestMargin(t *testing.T) {
	lowest, highest := int64(1<<62), int64(0)
	for range 3000 {
		n, most, err := margin(share{200_000, 1000})
		if err != nil {
			t.Fatal(err)
		}
		if n < 0 || n > most || most != 216 {
			t.Fatalf("%d of %d", n, most)
		}
		lowest, highest = min(lowest, n), max(highest, n)
	}
	if lowest > 100 || highest < 116 {
		t.Errorf("%d to %d is no draw about 108", lowest, highest)
	}
}

func TestTableIsMadeAgain(t *testing.T) {
	src, dir := sample(100), t.TempDir()
	tb, err := openTable(t.Context(), dir, src)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(tb.path)
	if err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func() error{
		"cut":           func() error { return os.Truncate(tb.path, int64(len(whole)/2)) },
		"changed":       func() error { b := slices.Clone(whole); b[len(b)/2] ^= 1; return os.WriteFile(tb.path, b, 0o600) },
		"without":       func() error { return os.Remove(tb.path) },
		"no header":     func() error { return os.Remove(headerPath(tb.path)) },
		"a torn header": func() error { return os.Truncate(headerPath(tb.path), 20) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		again, err := openTable(t.Context(), dir, src)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		b, err := os.ReadFile(again.path)
		if err != nil || !bytes.Equal(b, whole) {
			t.Errorf("%s: the table isn't made again as it was: %v", what, err)
		}
	}
}

// TestOneTableIsKept: another snapshot's table, and what a crash left, go when a table is opened.
func TestOneTableIsKept(t *testing.T) {
	c := newCounter(t, sample(100), wide)
	dir := filepath.Join(c.dir, "taxes")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "tmp-123"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, src := range []*rowsInMemory{sample(100), sample(101)} {
		if err := c.desk.Prepare(t.Context(), "taxes", src); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 || !strings.HasPrefix(entries[0].Name(), string(src.Digest())) {
			t.Errorf("%v, %v", entries, err)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(golden))
	f.Add([]byte(`{"aggregates":[{"function":"count"}],"epsilon":"1","filters":[],"groupBy":[]}`))
	src := sample(30)
	tb, err := openTable(f.Context(), f.TempDir(), src)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSpec(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Bytes(), b) || !bytes.Equal(s.Ordered().Bytes(), b) {
			t.Fatalf("%q isn't its one form", b)
		}
		if p, r := compile(s, src.schema, &tb.header, 1); r == nil {
			if err := p.program.Check(); err != nil {
				t.Fatal(err)
			}
			if _, err := plainEngine(tb.path, &p.program); err != nil && !errors.Is(err, errTooManyGroups) {
				t.Fatal(err)
			}
		}
	})
}

func FuzzParseJob(f *testing.F) {
	src := sample(5)
	tb, err := openTable(f.Context(), f.TempDir(), src)
	if err != nil {
		f.Fatal(err)
	}
	p := mustCompile(f, byTrade, src, tb)
	f.Add(canon.Marshal(Limits{}.complete().job(&p.program)))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := parseJob(b)
		if err != nil || j.Program == nil || len(j.Program.Shapes) != len(p.program.Shapes) {
			return
		}
		j.Program.Shapes = p.program.Shapes
		if j.Program.Check() == nil {
			if _, err := plainEngine(tb.path, j.Program); err != nil && !errors.Is(err, errTooManyGroups) {
				t.Fatal(err)
			}
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	e, p, tb := exactSample(f)
	f.Add((&answer{held: Rlimits, state: stateFigures, exact: e}).encode())
	f.Add((&answer{state: stateTooManyGroups}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAnswer(b, p, tb.Subjects)
		if err == nil && a.state == stateFigures && !bytes.Equal(a.encode(), b) {
			t.Fatal("two forms of one answer")
		}
	})
}

func FuzzDecodeGroups(f *testing.F) {
	e, _, tb := exactSample(f)
	f.Add(encodeGroups(groupsOf(e.cells)))
	f.Fuzz(func(t *testing.T, b []byte) {
		gs, err := decodeGroups(b)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeGroups(gs), b) {
			t.Fatal("two forms of one cohort")
		}
		newComparison(groupsOf(e.cells), tb.Subjects).nearest(gs, 50)
	})
}

func FuzzDecodeHeader(f *testing.F) {
	_, _, tb := exactSample(f)
	b, err := encodeHeader(&tb.header)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) { decodeHeader(b) })
}
