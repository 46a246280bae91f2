package embedded

import (
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/bund-exchange/bund/ledger"
)

// read gives durable entries from position from on: at most limit, at most about readAtOnce bytes, all of one segment,
// at least one if there is one. It checks crc and position of each; the chain is bundaudit's to check.
func (w *wal) read(from uint64, limit int) ([]*ledger.Stored, error) {
	s, offsets, size, err := w.find(from)
	if err != nil || s == nil || limit < 1 {
		return nil, err
	}
	i := int(from - s.first)
	j := i + 1
	for j < len(offsets) && j-i < limit && offsets[j]-offsets[i] < readAtOnce {
		j++
	}
	end := size
	if j < len(offsets) {
		end = offsets[j]
	}
	f, err := w.fs.Open(s.name)
	if err != nil {
		return nil, fmt.Errorf("couldn't open %s: %w", s.name, err)
	}
	defer f.Close()
	b, err := readSpan(f, offsets[i], end-offsets[i])
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", s.name, err)
	}
	es := make([]*ledger.Stored, 0, j-i)
	for k := i; k < j; k++ {
		at := offsets[k] - offsets[i]
		r, ok := parseRecord(b[at:])
		if !ok {
			return nil, damaged(s.name, offsets[k], "entry %d is not what was written", s.first+uint64(k))
		}
		e, err := ledger.DecodeEntry(r.payload)
		if err != nil || e.Position != s.first+uint64(k) {
			return nil, damaged(s.name, offsets[k], "entry %d is not what was written", s.first+uint64(k))
		}
		es = append(es, &ledger.Stored{Entry: e, Encoded: r.payload, Hash: ledger.Hash(r.payload)})
	}
	return es, nil
}

// find gives the segment that holds a position, with its offsets and its durable size; nil when there is none yet.
func (w *wal) find(position uint64) (*segment, []int64, int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if position >= w.height {
		return nil, nil, 0, nil
	}
	i := sort.Search(len(w.segments), func(i int) bool { return w.segments[i].first > position }) - 1
	s := w.segments[i]
	w.reads++
	s.used = w.reads
	if s.offsets == nil {
		// Held under the lock: the first reader of an old segment makes others, the writer's last step included, wait
		// some tens of milliseconds. Only a reader that falls far behind gets here.
		if err := w.index(s, i); err != nil {
			return nil, nil, 0, err
		}
	}
	return s, s.offsets, s.size, nil
}

// index fills in the offsets of a full segment by hopping over its records, and forgets the table used least lately.
func (w *wal) index(s *segment, i int) error {
	f, err := w.fs.Open(s.name)
	if err != nil {
		return fmt.Errorf("couldn't open %s: %w", s.name, err)
	}
	defer f.Close()
	b, err := readSpan(f, 0, s.size)
	if err != nil {
		return fmt.Errorf("couldn't read %s: %w", s.name, err)
	}
	offsets := make([]int64, 0, len(b)/512)
	for off := int64(headerLen); off < s.size; {
		if s.size-off < recordLen || binary.BigEndian.Uint32(b[off:]) != recordMagic {
			return damaged(s.name, off, "a record is not what was written")
		}
		offsets = append(offsets, off)
		off += recordLen + int64(binary.BigEndian.Uint32(b[off+4:]))
	}
	if want := w.segments[i+1].first - s.first; uint64(len(offsets)) != want {
		return damaged(s.name, headerLen, "it holds %d entries instead of %d", len(offsets), want)
	}
	s.offsets = offsets
	w.forget(s)
	return nil
}

func (w *wal) forget(keep *segment) {
	var oldest *segment
	n := 0
	for _, s := range w.segments[:len(w.segments)-1] {
		if s.offsets == nil {
			continue
		}
		n++
		if s != keep && (oldest == nil || s.used < oldest.used) {
			oldest = s
		}
	}
	if n > maxIndexed && oldest != nil {
		oldest.offsets = nil
	}
}
