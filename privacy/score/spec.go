package score

import (
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Limits of a specification. MaxBins keeps features coarse: a score is an equation in its columns, and the fewer bins
// the less of a value it can ever show.
const (
	MaxFeatures  = 256
	MaxBins      = 32
	MaxLevels    = 1 << 16 // values that a linear feature takes
	MaxSpecBytes = 256 << 10
	maxNameBytes = 128
	maxEdge      = 1e17 // millionths
)

// Kind says how a feature's value becomes columns.
type Kind string

// Kinds of features.
const (
	Bins   Kind = "bins"   // a number, one-hot by the interval it falls into
	Groups Kind = "groups" // a text, one-hot by the group of codes that has it
	Linear Kind = "linear" // a number, scaled to an integer
)

// Feature says what the provider makes of one of its fields. Numbers are decimals with at most six places, and count
// in millionths.
//
// Bins and groups leave their first choice without a column: its weight is part of the card's constant.
type Feature struct {
	Name    string     `json:"name"` // the provider's field
	Kind    Kind       `json:"kind"`
	Missing bool       `json:"missing,omitempty"` // an empty value is a choice of its own, the last; else it is refused
	Edges   []int64    `json:"edges,omitempty"`   // of bins: v is in the bin of the first edge ≥ v, or in the last
	Groups  [][]string `json:"groups,omitempty"`  // choice 0 is a code that no group has, choice i is Groups[i−1]
	Offset  int64      `json:"offset,omitempty"`  // of linear: floor((v − Offset) ÷ Step), held within [0, Max]
	Step    int64      `json:"step,omitempty"`
	Max     int64      `json:"max,omitempty"`
}

// Spec is shared in clear: the provider's features in the order of the card's weights.
type Spec struct {
	Features []Feature `json:"features"`
}

// choices is how many weights the feature has.
func (f *Feature) choices() int {
	n := 1
	switch f.Kind {
	case Bins:
		n = len(f.Edges) + 1
	case Groups:
		n = len(f.Groups) + 1
	}
	if f.Missing {
		n++
	}
	return n
}

func (f *Feature) columns() int {
	if f.Kind == Linear {
		return f.choices()
	}
	return f.choices() - 1
}

// bound is the largest value of the feature's column c.
func (f *Feature) bound(c int) int64 {
	if f.Kind == Linear && c == 0 {
		return f.Max
	}
	return 1
}

// Columns is the arity of a model: ciphertexts in it, and integers for each company.
func (s *Spec) Columns() int {
	n := 0
	for i := range s.Features {
		n += s.Features[i].columns()
	}
	return n
}

// Digest names the specification on the ledger.
func (s *Spec) Digest() contracts.Hash {
	return contracts.HashOf("bund/score/spec/v1", canon.Marshal(s))
}

// Names lists the provider's fields that the specification reads.
func (s *Spec) Names() []string {
	names := make([]string, len(s.Features))
	for i := range s.Features {
		names[i] = s.Features[i].Name
	}
	return names
}

// Check refuses what no provider can compute, or what more than one specification would say.
func (s *Spec) Check() error {
	if n := len(s.Features); n == 0 || n > MaxFeatures {
		return refuse(CodeSpec, "%d features, want 1 to %d", n, MaxFeatures)
	}
	seen := map[string]bool{}
	for i := range s.Features {
		f := &s.Features[i]
		if f.Name == "" || len(f.Name) > maxNameBytes || seen[f.Name] {
			return refuse(CodeSpec, "feature %d has no name of its own", i)
		}
		seen[f.Name] = true
		if err := f.check(i); err != nil {
			return err
		}
	}
	if n := s.Columns(); n > MaxColumns {
		return refuse(CodeSpec, "%d columns, at most %d", n, MaxColumns)
	}
	return nil
}

func (f *Feature) check(i int) error {
	binned, grouped, linear := len(f.Edges) > 0, len(f.Groups) > 0, f.Offset != 0 || f.Step != 0 || f.Max != 0
	switch {
	case f.Kind == Bins && binned && !grouped && !linear:
		for k, e := range f.Edges {
			if e <= -maxEdge || e >= maxEdge || k > 0 && e <= f.Edges[k-1] {
				return refuse(CodeSpec, "feature %d: edge %d is out of range or order", i, k)
			}
		}
	case f.Kind == Groups && grouped && !binned && !linear:
		seen := map[string]bool{}
		for k, g := range f.Groups {
			if len(g) == 0 || !slices.IsSorted(g) {
				return refuse(CodeSpec, "feature %d: group %d is empty or not in order", i, k)
			}
			for _, code := range g {
				if code == "" || len(code) > maxNameBytes || seen[code] {
					return refuse(CodeSpec, "feature %d: a code of group %d is empty, too long or there twice", i, k)
				}
				seen[code] = true
			}
		}
	case f.Kind == Linear && linear && !binned && !grouped:
		if f.Offset <= -maxEdge || f.Offset >= maxEdge || f.Step < 1 || f.Step >= maxEdge || f.Max < 1 || f.Max >= MaxLevels {
			return refuse(CodeSpec, "feature %d: offset, step or max is out of range", i)
		}
	default:
		return refuse(CodeSpec, "feature %d is of no kind, or has another kind's members", i)
	}
	if f.choices() > MaxBins {
		return refuse(CodeSpec, "feature %d has %d choices, at most %d", i, f.choices(), MaxBins)
	}
	return nil
}

// ReadSpec decodes canonical JSON.
func ReadSpec(b []byte) (*Spec, error) {
	if len(b) > MaxSpecBytes {
		return nil, refuse(CodeSpec, "more than %d bytes", MaxSpecBytes)
	}
	s := new(Spec)
	if err := canon.Unmarshal(b, s); err != nil {
		return nil, refuse(CodeSpec, "%v", err)
	}
	return s, nil
}
