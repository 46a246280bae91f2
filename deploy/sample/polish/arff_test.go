package polish

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const smallARFF = "@relation 'x'\n\n@attribute A numeric\n@attribute class {0,1}\n\n@data\n1.5,0\n?,1\r\n"

func never(string) bool { return false }

func TestParseARFF(t *testing.T) {
	rel, err := parseARFF(strings.NewReader(smallARFF), never)
	if err != nil || len(rel.rows) != 2 || rel.rows[0][0] != "1.5" || rel.rows[1][0] != gap || len(rel.attributes) != 2 {
		t.Fatalf("got %+v, %v", rel, err)
	}
	for name, change := range map[string][2]string{
		"no relation":         {"@relation 'x'", "@data"},
		"no data":             {"@data\n1.5,0\n?,1\r\n", ""},
		"unknown type":        {"A numeric", "A string"},
		"open list":           {"{0,1}", "{0,1"},
		"empty list":          {"{0,1}", "{}"},
		"attribute twice":     {"class {0,1}", "A {0,1}"},
		"name line elsewhere": {"?,1", "names"},
		"ragged":              {"1.5,0", "1.5,0,0"},
		"blank row":           {"1.5,0\n", "1.5,0\n\n"},
		"unknown class":       {"1.5,0", "1.5,2"},
		"exponent":            {"1.5,0", "1e5,0"},
		"too fine":            {"1.5,0", "1.0000001,0"},
		"space":               {"1.5,0", " 1.5,0"},
		"no number":           {"1.5,0", ",0"},
		"long line":           {"1.5,0", strings.Repeat("1", maxLineBytes) + ",0"},
	} {
		text := strings.Replace(smallARFF, change[0], change[1], 1)
		if text == smallARFF {
			t.Fatalf("%s changes nothing", name)
		}
		rel, err := parseARFF(strings.NewReader(text), func(line string) bool { return line == "names" })
		if err == nil {
			t.Errorf("%s: accepted %+v", name, rel)
		} else if !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: the error names no line: %v", name, err)
		}
	}
	for text, ok := range map[string]bool{"names\n1.5,0": true, "names\nnames\n1.5,0": false} {
		_, err := parseARFF(strings.NewReader(strings.Replace(smallARFF, "1.5,0", text, 1)), func(line string) bool { return line == "names" })
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseARFF(f *testing.F) {
	f.Add(smallARFF)
	f.Add("@relation x\n@attribute a {b}\n@data\nb\n?")
	f.Add("%\n@relation x\n@attribute a numeric\n@data\n-0.000001")
	f.Fuzz(func(t *testing.T, text string) {
		rel, err := parseARFF(strings.NewReader(text), never)
		if err != nil {
			return
		}
		for _, row := range rel.rows {
			if len(row) != len(rel.attributes) {
				t.Fatalf("row %v of %d attributes", row, len(rel.attributes))
			}
		}
	})
}

func TestMicro(t *testing.T) {
	for text, want := range map[string]Micro{"0": 0, "-0": 0, "1": 1e6, "-1.5": -15e5, "0.000001": 1, "12.5000000": 125e5, "99999999999": 99999999999e6} {
		if got, err := ParseMicro(text); err != nil || got != want {
			t.Errorf("%s: got %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-", "+1", "01", "1.", ".5", "1e3", "0.0000001", "999999999999", "1,5", "NaN", " 1", "--1"} {
		if got, err := ParseMicro(text); err == nil {
			t.Errorf("%q: accepted as %d", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		m := Micro(rapid.Int64Range(-1e17+1, 1e17-1).Draw(t, "micro"))
		if back, err := ParseMicro(m.String()); err != nil || back != m {
			t.Fatalf("%d is written %s and read %d, %v", m, m, back, err)
		}
	})
}

// TestOneWayToWrite: equal rows are equal texts, as distinct assumes.
func TestOneWayToWrite(t *testing.T) {
	companies, err := Companies()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[ratios + 1]Micro]bool{}
	for i := range companies {
		seen[companies[i].ratio] = true
	}
	if len(seen) != Count {
		t.Errorf("%d different rows of %d", len(seen), Count)
	}
}
