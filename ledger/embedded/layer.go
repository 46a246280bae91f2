package embedded

import (
	"maps"
	"slices"
)

// cell is a value together with the position of the entry that wrote it last. A nil value is a deletion.
type cell struct {
	value    []byte
	position uint64
}

// layer is a set of changes over what lies below it. It has one writer, which excludes readers.
type layer map[string]cell

// keys gives every key in order.
func (l layer) keys() []string { return slices.Sorted(maps.Keys(l)) }
