package embedded

import (
	"slices"
	"strings"
	"sync"
)

// cell is a value together with the position of the entry that wrote it last. A nil value is a deletion.
type cell struct {
	value    []byte
	position uint64
}

// layer is a set of changes over what lies below it. Keys are put in order only when somebody scans. It has one
// writer, which excludes readers; readers may be many.
type layer struct {
	cells map[string]cell
	fresh []string // not yet in sorted

	mu     sync.Mutex // readers put keys in order
	sorted []string
}

func newLayer() *layer { return &layer{cells: map[string]cell{}} }

func (l *layer) put(key string, c cell) {
	if _, there := l.cells[key]; !there {
		l.fresh = append(l.fresh, key)
	}
	l.cells[key] = c
}

// keys gives every key in order.
func (l *layer) keys() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fresh) > 0 {
		slices.Sort(l.fresh)
		l.sorted = mergeSorted(l.sorted, l.fresh)
		l.fresh = nil
	}
	return l.sorted
}

// under gives the keys that begin with prefix, in order.
func (l *layer) under(prefix string) []string {
	ks := l.keys()
	from, _ := slices.BinarySearch(ks, prefix)
	to := from
	for to < len(ks) && strings.HasPrefix(ks[to], prefix) {
		to++
	}
	return ks[from:to]
}

// mergeSorted merges two sorted lists without a common element.
func mergeSorted(a, b []string) []string {
	if len(a) == 0 {
		return b
	}
	out := make([]string, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0] < b[0] {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}
