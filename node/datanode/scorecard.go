package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/bund-exchange/bund/privacy/score"
)

// cardFile is a bank's scorecard as people write it. Numbers are decimals, read exactly; scores and weights are rounded
// to whole units, half away from zero.
//
//	unit: 0.001                        # of all weights
//	base: -3.412
//	features:
//	  - {field: red_ratio, bins: [0.01, 0.05], weights: [-0.3, 0, 0.7], missing: 0.1}
//	                                   # value ≤ 0.01, ≤ 0.05, above; empty values are refused where missing is
//	  - {field: industry, groups: [[C, D], [G]], weights: [0, 0.1, -0.2]}
//	                                   # the first weight is of a code in no group
//	  - {field: age, from: 0, step: 1, most: 60, weight: -0.01}
//	                                   # for each whole step above from, most steps at most
type cardFile struct {
	Unit     string        `yaml:"unit"`
	Base     string        `yaml:"base"`
	Features []cardFeature `yaml:"features"`
}

type cardFeature struct {
	Field   string     `yaml:"field"`
	Bins    []string   `yaml:"bins"`
	Groups  [][]string `yaml:"groups"`
	Weights []string   `yaml:"weights"`
	From    string     `yaml:"from"`
	Step    string     `yaml:"step"`
	Most    int64      `yaml:"most"`
	Weight  string     `yaml:"weight"`
	Missing string     `yaml:"missing"`
}

// readCard reads a card. Its error says what to correct; it is for the bank's own eyes.
func readCard(b []byte) (*score.Card, error) {
	var f cardFile
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("scorecard: %w", err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("scorecard: want one YAML document")
	}
	unit, ok := decimal(f.Unit)
	if !ok || unit.Sign() <= 0 {
		return nil, errors.New("scorecard: unit is a decimal above zero, as 0.001")
	}
	units := func(text string) (int64, error) { return whole(text, unit) }
	c := new(score.Card)
	var err error
	if c.Base, err = units(f.Base); err != nil {
		return nil, fmt.Errorf("scorecard: base: %w", err)
	}
	for i := range f.Features {
		spec, weights, err := f.Features[i].read(units)
		if err != nil {
			return nil, fmt.Errorf("scorecard: features.%d: %w", i, err)
		}
		c.Spec.Features, c.Weights = append(c.Spec.Features, spec), append(c.Weights, weights)
	}
	if err := c.Spec.Check(); err != nil {
		return nil, err
	}
	return c, c.Check()
}

var millionth = big.NewRat(1, 1_000_000)

func (f *cardFeature) read(units func(string) (int64, error)) (spec score.Feature, weights []int64, err error) {
	spec = score.Feature{Name: f.Field, Missing: f.Missing != ""}
	written := f.Weights
	micro := func(name, text string) (v int64) {
		r, ok := decimal(text)
		if ok && !r.Quo(r, millionth).IsInt() {
			ok = false
		}
		if !ok || !r.Num().IsInt64() {
			err = errors.Join(err, fmt.Errorf("%s: %.40q is no decimal of six places", name, text))
			return 0
		}
		return r.Num().Int64()
	}
	switch {
	case f.Bins != nil && f.Groups == nil && f.Weight == "":
		spec.Kind = score.Bins
		for _, e := range f.Bins {
			spec.Edges = append(spec.Edges, micro("bins", e))
		}
	case f.Groups != nil && f.Bins == nil && f.Weight == "":
		spec.Kind = score.Groups
		for _, g := range f.Groups {
			spec.Groups = append(spec.Groups, slices.Sorted(slices.Values(g)))
		}
	case f.Weight != "" && f.Bins == nil && f.Groups == nil && f.Weights == nil:
		spec.Kind, spec.Max, written = score.Linear, f.Most, []string{f.Weight}
		spec.Offset, spec.Step = micro("from", f.From), micro("step", f.Step)
	default:
		err = errors.New("want bins with weights, groups with weights, or from, step, most and weight")
	}
	if spec.Missing {
		written = append(slices.Clone(written), f.Missing)
	}
	for _, text := range written {
		w, werr := units(text)
		err = errors.Join(err, werr)
		weights = append(weights, w)
	}
	return spec, weights, err
}

// decimal reads -?digits[.digits] exactly.
func decimal(text string) (*big.Rat, bool) {
	for i, c := range text {
		if (c < '0' || c > '9') && c != '.' && (c != '-' || i > 0) {
			return nil, false
		}
	}
	if len(text) > 40 {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// whole gives how many units a decimal is, rounded half away from zero.
func whole(text string, unit *big.Rat) (int64, error) {
	r, ok := decimal(text)
	if !ok {
		return 0, fmt.Errorf("%.40q is no decimal", text)
	}
	r.Quo(r, unit)
	half := big.NewRat(1, 2)
	if r.Sign() < 0 {
		half.Neg(half)
	}
	r.Add(r, half)
	n := new(big.Int).Quo(r.Num(), r.Denom()) // towards zero
	if !n.IsInt64() {
		return 0, fmt.Errorf("%.40q is out of range", text)
	}
	return n.Int64(), nil
}
