package vault

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// A snapshot file, all integers big-endian:
//
//	magic
//	group*      length u32, crc u32, then the rows of one key: (uvarint length ‖ row)*, sorted by asOf, knownAt
//	entry*      hash u64 of a key, place u64 of its group; sorted by hash
//	bucket*     first entry u64, crc u32 over the bucket's number and entries; one bucket for each value of the
//	            hash's leading bits, and an empty one that marks the end
//	footer      canonical JSON
//	trailer     place u64, length u32 and crc u32 of the footer, magic
//
// A lookup reads two buckets, the few entries between them, and a group: four small reads whatever the size, and no
// memory kept. Every part that is read has a crc, since a damaged index would otherwise say NOT_FOUND, and that is an
// answer somebody pays for.
const (
	fileMagic   = "bund dataset snapshot 1\n"
	entrySize   = 16
	bucketSize  = 12
	trailerSize = 16 + len(fileMagic)
	// maxBucketEntries is far beyond what SHA-256 ever gives eight keys a bucket; more means a damaged file.
	maxBucketEntries = 4096
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// ErrDamaged wraps what reading a damaged snapshot gives.
	ErrDamaged = errors.New("dataset snapshot is damaged")
)

type footer struct {
	Digest  contracts.Hash            `json:"digest"`
	Schema  Schema                    `json:"schema"`
	Rows    int64                     `json:"rows"`
	Keys    int64                     `json:"keys"`
	Entries int64                     `json:"entries"` // place of the first
	Buckets int64                     `json:"buckets"` // place of the first
	Bits    int64                     `json:"bits"`    // of the hash that choose the bucket
	Quality []contracts.QualityFigure `json:"quality"`
}

// hashKey places a key in the index. SHA-256 and not a faster hash: keys come from outside and must not be able to
// crowd one bucket.
func hashKey(key []byte) uint64 {
	h := sha256.Sum256(key)
	return binary.BigEndian.Uint64(h[:])
}

func bucketOf(hash uint64, n int64) int64 {
	if n == 0 {
		return 0
	}
	return int64(hash >> (64 - n))
}

func bucketCRC(number int64, entries []byte) uint32 {
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], uint64(number))
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, entries)
}

// snapshotWriter writes the parts of a snapshot file in order.
type snapshotWriter struct {
	w       *bufio.Writer
	at      int64
	rows    hash.Hash // the dataset's digest in the making
	nrows   int64
	nkeys   int64
	index   *sorter
	key     []byte // of the group in hand
	group   []byte
	line    int64  // of the last row
	last    []byte // its sort key
	started bool
}

// writeSnapshot drains the intake's sorter into a synced file of the scratch folder.
func writeSnapshot(ctx context.Context, scratch *scratch, sortBytes int, in *intake) (contracts.Hash, string, error) {
	f, path, err := scratch.create()
	if err != nil {
		return "", "", fmt.Errorf("couldn't create snapshot: %w", err)
	}
	w := &snapshotWriter{w: bufio.NewWriterSize(f, 256<<10), rows: newDigest(in.schema), index: newSorter(scratch, sortBytes)}
	w.write([]byte(fileMagic))
	var faults Faults
	err = in.rows.each(func(sortKey, payload []byte) error {
		if w.nrows%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		fault, err := w.row(in.schema, sortKey, payload)
		if fault != nil {
			if faults = append(faults, fault); len(faults) == maxFaults {
				return faults
			}
		}
		return err
	})
	if err == nil && len(faults) > 0 {
		err = faults
	}
	if err != nil {
		return "", "", err
	}
	if err := w.endGroup(); err != nil {
		return "", "", err
	}
	digest := contracts.Hash(hex.EncodeToString(w.rows.Sum(nil)))
	foot := &footer{Digest: digest, Schema: *in.schema, Rows: w.nrows, Keys: w.nkeys, Quality: in.counter.figures()}
	if err := w.finish(foot); err != nil {
		return "", "", err
	}
	if err := w.w.Flush(); err != nil { // bufio keeps the first error
		return "", "", fmt.Errorf("couldn't write snapshot: %w", err)
	}
	if err := f.Sync(); err != nil {
		return "", "", fmt.Errorf("couldn't sync snapshot: %w", err)
	}
	return digest, path, nil
}

// newDigest begins the digest of a dataset snapshot.
func newDigest(schema *Schema) hash.Hash {
	h := sha256.New()
	io.WriteString(h, "bund/dataset/v1\x00")
	digest := schema.Digest().Bytes()
	h.Write(digest[:])
	return h
}

func digestRow(h hash.Hash, row []byte) {
	var b [binary.MaxVarintLen64]byte
	h.Write(b[:binary.PutUvarint(b[:], uint64(len(row)))])
	h.Write(row)
}

func (w *snapshotWriter) write(b []byte) {
	w.w.Write(b)
	w.at += int64(len(b))
}

// row takes the next row in order. A Fault doesn't end the file: there may be more to report.
func (w *snapshotWriter) row(schema *Schema, sortKey, payload []byte) (*Fault, error) {
	line, n := binary.Uvarint(payload)
	row := payload[n:]
	if w.started && string(w.last) == string(sortKey) {
		detail := fmt.Sprintf("line %d has the same key", w.line)
		if schema.AsOf != "" {
			detail += ", asOf and knownAt"
		}
		return &Fault{Code: KeyDuplicate, Line: int64(line), Field: schema.Key, Detail: detail}, nil
	}
	w.last, w.line, w.started = append(w.last[:0], sortKey...), int64(line), true
	if key := keyOf(sortKey); w.nrows == 0 || string(key) != string(w.key) {
		if err := w.endGroup(); err != nil {
			return nil, err
		}
		w.key = append(w.key[:0], key...)
		w.nkeys++
	}
	w.group = append(binary.AppendUvarint(w.group, uint64(len(row))), row...)
	w.nrows++
	digestRow(w.rows, row)
	if len(w.group) > MaxGroupBytes {
		w.group = w.group[:0]
		return &Fault{Code: KeyTooMany, Line: int64(line), Field: schema.Key, Detail: fmt.Sprintf("the rows of one key exceed %d bytes", MaxGroupBytes)}, nil
	}
	return nil, nil
}

func (w *snapshotWriter) endGroup() error {
	if len(w.group) == 0 {
		return nil
	}
	var key, place [8]byte
	binary.BigEndian.PutUint64(key[:], hashKey(w.key))
	binary.BigEndian.PutUint64(place[:], uint64(w.at))
	if err := w.index.add(key[:], place[:]); err != nil {
		return err
	}
	var head [8]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(w.group)))
	binary.BigEndian.PutUint32(head[4:], crc32.Checksum(w.group, castagnoli))
	w.write(head[:])
	w.write(w.group)
	w.group = w.group[:0]
	return nil
}

// finish writes index, footer and trailer.
func (w *snapshotWriter) finish(foot *footer) error {
	foot.Entries = w.at
	foot.Bits = max(0, int64(bits.Len64(uint64(foot.Keys/8)))) // eight keys a bucket, give or take a factor of two
	nbuckets := int64(1) << foot.Bits
	buckets := newSorter(w.index.scratch, w.index.limit) // in order already; the sorter bounds the memory
	var number, first, n int64
	var entries []byte
	endBucket := func() error {
		var b [bucketSize]byte
		binary.BigEndian.PutUint64(b[:], uint64(first))
		binary.BigEndian.PutUint32(b[8:], bucketCRC(number, entries))
		var k [8]byte
		binary.BigEndian.PutUint64(k[:], uint64(number))
		number, first, entries = number+1, n, entries[:0]
		return buckets.add(k[:], b[:])
	}
	err := w.index.each(func(key, place []byte) error {
		for to := bucketOf(binary.BigEndian.Uint64(key), foot.Bits); number < to; {
			if err := endBucket(); err != nil {
				return err
			}
		}
		entries = append(append(entries, key...), place...)
		n++
		w.write(key)
		w.write(place)
		return nil
	})
	for err == nil && number <= nbuckets {
		err = endBucket()
	}
	if err != nil {
		return err
	}
	foot.Buckets = w.at
	if err := buckets.each(func(_, b []byte) error { w.write(b); return nil }); err != nil {
		return err
	}
	place, b := w.at, canon.Marshal(foot)
	w.write(b)
	var t [16]byte
	binary.BigEndian.PutUint64(t[:], uint64(place))
	binary.BigEndian.PutUint32(t[8:], uint32(len(b)))
	binary.BigEndian.PutUint32(t[12:], crc32.Checksum(b, castagnoli))
	w.write(t[:])
	w.write([]byte(fileMagic))
	return nil
}

// Snapshot is an immutable dataset snapshot, open for lookups from many goroutines.
type Snapshot struct {
	f      *os.File
	path   string
	foot   footer
	lookup lookup
}

func openSnapshot(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't open dataset snapshot: %w", err)
	}
	s := &Snapshot{f: f, path: path}
	if err := s.readFooter(); err != nil {
		f.Close()
		return nil, fmt.Errorf("couldn't open dataset snapshot %s: %w", filepath.Base(path), err)
	}
	s.lookup = newLookup(&s.foot.Schema)
	return s, nil
}

func (s *Snapshot) readFooter() error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if size < int64(len(fileMagic)+trailerSize) {
		return fmt.Errorf("%w: too short", ErrDamaged)
	}
	head, t := make([]byte, len(fileMagic)), make([]byte, trailerSize)
	if _, err := s.f.ReadAt(head, 0); err != nil {
		return err
	}
	if _, err := s.f.ReadAt(t, size-int64(trailerSize)); err != nil {
		return err
	}
	if string(head) != fileMagic || string(t[16:]) != fileMagic {
		return fmt.Errorf("%w: not a dataset snapshot of this version, or cut", ErrDamaged)
	}
	place, n := binary.BigEndian.Uint64(t), binary.BigEndian.Uint32(t[8:])
	if n > canon.MaxBytes || place != uint64(size)-uint64(trailerSize)-uint64(n) {
		return fmt.Errorf("%w: trailer", ErrDamaged)
	}
	b := make([]byte, n)
	if _, err := s.f.ReadAt(b, int64(place)); err != nil {
		return err
	}
	if crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(t[12:]) {
		return fmt.Errorf("%w: footer", ErrDamaged)
	}
	foot := &s.foot
	if err := canon.Unmarshal(b, foot); err != nil {
		return fmt.Errorf("%w: footer: %v", ErrDamaged, err)
	}
	if foot.Bits < 0 || foot.Bits > 48 || foot.Keys < 0 || foot.Entries < int64(len(fileMagic)) || foot.Rows < foot.Keys ||
		foot.Buckets != foot.Entries+foot.Keys*entrySize || int64(place) != foot.Buckets+(int64(1)<<foot.Bits+1)*bucketSize {
		return fmt.Errorf("%w: footer contradicts the file", ErrDamaged)
	}
	return nil
}

// Digest is the digest of the rows under their schema.
func (s *Snapshot) Digest() contracts.Hash { return s.foot.Digest }

// Schema gives the field dictionary. It is not to be changed.
func (s *Snapshot) Schema() *Schema { return &s.foot.Schema }

// Rows is the number of rows, Keys that of different keys.
func (s *Snapshot) Rows() int64 { return s.foot.Rows }

// Keys is the number of different keys.
func (s *Snapshot) Keys() int64 { return s.foot.Keys }

// Quality gives the GB/T 36344 counts taken at import.
func (s *Snapshot) Quality() []contracts.QualityFigure {
	return append([]contracts.QualityFigure(nil), s.foot.Quality...)
}

// Close ends lookups. A lookup under way fails as SOURCE_ERROR.
func (s *Snapshot) Close() error { return s.f.Close() }

// each gives the rows in order, checking every group.
func (s *Snapshot) each(ctx context.Context, f func(place int64, row []byte) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(s.f, int64(len(fileMagic)), s.foot.Entries-int64(len(fileMagic))), 256<<10)
	var head [8]byte
	var group []byte
	for at := int64(len(fileMagic)); at < s.foot.Entries; at += int64(8 + len(group)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return fmt.Errorf("%w: group at %d: %v", ErrDamaged, at, err)
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > MaxGroupBytes {
			return fmt.Errorf("%w: group at %d", ErrDamaged, at)
		}
		if int(n) > cap(group) {
			group = make([]byte, n)
		}
		group = group[:n]
		if _, err := io.ReadFull(r, group); err != nil || crc32.Checksum(group, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
			return fmt.Errorf("%w: group at %d", ErrDamaged, at)
		}
		for rest := group; len(rest) > 0; {
			row, next, ok := cutRow(rest)
			if !ok {
				return fmt.Errorf("%w: group at %d", ErrDamaged, at)
			}
			if err := f(at, row); err != nil {
				return err
			}
			rest = next
		}
	}
	return nil
}

func cutRow(group []byte) (row, rest []byte, ok bool) {
	n, size := binary.Uvarint(group)
	if size <= 0 || n > uint64(len(group)-size) {
		return nil, nil, false
	}
	return group[size : size+int(n)], group[size+int(n):], true
}

// Verify reads the whole file: every row is well formed, in order, can be found by its key, and together they give the
// digest.
func (s *Snapshot) Verify(ctx context.Context) error {
	h, rows, keys := newDigest(&s.foot.Schema), int64(0), int64(0)
	values, last := make([][]byte, len(s.foot.Schema.Fields)), ""
	var key []byte
	err := s.each(ctx, func(place int64, row []byte) error {
		if err := splitRow(values, row); err != nil {
			return fmt.Errorf("%w: group at %d: %v", ErrDamaged, place, err)
		}
		k := values[s.lookup.key]
		asOf, knownAt := s.lookup.times(values)
		key = sortKey(key[:0], string(k), asOf, knownAt)
		if string(key) <= last {
			return fmt.Errorf("%w: group at %d is out of order", ErrDamaged, place)
		}
		if rows == 0 || string(keyOf(key)) != string(keyOf([]byte(last))) {
			keys++
			if found, _, err := s.find(k); err != nil || found != place {
				return fmt.Errorf("%w: the index doesn't lead to the group at %d", ErrDamaged, place)
			}
		}
		last = string(key)
		digestRow(h, row)
		rows++
		return nil
	})
	if err != nil {
		return err
	}
	end := make([]byte, bucketSize)
	if _, err := s.f.ReadAt(end, s.foot.Buckets+bucketSize<<s.foot.Bits); err != nil {
		return fmt.Errorf("couldn't read index: %w", err)
	}
	if binary.BigEndian.Uint64(end) != uint64(keys) || binary.BigEndian.Uint32(end[8:]) != bucketCRC(1<<s.foot.Bits, nil) {
		return fmt.Errorf("%w: end of the index", ErrDamaged)
	}
	if got := contracts.Hash(hex.EncodeToString(h.Sum(nil))); got != s.foot.Digest || rows != s.foot.Rows || keys != s.foot.Keys {
		return fmt.Errorf("%w: rows give digest %s, the footer says %s", ErrDamaged, got, s.foot.Digest)
	}
	if name := strings.TrimSuffix(filepath.Base(s.path), ".snapshot"); name != string(s.foot.Digest) {
		return fmt.Errorf("%w: the file is named %s and holds %s", ErrDamaged, name, s.foot.Digest)
	}
	return nil
}
