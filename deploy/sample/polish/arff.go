package polish

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// relation is an ARFF file: its attributes and, as text, its rows.
type relation struct {
	attributes []attribute
	rows       [][]string
}

type attribute struct {
	name    string
	nominal []string // allowed values; nil means numeric
}

const maxLineBytes = 64 << 10

// parseARFF reads the part of ARFF that numeric data sets use: @relation, @attribute with numeric or {…}, @data, one
// row a line, ? for a gap. Anything else is refused with its line. The file of this data set has one line after @data
// that is no row; skip says which, and it may be there once at most.
func parseARFF(r io.Reader, skip func(line string) bool) (*relation, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLineBytes)
	rel, section, skipped, n := &relation{}, 0, false, 0
	fail := func(format string, args ...any) (*relation, error) {
		return nil, fmt.Errorf("couldn't read ARFF: line %d: %s", n, fmt.Sprintf(format, args...))
	}
	for lines.Scan() {
		n++
		line := lines.Text()
		switch {
		case line == "" && section < 2, strings.HasPrefix(line, "%"):
		case section == 0:
			if !strings.HasPrefix(line, "@relation ") {
				return fail("want @relation")
			}
			section = 1
		case section == 1 && line == "@data":
			if len(rel.attributes) == 0 {
				return fail("no attributes before @data")
			}
			section = 2
		case section == 1:
			a, err := parseAttribute(line)
			if err != nil {
				return fail("%v", err)
			}
			if slices.ContainsFunc(rel.attributes, func(b attribute) bool { return a.name == b.name }) {
				return fail("attribute %s is there twice", a.name)
			}
			rel.attributes = append(rel.attributes, a)
		case !skipped && len(rel.rows) == 0 && skip(line):
			skipped = true
		default:
			row, err := rel.parseRow(line)
			if err != nil {
				return fail("%v", err)
			}
			rel.rows = append(rel.rows, row)
		}
	}
	n++
	if err := lines.Err(); err != nil {
		return fail("%v", err)
	}
	if section < 2 {
		return fail("the file ends before @data")
	}
	return rel, nil
}

func parseAttribute(line string) (attribute, error) {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || parts[0] != "@attribute" || parts[1] == "" {
		return attribute{}, errors.New("want @attribute NAME TYPE")
	}
	a := attribute{name: parts[1]}
	if parts[2] == "numeric" {
		return a, nil
	}
	list, open := strings.CutPrefix(parts[2], "{")
	list, closed := strings.CutSuffix(list, "}")
	a.nominal = strings.Split(list, ",")
	if !open || !closed || slices.Contains(a.nominal, "") {
		return attribute{}, fmt.Errorf("attribute %s is neither numeric nor {…}", a.name)
	}
	return a, nil
}

func (rel *relation) parseRow(line string) ([]string, error) {
	row := strings.Split(line, ",")
	if len(row) != len(rel.attributes) {
		return nil, fmt.Errorf("%d values for %d attributes", len(row), len(rel.attributes))
	}
	for i, v := range row {
		a := &rel.attributes[i]
		switch {
		case v == gap:
		case a.nominal != nil && !slices.Contains(a.nominal, v):
			return nil, fmt.Errorf("%s is none of its values", a.name)
		case a.nominal == nil:
			if _, err := ParseMicro(v); err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
		}
	}
	return row, nil
}

const gap = "?"
