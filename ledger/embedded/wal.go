package embedded

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/bund-exchange/bund/ledger"
)

// wal is the log: the only truth about what was accepted. One goroutine appends; any may read.
type wal struct {
	fs         FS
	ledger     [32]byte
	maxSegment int64 // bytes after which a segment is full
	mutation   mutation

	next   uint64   // position of the next entry
	last   [32]byte // hash of the entry before it
	batch  uint64   // number of the last batch
	closed bool     // the last record closes its batch, or begins a segment
	cut    int64    // bytes of torn tail removed on open
	tail   int64    // where the last batch of the last segment begins, on open
	file   File     // of the last segment
	buf    []byte
	dead   error // the first failure; final

	mu       sync.Mutex // guards what readers share with the writer
	segments []*segment
	height   uint64 // durable entries
	reads    uint64
}

// mark is what the state store, and others, know of the log: it must be at least that long and hold that entry.
type mark struct {
	height  uint64   // entries in the state store
	hash    [32]byte // of entry height-1
	atLeast uint64   // entries that others know to be durable
}

func (m mark) known() uint64 { return max(m.height, m.atLeast) }

// mutation switches single safety steps off, to prove that the crash test sees it. Always zero outside tests.
type mutation struct {
	noSync, noDirSync, noHeaderSync, noSyncOnOpen, noBatchRule, noNewSegment, noRewrite, flushBeforeSync bool
}

// openWAL reads the log from the segment that holds the entry before mark on: what is older is known to be in the
// state store, and its bytes are checked when somebody reads them. Each entry from mark on is given to each. A torn
// tail is cut; damage is refused before anything is changed. What was read is durable before openWAL returns: it may
// have been only in the page cache of a killed predecessor, and once told it must not be lost.
func openWAL(fs FS, ledgerID string, maxSegment int64, m mutation, have mark, each func(*ledger.Stored) error) (*wal, error) {
	w := &wal{fs: fs, ledger: ledgerDigest(ledgerID), maxSegment: maxSegment, mutation: m, closed: true}
	if err := w.readHeaders(); err != nil {
		return nil, err
	}
	from := 0
	for i, s := range w.segments {
		if s.first < have.height {
			from = i
		}
	}
	for i := from; i < len(w.segments); i++ {
		if err := w.scan(i, i == from, have, each); err != nil {
			return nil, err
		}
	}
	if w.next < have.known() {
		return nil, fmt.Errorf("%w: %d entries are known, it has %d: is it an old backup?", ErrLogBehind, have.known(), w.next)
	}
	if w.file != nil {
		if err := w.secure(); err != nil {
			return nil, fmt.Errorf("couldn't make the log's tail durable: %w", err)
		}
	}
	// After a cut or an unfinished batch a segment begins. So a bad record in any segment but the last is damage, and
	// old bytes can't come back under a new tail.
	w.height = w.next
	again := w.file != nil && (w.cut > 0 || !w.closed) && w.lastSegment().size > headerLen && !m.noNewSegment
	if w.file == nil || again {
		if err := w.newSegment(); err != nil {
			return nil, fmt.Errorf("couldn't begin a segment: %w", err)
		}
	}
	return w, nil
}

// ErrLogBehind means that something that follows the log knows more entries than it holds.
var ErrLogBehind = errors.New("the log is behind what is known of it")

func (w *wal) lastSegment() *segment { return w.segments[len(w.segments)-1] }

// readHeaders lists the segments and checks that they follow one another.
func (w *wal) readHeaders() error {
	names, err := w.fs.List()
	if err != nil {
		return fmt.Errorf("couldn't list the log: %w", err)
	}
	var segs []string
	for _, n := range names {
		if isSegment(n) {
			segs = append(segs, n)
		}
	}
	for i, n := range segs {
		s, err := w.readHeader(n, i == len(segs)-1)
		if err != nil {
			return err
		}
		if s == nil {
			return nil
		}
		if s.ledger != w.ledger {
			return fmt.Errorf("%s belongs to another ledger", n)
		}
		bad := n != segmentName(s.first)
		if i == 0 {
			bad = bad || s.first != 0 || s.prev != [32]byte{} || s.batch != 0 || s.previousFirst != 0 || s.previousSize != 0
		} else {
			p := w.segments[i-1]
			bad = bad || s.first <= p.first || s.previousFirst != p.first || s.previousSize != p.size || s.batch < p.batch
		}
		if bad {
			return damaged(n, 0, "it doesn't follow the segment before: one is missing, shortened or foreign")
		}
		w.segments = append(w.segments, s)
	}
	return nil
}

// readHeader gives nil for a last segment whose header never became durable. Such a one holds nothing acknowledged,
// because records follow only after header and folder were synced; it is removed.
func (w *wal) readHeader(name string, last bool) (*segment, error) {
	f, err := w.fs.Open(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't open %s: %w", name, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", name, err)
	}
	b, err := readSpan(f, 0, min(size, headerLen))
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", name, err)
	}
	if h, ok := parseHeader(b); ok {
		return &segment{header: h, name: name, size: size}, nil
	}
	if last {
		all, err := readSpan(f, 0, size)
		if err != nil {
			return nil, fmt.Errorf("couldn't read %s: %w", name, err)
		}
		if !recordAfter(all, 0, 0) {
			if err := w.fs.Remove(name); err != nil {
				return nil, fmt.Errorf("couldn't remove the unfinished %s: %w", name, err)
			}
			if err := w.fs.SyncDir(); err != nil {
				return nil, fmt.Errorf("couldn't sync the log's folder: %w", err)
			}
			return nil, nil
		}
	}
	return nil, damaged(name, 0, "its header is not what was written")
}

// scan reads segment i to its end.
func (w *wal) scan(i int, first bool, have mark, each func(*ledger.Stored) error) error {
	s := w.segments[i]
	last := i == len(w.segments)-1
	if first {
		w.next, w.last, w.batch = s.first, s.prev, s.batch
	} else if s.first != w.next || s.prev != w.last || s.batch != w.batch {
		return damaged(s.name, 0, "it begins at entry %d, the segments before it end at %d, or with another hash", s.first, w.next)
	}
	f, err := w.fs.Open(s.name)
	if err != nil {
		return fmt.Errorf("couldn't open %s: %w", s.name, err)
	}
	b, err := readSpan(f, 0, s.size)
	if err != nil {
		f.Close()
		return fmt.Errorf("couldn't read %s: %w", s.name, err)
	}
	if last {
		w.file = f
		s.offsets = []int64{}
	} else {
		defer f.Close()
	}
	w.closed = true // a segment begins only when all before it is durable
	off := int64(headerLen)
	w.tail = off
	for off < s.size {
		r, e, ok := w.follow(b[off:])
		if !ok {
			return w.cutTail(s, b, off, last, have)
		}
		if e.Position+1 == have.height && e.Hash != have.hash {
			return fmt.Errorf("%w: the state store holds another entry at %d than %s at offset %d", ErrLogBehind, e.Position, s.name, off)
		}
		if e.Position >= have.height {
			if err := each(e); err != nil {
				return fmt.Errorf("couldn't take entry %d from %s: %w", e.Position, s.name, err)
			}
		}
		if last {
			s.offsets = append(s.offsets, off)
		}
		if w.closed {
			w.tail = off
		}
		w.next, w.last, w.batch, w.closed = e.Position+1, e.Hash, r.batch, r.last
		off += r.size
	}
	return nil
}

// follow reads the record that b begins with, if it is the one that comes next. What remains of an earlier torn write
// may look good by itself, but does not chain.
func (w *wal) follow(b []byte) (record, *ledger.Stored, bool) {
	r, ok := parseRecord(b)
	if !ok {
		return r, nil, false
	}
	e, err := ledger.DecodeEntry(r.payload)
	if err != nil || e.Position != w.next || e.Prev != w.last {
		return r, nil, false
	}
	if want := w.openBatch(); r.batch != want {
		return r, nil, false
	}
	return r, &ledger.Stored{Entry: e, Encoded: r.payload, Hash: ledger.Hash(r.payload)}, true
}

// openBatch is the number of the batch that the next record belongs to.
func (w *wal) openBatch() uint64 {
	if w.closed {
		return w.batch + 1
	}
	return w.batch
}

// cutTail decides what a bad record is: rot, which is refused, or the end of a write that power or process did not
// outlive, which is cut.
func (w *wal) cutTail(s *segment, b []byte, off int64, last bool, have mark) error {
	if !last {
		return damaged(s.name, off, "a record is not what was written, and later segments follow")
	}
	if recordAfter(b[off:], w.openBatch()+1, w.next) && !w.mutation.noBatchRule {
		return damaged(s.name, off, "a record is not what was written, and a later batch follows")
	}
	if w.next < have.known() {
		return damaged(s.name, off, "a record is not what was written, and entry %d is known to have been durable", have.known()-1)
	}
	w.cut = int64(len(b)) - off
	if err := w.file.Truncate(off); err != nil {
		return fmt.Errorf("couldn't cut the torn tail of %s: %w", s.name, err)
	}
	s.size = off
	return nil
}

// secure makes what was read durable. Only the last batch, or the header when there is none, can be less: it may be
// dirty pages of a killed process, or pages that the kernel gave up after a failed sync and shows as clean. So it is
// written again, the same bytes in the same place, before the sync.
func (w *wal) secure() error {
	s := w.lastSegment()
	if !w.mutation.noRewrite {
		from := w.tail
		if from == headerLen {
			from = 0
		}
		b, err := readSpan(w.file, from, s.size-from)
		if err != nil {
			return err
		}
		if _, err := w.file.WriteAt(b, from); err != nil {
			return err
		}
	}
	if w.mutation.noSyncOnOpen {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	return w.fs.SyncDir()
}

// newSegment begins a segment: header, its sync, the folder's sync, and only then a record.
func (w *wal) newSegment() error {
	h := header{ledger: w.ledger, first: w.next, prev: w.last, batch: w.batch}
	if len(w.segments) > 0 {
		p := w.lastSegment()
		h.previousFirst, h.previousSize = p.first, p.size
	}
	s := &segment{header: h, name: segmentName(h.first), size: headerLen, offsets: []int64{}}
	f, err := w.fs.Create(s.name)
	if err != nil {
		return err
	}
	if err := f.Append(h.encode()); err != nil {
		f.Close()
		return err
	}
	if !w.mutation.noHeaderSync {
		if err := f.Sync(); err != nil {
			f.Close()
			return err
		}
	}
	if !w.mutation.noDirSync {
		if err := w.fs.SyncDir(); err != nil {
			f.Close()
			return err
		}
	}
	if w.file != nil {
		w.file.Close()
	}
	w.file, w.closed = f, true
	w.mu.Lock()
	w.segments = append(w.segments, s)
	w.forget(nil)
	w.mu.Unlock()
	return nil
}

// append writes one batch and makes it durable. The first failure is final: what is on the disk then can only be told
// by opening the log again.
func (w *wal) append(batch []*ledger.Stored) error {
	if w.dead != nil {
		return w.dead
	}
	s := w.lastSegment()
	if s.size >= w.maxSegment {
		if err := w.newSegment(); err != nil {
			w.dead = fmt.Errorf("%w: couldn't begin a segment: %w", ledger.ErrStopped, err)
			return w.dead
		}
		s = w.lastSegment()
	}
	b, offsets := w.buf[:0], make([]int64, len(batch))
	for i, e := range batch {
		offsets[i] = s.size + int64(len(b))
		b = appendRecord(b, e.Encoded, w.batch+1, i == len(batch)-1)
	}
	w.buf = b
	if err := w.write(b); err != nil {
		w.dead = fmt.Errorf("%w: couldn't write to %s: %w", ledger.ErrStopped, s.name, err)
		return w.dead
	}
	e := batch[len(batch)-1]
	w.next, w.last, w.batch, w.closed = e.Position+1, e.Hash, w.batch+1, true
	w.mu.Lock()
	s.size += int64(len(b))
	s.offsets = append(s.offsets, offsets...)
	w.height = w.next
	w.mu.Unlock()
	return nil
}

func (w *wal) write(b []byte) error {
	if err := w.file.Append(b); err != nil {
		return err
	}
	if w.mutation.noSync {
		return nil
	}
	return w.file.Sync()
}

func (w *wal) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

func readSpan(f File, off, n int64) ([]byte, error) {
	b := make([]byte, n)
	got, err := f.ReadAt(b, off)
	if int64(got) == n {
		return b, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}
