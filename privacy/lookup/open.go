package lookup

import (
	"maps"
	"slices"
)

// Evaluated is what a bank holds of ids whose evaluation it got. It opens their rows until the epoch has ended.
type Evaluated struct {
	commitment *Commitment
	ids        [][]byte
	outputs    [][outputBytes]byte
	derived    []derived
}

// Records are those of a committed table, or of its buckets. Find gives a record by its tag, or false when there is
// none. It must not be asked of the provider: it knows whose tag it is.
type Records interface {
	Find(tag Tag) (record []byte, found bool, err error)
}

// Answer is what the table says of one id.
type Answer struct {
	ID    []byte
	Found bool // false: NOT_FOUND, the table has no row of it
	Value []byte
}

// Buckets gives the numbers of the buckets in which the rows would be, each once, in ascending order.
func (e *Evaluated) Buckets(h *Head) []uint32 {
	seen := map[uint32]bool{}
	for _, d := range e.derived {
		seen[h.Bucket(d.tag)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// Open looks all ids up, in the order in which they were asked about.
func (e *Evaluated) Open(h *Head, records Records) ([]Answer, error) {
	if err := h.of(e.commitment); err != nil {
		return nil, err
	}
	base := h.digest()
	out := make([]Answer, len(e.ids))
	for i := range e.ids {
		out[i].ID = e.ids[i]
		record, found, err := records.Find(e.derived[i].tag)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		if out[i].Value, err = e.derived[i].open(&base, record); err != nil {
			return nil, err
		}
		out[i].Found = true
	}
	return out, nil
}
