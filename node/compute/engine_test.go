package compute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// oracle answers a spec from the rows' texts, without any of the engines' code: text by text, sums in big integers.
func oracle(t interface{ Fatalf(string, ...any) }, s *Spec, src *rowsInMemory, perSubject int) map[string]string {
	field := func(row []string, name string) string { return row[src.schema.Index(name)] }
	value := func(name, text string) *big.Rat {
		switch r, ok := new(big.Rat).SetString(text); {
		case ok:
			return r
		case text == "false":
			return new(big.Rat)
		case text == "true":
			return big.NewRat(1, 1)
		}
		// Dates and times compare as their texts do.
		n := new(big.Int).SetBytes([]byte(text))
		return new(big.Rat).SetInt(n)
	}
	holds := func(row []string, f Filter) bool {
		v := field(row, f.Field)
		if f.Operator == Empty || v == "" {
			return f.Operator == Empty && v == ""
		}
		switch f.Operator {
		case Filled:
			return true
		case Equal, In:
			return slices.Contains(f.Values, v)
		case Unequal:
			return !slices.Contains(f.Values, v)
		}
		c := value(f.Field, v).Cmp(value(f.Field, f.Values[0]))
		switch f.Operator {
		case Less:
			return c < 0
		case LessEqual:
			return c <= 0
		case Greater:
			return c > 0
		case GreaterEqual:
			return c >= 0
		}
		t.Fatalf("operator %s", f.Operator)
		return false
	}
	type group struct {
		rows     int
		sums     []*big.Rat
		filled   []int
		subjects map[string]bool
	}
	groups := map[string]*group{}
	at := func(key string) *group {
		if groups[key] == nil {
			g := &group{sums: make([]*big.Rat, len(s.Aggregates)), filled: make([]int, len(s.Aggregates)), subjects: map[string]bool{}}
			for i := range g.sums {
				g.sums[i] = new(big.Rat)
			}
			groups[key] = g
		}
		return groups[key]
	}
	if len(s.GroupBy) == 0 {
		at("")
	}
	for i, row := range src.rows {
		newer := 0
		for j := i + 1; j < len(src.rows) && src.rows[j][0] == row[0]; j++ {
			newer++
		}
		if newer >= perSubject || !allHold(s.Filters, func(f Filter) bool { return holds(row, f) }) {
			continue
		}
		var key []string
		for _, f := range s.GroupBy {
			key = append(key, "="+field(row, f))
		}
		g := at(strings.Join(key, "|"))
		g.rows++
		g.subjects[row[0]] = true
		for k, a := range s.Aggregates {
			if v := ""; a.Function != Count {
				if v = field(row, a.Field); v == "" {
					continue
				}
				n, lower, upper := value(a.Field, v), value(a.Field, a.Lower), value(a.Field, a.Upper)
				if n.Cmp(lower) < 0 {
					n = lower
				}
				if n.Cmp(upper) > 0 {
					n = upper
				}
				g.sums[k].Add(g.sums[k], n)
				g.filled[k]++
			}
		}
	}
	out := map[string]string{}
	for key, g := range groups {
		line := fmt.Sprint(g.rows, " rows")
		for k, a := range s.Aggregates {
			if a.Function != Count {
				line += fmt.Sprintf(" %s/%d", g.sums[k].RatString(), g.filled[k])
			}
		}
		out[key] = line + " of " + strings.Join(slices.Sorted(func(yield func(string) bool) {
			for s := range g.subjects {
				if !yield(s) {
					return
				}
			}
		}), ",")
	}
	return out
}

func allHold(fs []Filter, holds func(Filter) bool) bool {
	for _, f := range fs {
		if !holds(f) {
			return false
		}
	}
	return true
}

// told writes an engine's answer as the oracle does.
func told(t interface{ Fatalf(string, ...any) }, p *plan, tb *table, src *rowsInMemory, e *exact) map[string]string {
	var subjects []string
	for _, row := range src.rows {
		if len(subjects) == 0 || subjects[len(subjects)-1] != row[0] {
			subjects = append(subjects, row[0])
		}
	}
	if !slices.IsSortedFunc(e.cells, func(a, b exactCell) int { return slices.CompareFunc(a.keys, b.keys, cmp.Compare) }) {
		t.Fatalf("cells out of order")
	}
	out := map[string]string{}
	for _, c := range e.cells {
		var key, names []string
		for k, n := range c.keys {
			col := &tb.Columns[p.program.Groups[k]]
			v := ""
			if n != col.empty() {
				v = text(&p.schema.Fields[p.schema.Index(col.Field)], col, n)
			}
			key = append(key, "="+v)
		}
		line := fmt.Sprint(c.rows, " rows")
		for k := range p.spec.Aggregates {
			if i := p.sums[k]; i >= 0 {
				scale := int64(1)
				if p.spec.Aggregates[k].Field == "tax" {
					scale = 100
				}
				line += fmt.Sprintf(" %s/%d", big.NewRat(c.sums[i].total, scale).RatString(), c.sums[i].rows)
			}
		}
		if err := eachSubject(c.cohort, c.subjects, tb.Subjects, func(s uint32) { names = append(names, subjects[s]) }); err != nil {
			t.Fatalf("cohort: %v", err)
		}
		out[strings.Join(key, "|")] = line + " of " + strings.Join(names, ",")
	}
	return out
}

// drawRows gives a dataset in which every value is near another.
func drawRows(t *rapid.T) *rowsInMemory {
	optional := func(xs ...string) *rapid.Generator[string] { return rapid.SampledFrom(append(xs, "")) }
	n := rapid.IntRange(0, 60).Draw(t, "rows")
	seen := map[string]bool{}
	var rows [][]string
	for range n {
		code, day := rapid.SampledFrom([]string{"A", "B", "C", "D", "E", "F", "G"}).Draw(t, "code"), fmt.Sprintf("2026-0%d-01", rapid.IntRange(1, 9).Draw(t, "day"))
		if seen[code+day] {
			continue
		}
		seen[code+day] = true
		rows = append(rows, []string{code, day, optional("farm", "shop", "mill").Draw(t, "trade"), optional("沪东", "East", "x'; drop table t; --").Draw(t, "town"),
			optional("0", "-1", "1", "7", "9223372036854775807", "-9223372036854775807").Draw(t, "staff"),
			rapid.SampledFrom([]string{"0", "0.01", "-0.5", "12.34", "99999999999999999999999999999999.99"}).Draw(t, "tax"),
			optional("true", "false").Draw(t, "listed"), optional("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.001Z").Draw(t, "seen")})
	}
	return &rowsInMemory{enterprises(), sorted(rows)}
}

var values = map[string][]string{
	"day": {"2026-03-01", "2026-03-02", "1969-12-31"}, "trade": {"farm", "shop", "nowhere"}, "town": {"East", "沪东", "x'; drop table t; --", "none"},
	"staff": {"-1", "0", "1", "4611686018427387903"}, "tax": {"0", "0.01", "12.34", "-3"}, "listed": {"true", "false"},
	"seen": {"2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.001Z"},
}

func drawSpec(t *rapid.T) Spec {
	s := Spec{Epsilon: "1"}
	fields := []string{"day", "trade", "town", "staff", "tax", "listed", "seen"}
	for range rapid.IntRange(0, 3).Draw(t, "filters") {
		f := Filter{Field: rapid.SampledFrom(fields).Draw(t, "filter")}
		ops := []Operator{Equal, Unequal, In, Empty, Filled}
		if f.Field != "trade" && f.Field != "town" && f.Field != "listed" {
			ops = append(ops, Less, LessEqual, Greater, GreaterEqual)
		}
		f.Operator = rapid.SampledFrom(ops).Draw(t, "operator")
		switch f.Operator {
		case Empty, Filled:
		case In:
			f.Values = values[f.Field][:2]
		default:
			f.Values = []string{rapid.SampledFrom(values[f.Field]).Draw(t, "value")}
		}
		s.Filters = append(s.Filters, f)
	}
	for range rapid.IntRange(0, 3).Draw(t, "groups") {
		s.GroupBy = append(s.GroupBy, rapid.SampledFrom([]string{"day", "trade", "town", "staff", "listed"}).Draw(t, "group"))
	}
	s.Aggregates = []Aggregate{{Function: Count}}
	for range rapid.IntRange(0, 3).Draw(t, "aggregates") {
		s.Aggregates = append(s.Aggregates, rapid.SampledFrom([]Aggregate{{Field: "staff", Function: Sum, Lower: "-1", Upper: "5"}, {Field: "staff", Function: Mean, Lower: "-1", Upper: "5"},
			{Field: "staff", Function: Sum, Lower: "0", Upper: "100000"}, {Field: "tax", Function: Mean, Lower: "-0.25", Upper: "1000"}, {Field: "tax", Function: Sum, Lower: "0.01", Upper: "13"}}).Draw(t, "aggregate"))
	}
	return s.Ordered()
}

// TestEngines holds what the engines give against each other and against the oracle.
func TestEngines(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		src := drawRows(t)
		tb, err := openTable(context.Background(), dir, src)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s := drawSpec(t)
			perSubject := rapid.IntRange(1, 3).Draw(t, "rows per subject")
			spec, err := ParseSpec(s.Bytes())
			if err != nil {
				t.Fatalf("%s: %v", s.Bytes(), err)
			}
			p, r := compile(spec, src.schema, &tb.header, int64(perSubject))
			if r != nil {
				t.Fatalf("%s: %v", s.Bytes(), r)
			}
			want := oracle(t, spec, src, perSubject)
			plainly, err := plainEngine(tb.path, &p.program)
			if err != nil {
				t.Fatal(err)
			}
			if got := told(t, p, tb, src, plainly); !equal(got, want) {
				t.Fatalf("%s\nplain: %v\nwant:  %v", s.Bytes(), got, want)
			}
			built, err := builtEngine(tb.path, &p.program, engineLimits{1, 512})
			if err != nil {
				t.Fatal(err)
			}
			if got := told(t, p, tb, src, built); !equal(got, want) {
				t.Fatalf("%s\n%s: %v\nwant: %v", s.Bytes(), EngineName, got, want)
			}
		}
		os.Remove(tb.path)
		os.Remove(headerPath(tb.path))
	})
}

func equal(a, b map[string]string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func TestTooManyGroups(t *testing.T) {
	var rows [][]string
	for i := range maxCells + 1 {
		rows = append(rows, []string{fmt.Sprintf("%06d", i), "2026-01-01", "", "", fmt.Sprint(i), "0", "", ""})
	}
	src := &rowsInMemory{enterprises(), rows}
	tb := mustTable(t, src)
	s := Spec{Epsilon: "1", GroupBy: []string{"staff"}, Aggregates: []Aggregate{{Function: Count}}}.Ordered()
	p, r := compile(&s, src.schema, &tb.header, 1)
	if r != nil {
		t.Fatal(r)
	}
	if _, err := plainEngine(tb.path, &p.program); !errors.Is(err, errTooManyGroups) {
		t.Error(err)
	}
	if _, err := builtEngine(tb.path, &p.program, engineLimits{2, 512}); !errors.Is(err, errTooManyGroups) {
		t.Error(err)
	}
}
