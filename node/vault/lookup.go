package vault

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/bund-exchange/bund/contracts"
)

// Outcome is how a lookup ended. The words are those of the receipts.
type Outcome string

// The outcomes of a lookup. NO_CONSENT is the gate's to say.
const (
	Found         Outcome = "FOUND"
	NotFound      Outcome = "NOT_FOUND"      // no row of this key, or none that early
	SourceTimeout Outcome = "SOURCE_TIMEOUT" // the context ended first
	SourceError   Outcome = "SOURCE_ERROR"   // reading failed, or what was read is damaged
	BadRequest    Outcome = "BAD_REQUEST"    // the query doesn't fit the schema
)

// Query asks for one row.
type Query struct {
	Key    string
	Fields []string // at least one; the answer has them in this order
	// AsOf asks for the latest facts not after it; 0 for the latest of all. KnownAt leaves out what the source learnt
	// later, so that a back-test sees a correction only from when it was made; 0 leaves out nothing. Of several rows
	// with the same asOf the one known last counts.
	AsOf, KnownAt contracts.Millis
}

// Answer is what a lookup gives.
type Answer struct {
	Outcome  Outcome
	Snapshot contracts.Hash
	AsOf     contracts.Millis // of the row found; 0 where the schema has no asOf
	KnownAt  contracts.Millis // of the row found; 0 where the schema has no knownAt
	Values   []Value          // of the fields asked for, when FOUND
	Detail   string           // why it is BAD_REQUEST; fit for the caller's eyes
	Err      error            // behind SOURCE_TIMEOUT and SOURCE_ERROR; for the node's log, not for the caller
}

// Value is one field of an answer, in the canonical text of its type.
type Value struct {
	Field string
	Text  string
	Empty bool
}

// Map gives the values that are not empty.
func (a *Answer) Map() map[string]string {
	m := make(map[string]string, len(a.Values))
	for _, v := range a.Values {
		if !v.Empty {
			m[v.Field] = v.Text
		}
	}
	return m
}

// lookup is what every lookup of one schema needs.
type lookup struct {
	schema             *Schema
	index              map[string]int
	key, asOf, knownAt int // -1 where the schema has none
}

func newLookup(s *Schema) lookup {
	l := lookup{schema: s, index: make(map[string]int, len(s.Fields)), key: s.Index(s.Key), asOf: -1, knownAt: -1}
	for i := range s.Fields {
		l.index[s.Fields[i].Name] = i
	}
	if s.AsOf != "" {
		l.asOf = l.index[s.AsOf]
	}
	if s.KnownAt != "" {
		l.knownAt = l.index[s.KnownAt]
	}
	return l
}

// check gives the indexes of the fields asked for, or what is wrong with the query.
func (l *lookup) check(q *Query) (fields []int, problem string) {
	key := &l.schema.Fields[l.key]
	if text, code, _ := canonical(key, q.Key); q.Key == "" || code != "" || text != q.Key || len(q.Key) > MaxKeyBytes {
		return nil, "the key is empty, too long or not plain text"
	}
	if code, detail := conforms(key, q.Key, nil); code != "" {
		return nil, "the key is " + detail
	}
	switch {
	case q.AsOf.Check() != nil || q.KnownAt.Check() != nil:
		return nil, "asOf or knownAt is outside 2000–2199"
	case q.AsOf != 0 && l.asOf < 0:
		return nil, "the dataset has no asOf"
	case q.KnownAt != 0 && l.knownAt < 0:
		return nil, "the dataset has no knownAt"
	case len(q.Fields) == 0 || len(q.Fields) > len(l.schema.Fields):
		return nil, "no fields are asked for, or more than there are"
	}
	fields = make([]int, len(q.Fields))
	for i, name := range q.Fields {
		at, ok := l.index[name]
		if !ok {
			return nil, fmt.Sprintf("the dataset has no field %q", clip(name))
		}
		for _, earlier := range fields[:i] {
			if earlier == at {
				return nil, fmt.Sprintf("field %q is asked for twice", name)
			}
		}
		fields[i] = at
	}
	return fields, ""
}

func (l *lookup) times(values [][]byte) (asOf, knownAt contracts.Millis) {
	if l.asOf >= 0 {
		asOf = millisOf(l.schema.Fields[l.asOf].Type, string(values[l.asOf]))
	}
	if l.knownAt >= 0 {
		knownAt = millisOf(l.schema.Fields[l.knownAt].Type, string(values[l.knownAt]))
	}
	return asOf, knownAt
}

// Lookup finds the row of a key. It always answers: what went wrong is the answer's outcome.
func (s *Snapshot) Lookup(ctx context.Context, q Query) Answer {
	a := Answer{Snapshot: s.foot.Digest}
	fields, problem := s.lookup.check(&q)
	if problem != "" {
		a.Outcome, a.Detail = BadRequest, problem
		return a
	}
	if err := ctx.Err(); err != nil {
		a.Outcome, a.Err = SourceTimeout, err
		return a
	}
	row, err := s.row(&q, &a)
	switch {
	case err != nil:
		a.Outcome, a.Err = SourceError, err
	case row == nil:
		a.Outcome = NotFound
	default:
		a.Outcome, a.Values = Found, make([]Value, len(fields))
		for i, f := range fields {
			a.Values[i] = Value{Field: q.Fields[i], Text: string(row[f]), Empty: len(row[f]) == 0}
		}
	}
	return a
}

// row finds the row that a query is about, nil if there is none, and sets the answer's times.
func (s *Snapshot) row(q *Query, a *Answer) ([][]byte, error) {
	place, group, err := s.find([]byte(q.Key))
	if err != nil || group == nil {
		return nil, err
	}
	var best [][]byte
	values, spare := make([][]byte, len(s.foot.Schema.Fields)), make([][]byte, len(s.foot.Schema.Fields))
	for len(group) > 0 {
		row, rest, ok := cutRow(group)
		if !ok || splitRow(values, row) != nil {
			return nil, fmt.Errorf("%w: group at %d", ErrDamaged, place)
		}
		group = rest
		// Rows stand in the order of asOf, then knownAt: the last one that qualifies is the one.
		asOf, knownAt := s.lookup.times(values)
		if q.AsOf != 0 && asOf > q.AsOf {
			break
		}
		if q.KnownAt == 0 || knownAt <= q.KnownAt {
			a.AsOf, a.KnownAt = asOf, knownAt
			best, values, spare = values, spare, values
		}
	}
	return best, nil
}

// find gives the place and the content of a key's group, nil if the snapshot has no such key.
func (s *Snapshot) find(key []byte) (int64, []byte, error) {
	hash := hashKey(key)
	number := bucketOf(hash, s.foot.Bits)
	var two [2 * bucketSize]byte
	if _, err := s.f.ReadAt(two[:], s.foot.Buckets+number*bucketSize); err != nil {
		return 0, nil, fmt.Errorf("couldn't read index: %w", err)
	}
	first, end := int64(binary.BigEndian.Uint64(two[:])), int64(binary.BigEndian.Uint64(two[bucketSize:]))
	if first < 0 || end < first || end > s.foot.Keys || end-first > maxBucketEntries {
		return 0, nil, fmt.Errorf("%w: bucket %d", ErrDamaged, number)
	}
	entries := make([]byte, (end-first)*entrySize)
	if _, err := s.f.ReadAt(entries, s.foot.Entries+first*entrySize); err != nil {
		return 0, nil, fmt.Errorf("couldn't read index: %w", err)
	}
	if bucketCRC(number, entries) != binary.BigEndian.Uint32(two[8:]) {
		return 0, nil, fmt.Errorf("%w: bucket %d", ErrDamaged, number)
	}
	for ; len(entries) > 0; entries = entries[entrySize:] {
		if binary.BigEndian.Uint64(entries) != hash {
			continue
		}
		place := int64(binary.BigEndian.Uint64(entries[8:]))
		group, err := s.group(place)
		if err != nil {
			return 0, nil, err
		}
		// Two keys with one hash are not to be expected below billions of keys. Still, the group says whose it is.
		switch same, err := s.holds(group, key); {
		case err != nil:
			return 0, nil, err
		case same:
			return place, group, nil
		}
	}
	return 0, nil, nil
}

func (s *Snapshot) holds(group, key []byte) (bool, error) {
	row, _, ok := cutRow(group)
	for i := 0; ok && i < s.lookup.key; i++ {
		_, row, ok = cutRow(row) // values are written as rows are: length, then bytes
	}
	if ok {
		row, _, ok = cutRow(row)
	}
	if !ok {
		return false, fmt.Errorf("%w: group without key", ErrDamaged)
	}
	return string(row) == string(key), nil
}

func (s *Snapshot) group(place int64) ([]byte, error) {
	if place < int64(len(fileMagic)) || place > s.foot.Entries-8 {
		return nil, fmt.Errorf("%w: group at %d", ErrDamaged, place)
	}
	var head [8]byte
	if _, err := s.f.ReadAt(head[:], place); err != nil {
		return nil, fmt.Errorf("couldn't read group: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n > MaxGroupBytes || place+8+n > s.foot.Entries {
		return nil, fmt.Errorf("%w: group at %d", ErrDamaged, place)
	}
	group := make([]byte, n)
	if _, err := s.f.ReadAt(group, place+8); err != nil {
		return nil, fmt.Errorf("couldn't read group: %w", err)
	}
	if crc32.Checksum(group, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("%w: group at %d", ErrDamaged, place)
	}
	return group, nil
}
