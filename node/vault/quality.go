package vault

import "github.com/bund-exchange/bund/contracts"

// Dimensions of GB/T 36344-2018 that a node can count from rows. 可访问性 (accessibility) shows in use, not in rows.
const (
	Conformity   = "conformity"   // 规范性
	Completeness = "completeness" // 完整性
	Accuracy     = "accuracy"     // 准确性
	Consistency  = "consistency"  // 一致性
	Timeliness   = "timeliness"   // 时效性
)

// counter counts what the quality figures need while rows pass by.
type counter struct {
	schema     *Schema
	rows       int64
	full       int64   // rows without an empty value
	filled     []int64 // by field
	conforming []int64 // by field, of the filled
	ordered    int64   // knownAt not before asOf
	prompt     int64   // knownAt within the lag after asOf
}

func newCounter(s *Schema) *counter {
	return &counter{schema: s, filled: make([]int64, len(s.Fields)), conforming: make([]int64, len(s.Fields))}
}

func (c *counter) times(asOf, knownAt contracts.Millis) {
	if knownAt >= asOf {
		c.ordered++
	}
	if knownAt <= asOf.Add(c.schema.LagHours*3600) {
		c.prompt++
	}
}

// figures gives one count per rule: rows or values satisfying it, of those tested.
func (c *counter) figures() []contracts.QualityFigure {
	var q []contracts.QualityFigure
	add := func(dimension, rule string, satisfying, tested int64) {
		q = append(q, contracts.QualityFigure{Dimension: dimension, Rule: rule, Satisfying: satisfying, Tested: tested})
	}
	add(Completeness, "record", c.full, c.rows)
	for i := range c.schema.Fields {
		add(Completeness, "element."+c.schema.Fields[i].Name, c.filled[i], c.rows)
	}
	// A row that breaks a type or repeats a key is refused with the whole import, so these hold for every row kept.
	add(Accuracy, "unique."+c.schema.Key, c.rows, c.rows)
	for i := range c.schema.Fields {
		switch f := &c.schema.Fields[i]; {
		case f.Format != "":
			add(Accuracy, "format."+f.Name, c.conforming[i], c.filled[i])
		case f.Type == Coded:
			add(Conformity, "codes."+f.Name, c.conforming[i], c.filled[i])
		case f.Type != Text:
			add(Accuracy, "format."+f.Name, c.filled[i], c.filled[i])
		}
	}
	if c.schema.KnownAt != "" {
		add(Consistency, "known_not_before_fact", c.ordered, c.rows)
		if c.schema.LagHours > 0 {
			add(Timeliness, "known_within_lag", c.prompt, c.rows)
		}
	}
	return q
}
