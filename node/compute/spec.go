package compute

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts/canon"
)

// Limits of a query.
const (
	MaxAggregates = 8
	MaxFilters    = 16
	MaxValues     = 256 // of one filter
	MaxGroupBy    = 4
	maxTextBytes  = 256 // of one value, name or bound
	maxSpecBytes  = 64 << 10
)

// Spec is a query: which rows count, how they are grouped, what is said of each group, and how much of the dataset's
// privacy budget that may cost. There is no SQL in it.
//
// Lists are ascending and name nothing twice, so that one question has one form, which is what makes two questions
// identical; Ordered brings a spec into that form.
type Spec struct {
	Aggregates []Aggregate `json:"aggregates"`
	// Epsilon is what the query may cost, as a decimal with up to six places: "0.5".
	Epsilon string   `json:"epsilon"`
	Filters []Filter `json:"filters"` // a row counts when all of them hold
	GroupBy []string `json:"groupBy"` // fields; none gives one figure over all rows that count
}

// Function is what is said of the rows of a group.
type Function string

// The functions: those that can be released with noise that is known to be enough. A minimum or a maximum is one row's
// own value, so there is none.
const (
	Count Function = "count" // rows
	Sum   Function = "sum"   // of a field's values, each brought within Lower and Upper first
	Mean  Function = "mean"  // the same, divided by the number of rows where the field isn't empty
)

// Aggregate is one figure of each group. Lower and Upper are in the field's own unit and written as its values are.
type Aggregate struct {
	Field    string   `json:"field,omitempty"` // sum and mean only: an integer or decimal
	Function Function `json:"function"`
	Lower    string   `json:"lower,omitempty"`
	Upper    string   `json:"upper,omitempty"`
}

// Operator compares a field with a filter's values. An empty field satisfies none but Empty, Unequal neither.
type Operator string

// The operators. Lesser and greater are for integers, decimals, dates and times.
const (
	Equal        Operator = "eq"
	Unequal      Operator = "ne"
	Less         Operator = "lt"
	LessEqual    Operator = "le"
	Greater      Operator = "gt"
	GreaterEqual Operator = "ge"
	In           Operator = "in" // one of two or more values
	Empty        Operator = "empty"
	Filled       Operator = "filled"
)

// Filter is one condition. Values are written as the field's own are.
type Filter struct {
	Field    string   `json:"field"`
	Operator Operator `json:"operator"`
	Values   []string `json:"values"` // one; two or more for In; none for Empty and Filled
}

// ParseSpec reads a query: exactly the canonical bytes. Its error says what is wrong without repeating values.
func ParseSpec(b []byte) (*Spec, error) {
	if len(b) > maxSpecBytes {
		return nil, fmt.Errorf("a query has %d bytes at most", maxSpecBytes)
	}
	s := new(Spec)
	if err := canon.Unmarshal(b, s); err != nil {
		return nil, err
	}
	return s, nil
}

// Canonical brings a spec that somebody wrote into its one form and checks it, on the asking side.
func (s Spec) Canonical() ([]byte, error) {
	size := 0
	for _, f := range s.Filters {
		for _, v := range f.Values {
			size += len(v)
		}
	}
	for _, name := range s.Fields() {
		size += len(name)
	}
	if size > maxSpecBytes || len(s.Filters)+len(s.Aggregates)+len(s.GroupBy) > maxSpecBytes/64 {
		return nil, fmt.Errorf("a query has %d bytes at most", maxSpecBytes)
	}
	b := s.Ordered().Bytes()
	_, err := ParseSpec(b)
	return b, err
}

// Bytes gives the canonical form of a valid spec.
func (s Spec) Bytes() []byte { return canon.Marshal(s) }

// Ordered gives the spec in its one form: lists sorted, what was there twice once.
func (s Spec) Ordered() Spec {
	filters := make([]Filter, len(s.Filters))
	for i, f := range s.Filters {
		f.Values = slices.Compact(slices.Sorted(slices.Values(f.Values)))
		filters[i] = f
	}
	slices.SortFunc(filters, Filter.compare)
	s.Filters = slices.CompactFunc(filters, func(a, b Filter) bool { return a.compare(b) == 0 })
	s.Aggregates = slices.Compact(slices.SortedFunc(slices.Values(s.Aggregates), Aggregate.compare))
	s.GroupBy = slices.Compact(slices.Sorted(slices.Values(s.GroupBy)))
	return s
}

// Fields lists every field that the answer depends on, ascending: all of them must be permitted.
func (s *Spec) Fields() []string {
	var names []string
	for _, a := range s.Aggregates {
		if a.Field != "" {
			names = append(names, a.Field)
		}
	}
	for _, f := range s.Filters {
		names = append(names, f.Field)
	}
	return slices.Compact(slices.Sorted(slices.Values(append(names, s.GroupBy...))))
}

func (f Filter) compare(g Filter) int {
	return cmp.Or(cmp.Compare(f.Field, g.Field), cmp.Compare(f.Operator, g.Operator), slices.Compare(f.Values, g.Values))
}

func (a Aggregate) compare(b Aggregate) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Function, b.Function), cmp.Compare(a.Lower, b.Lower), cmp.Compare(a.Upper, b.Upper))
}

// Check reports a spec that isn't in its one form or says too much. Whether it fits a dataset is compile's to say.
func (s Spec) Check() error {
	switch {
	case len(s.Aggregates) == 0 || len(s.Aggregates) > MaxAggregates:
		return fmt.Errorf("aggregates: want 1 to %d", MaxAggregates)
	case len(s.Filters) > MaxFilters:
		return fmt.Errorf("filters: want %d at most", MaxFilters)
	case len(s.GroupBy) > MaxGroupBy:
		return fmt.Errorf("groupBy: want %d fields at most", MaxGroupBy)
	case !ascending(s.Aggregates, Aggregate.compare):
		return errors.New("aggregates: want them ascending by field, function and bounds, none twice")
	case !ascending(s.Filters, Filter.compare):
		return errors.New("filters: want them ascending by field, operator and values, none twice")
	case !ascending(s.GroupBy, strings.Compare):
		return errors.New("groupBy: want names ascending, none twice")
	}
	if _, err := parseEpsilon(s.Epsilon); err != nil {
		return fmt.Errorf("epsilon: %w", err)
	}
	return nil
}

// Check reports an aggregate whose parts don't belong together.
func (a Aggregate) Check() error {
	switch a.Function {
	case Count:
		if a.Field != "" || a.Lower != "" || a.Upper != "" {
			return errors.New("count counts rows: it has no field and no bounds")
		}
	case Sum, Mean:
		if a.Field == "" || a.Lower == "" || a.Upper == "" || len(a.Field)+len(a.Lower)+len(a.Upper) > 3*maxTextBytes {
			return errors.New("sum and mean have a field, lower and upper")
		}
	default:
		return errors.New("function: want count, sum or mean")
	}
	return nil
}

// Check reports a filter with too few or too many values.
func (f Filter) Check() error {
	low, high := 1, 1
	switch f.Operator {
	case Equal, Unequal, Less, LessEqual, Greater, GreaterEqual:
	case In:
		low, high = 2, MaxValues
	case Empty, Filled:
		low, high = 0, 0
	default:
		return errors.New("operator: want eq, ne, lt, le, gt, ge, in, empty or filled")
	}
	if len(f.Values) < low || len(f.Values) > high {
		return fmt.Errorf("values: %s takes %d to %d", f.Operator, low, high)
	}
	if !ascending(f.Values, strings.Compare) {
		return errors.New("values: want them ascending, none twice")
	}
	for _, v := range f.Values {
		if v == "" || len(v) > maxTextBytes {
			return fmt.Errorf("values: want 1 to %d bytes; the operator empty asks for empty fields", maxTextBytes)
		}
	}
	return nil
}

func ascending[T any](xs []T, compare func(a, b T) int) bool {
	for i := 1; i < len(xs); i++ {
		if compare(xs[i-1], xs[i]) >= 0 {
			return false
		}
	}
	return true
}
