package score

import (
	"slices"
	"strings"
)

// choose gives the value's choice among the feature's bins or groups, or 0 and the scaled value of a linear one.
func (f *Feature) choose(text string) (choice int, level int64, ok bool) {
	if text == "" {
		return f.choices() - 1, 0, f.Missing
	}
	if f.Kind == Groups {
		for i, g := range f.Groups {
			if _, has := slices.BinarySearch(g, text); has {
				return i + 1, 0, true
			}
		}
		return 0, 0, true
	}
	v, ok := micro(text)
	if !ok {
		return 0, 0, false
	}
	if f.Kind == Bins {
		i, _ := slices.BinarySearch(f.Edges, v)
		return i, 0, true
	}
	d := v - f.Offset
	if d < 0 {
		return 0, 0, true
	}
	return 0, min(d/f.Step, f.Max), true
}

// Encode turns the values of one company, in the order of the features, into the integers of its columns. "" is an
// empty value.
func (s *Spec) Encode(values []string) ([]int64, error) {
	if len(values) != len(s.Features) {
		return nil, refuse(CodeArity, "%d values for %d features", len(values), len(s.Features))
	}
	row := make([]int64, 0, s.Columns())
	for i := range s.Features {
		f := &s.Features[i]
		choice, level, ok := f.choose(values[i])
		if !ok {
			return nil, refuse(CodeValue, "feature %d: empty, or no decimal of six places", i)
		}
		if f.Kind == Linear {
			row = append(row, level)
		}
		at := len(row)
		row = append(row, make([]int64, f.choices()-1)...)
		if choice > 0 {
			row[at+choice-1] = 1
		}
	}
	return row, nil
}

// micro reads a decimal as millionths. More than six places are refused: rounding would be a choice of its own.
func micro(text string) (int64, bool) {
	body, negative := strings.CutPrefix(text, "-")
	whole, fraction, point := strings.Cut(body, ".")
	fraction = strings.TrimRight(fraction, "0")
	if whole == "" || len(whole) > 11 || len(whole) > 1 && whole[0] == '0' || point && body[len(body)-1] == '.' || len(fraction) > 6 {
		return 0, false
	}
	var n int64
	for _, part := range [2]string{whole, fraction} {
		for i := range len(part) {
			if part[i] < '0' || part[i] > '9' {
				return 0, false
			}
			n = n*10 + int64(part[i]-'0')
		}
	}
	for range 6 - len(fraction) {
		n *= 10
	}
	if negative {
		n = -n
	}
	return n, true
}
