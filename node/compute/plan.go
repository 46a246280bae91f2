package compute

import (
	"fmt"
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/dictionary"
)

// Refusals of a query that doesn't fit the dataset. Their details name fields and rules, never values of the dataset.
const (
	Malformed contracts.Code = "compute.malformed" // not the one form of a query
	BadField  contracts.Code = "compute.field"     // no such field, or not for this use of it
	BadValue  contracts.Code = "compute.value"     // a value or bound that the field can't have
)

// program is a query in the working table's own numbers: all that the child is told. Conditions and clamps are over
// columns by number.
type program struct {
	Shapes     []shape     `json:"shapes"`   // of all columns
	Subjects   int64       `json:"subjects"` // in the table
	Conditions []condition `json:"conditions"`
	Groups     []int64     `json:"groups"`
	Sums       []clamp     `json:"sums"`
	// RowsPerSubject is how many of a subject's rows count at most: its newest, before any condition.
	RowsPerSubject int64 `json:"rowsPerSubject"`
}

type condition struct {
	Column   int64    `json:"column"`
	Operator Operator `json:"operator"`
	Values   []int64  `json:"values"`
}

// clamp brings a column's values between two bounds. Each stands for one sum and one count of rows that aren't empty.
type clamp struct {
	Column int64 `json:"column"`
	Lower  int64 `json:"lower"`
	Upper  int64 `json:"upper"`
}

// plan is a query that fits a table.
type plan struct {
	spec    *Spec
	schema  *dictionary.Dictionary
	epsilon epsilonMicro
	program program
	sums    []int // by aggregate: its place in program.Sums, -1 for count
}

func refuse(code contracts.Code, format string, args ...any) *contracts.Refusal {
	return &contracts.Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// compile holds a valid spec against the dataset. Its refusals depend on the schema, and on the table only in which
// texts it lists at all.
func compile(s *Spec, schema *dictionary.Dictionary, h *header, rowsPerSubject int64) (*plan, *contracts.Refusal) {
	p := &plan{spec: s, schema: schema, program: program{Subjects: h.Subjects, RowsPerSubject: rowsPerSubject, Shapes: make([]shape, len(h.Columns)), Conditions: []condition{}, Groups: []int64{}, Sums: []clamp{}}}
	for i := range h.Columns {
		p.program.Shapes[i] = h.Columns[i].shape
	}
	var err error
	if p.epsilon, err = parseEpsilon(s.Epsilon); err != nil {
		return nil, refuse(Malformed, "epsilon: %v", err)
	}
	for i := range s.Filters {
		if r := p.filter(&s.Filters[i], h); r != nil {
			return nil, r
		}
	}
	for _, name := range s.GroupBy {
		c, f, r := p.column(name, h)
		if r != nil {
			return nil, r
		}
		if f.Type == dictionary.Decimal || f.Type == dictionary.Instant {
			return nil, refuse(BadField, "field %s: groups are made by texts, codes, integers, booleans and dates", name)
		}
		p.program.Groups = append(p.program.Groups, int64(c))
	}
	for _, a := range s.Aggregates {
		if r := p.aggregate(a, h); r != nil {
			return nil, r
		}
	}
	return p, nil
}

// column finds the column of a field that a query may name.
func (p *plan) column(name string, h *header) (int, *dictionary.Field, *contracts.Refusal) {
	i := p.schema.Index(name)
	switch {
	case i < 0:
		return 0, nil, refuse(BadField, "the dataset has no field of that name")
	case name == p.schema.Key:
		return 0, nil, refuse(BadField, "field %s is the key, which names a subject: a statistic doesn't", name)
	}
	c := slices.IndexFunc(h.Columns, func(c column) bool { return c.Field == name })
	if c < 0 {
		return 0, nil, refuse(BadField, "field %s has too many different texts: each of them would name few subjects", name)
	}
	return c, &p.schema.Fields[i], nil
}

func (p *plan) filter(f *Filter, h *header) *contracts.Refusal {
	c, field, r := p.column(f.Field, h)
	if r != nil {
		return r
	}
	listed := field.Type == dictionary.Text || field.Type == dictionary.Coded
	switch f.Operator {
	case Less, LessEqual, Greater, GreaterEqual:
		if listed || field.Type == dictionary.Boolean {
			return refuse(BadField, "field %s has no order", f.Field)
		}
	}
	cond := condition{Column: int64(c), Operator: f.Operator, Values: []int64{}}
	for _, v := range f.Values {
		n, err := notListed, error(nil)
		if listed {
			n = h.Columns[c].place(v)
		} else {
			n, err = bound(field, v)
		}
		if err != nil {
			return refuse(BadValue, "field %s: %v", f.Field, err)
		}
		cond.Values = append(cond.Values, n)
	}
	p.program.Conditions = append(p.program.Conditions, cond)
	return nil
}

func (p *plan) aggregate(a Aggregate, h *header) *contracts.Refusal {
	if a.Function == Count {
		p.sums = append(p.sums, -1)
		return nil
	}
	c, field, r := p.column(a.Field, h)
	if r != nil {
		return r
	}
	if field.Type != dictionary.Integer && field.Type != dictionary.Decimal {
		return refuse(BadField, "field %s is no number", a.Field)
	}
	lower, err := bound(field, a.Lower)
	if err != nil {
		return refuse(BadValue, "field %s: lower: %v", a.Field, err)
	}
	upper, err := bound(field, a.Upper)
	if err != nil {
		return refuse(BadValue, "field %s: upper: %v", a.Field, err)
	}
	if lower >= upper {
		return refuse(BadValue, "field %s: want lower below upper", a.Field)
	}
	// A sum over every row must fit 63 bits, with room for the mean's doubling and for noise.
	rows := max(1, h.Rows)
	if most := (maxNumber / 4) / rows; max(lower, -lower) > most || max(upper, -upper) > most {
		return refuse(BadValue, "field %s: want bounds within ±%s: the sum of all rows would exceed 64 bits", a.Field, text(field, nil, roundDown(most)))
	}
	k := clamp{int64(c), lower, upper}
	i := slices.Index(p.program.Sums, k)
	if i < 0 {
		i = len(p.program.Sums)
		p.program.Sums = append(p.program.Sums, k)
	}
	p.sums = append(p.sums, i)
	return nil
}

// roundDown gives the power of ten below n, so that a detail doesn't tell the number of rows.
func roundDown(n int64) int64 {
	p := int64(1)
	for p <= n/10 {
		p *= 10
	}
	return p
}
