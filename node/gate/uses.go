package gate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// The file of consent counts is frames, numbered from 1:
//
//	magic (4) number (8) n (4) n × {consent (16) uses so far (8)} crc32c of all before (4)
//
// Integers are big-endian. Counts are absolute, so a later one replaces an earlier one. A frame is one write, and after
// a failed one nothing more is written: what isn't a good frame is a torn tail, unless a good frame follows.
const (
	frameMagic  = "BUse"
	frameHead   = 4 + 8 + 4
	countSize   = 16 + 8
	maxCounts   = 1 << 16 // of one frame of a file written anew
	compactOver = 1 << 16 // bytes; below, a file isn't written anew
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeFrame writes counts in order of consent.
func encodeFrame(number uint64, counts map[[16]byte]int64) []byte {
	ids := make([][16]byte, 0, len(counts))
	for id := range counts {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	b := make([]byte, 0, frameHead+len(ids)*countSize+4)
	b = append(b, frameMagic...)
	b = binary.BigEndian.AppendUint64(b, number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(ids)))
	for _, id := range ids {
		b = append(b, id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(counts[id]))
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// frame is a good frame at the beginning of some bytes.
type frame struct {
	number uint64
	counts []byte
	size   int
}

func decodeFrame(b []byte) (frame, bool) {
	if len(b) < frameHead+4 || string(b[:4]) != frameMagic {
		return frame{}, false
	}
	n := int64(binary.BigEndian.Uint32(b[12:]))
	end := frameHead + n*countSize
	if int64(len(b)) < end+4 || binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return frame{}, false
	}
	return frame{binary.BigEndian.Uint64(b[4:]), b[frameHead:end], int(end) + 4}, true
}

// uses is what a file holds.
type uses struct {
	used map[[16]byte]int64
	next uint64 // number of the next frame
	good int    // bytes; behind them is a torn tail
}

var errDamaged = errors.New("consent counts are damaged")

func parseUses(b []byte) (uses, error) {
	u := uses{used: map[[16]byte]int64{}, next: 1}
	for u.good < len(b) {
		f, ok := decodeFrame(b[u.good:])
		if !ok || f.number != u.next {
			break
		}
		for c := f.counts; len(c) > 0; c = c[countSize:] {
			id, n := [16]byte(c), int64(binary.BigEndian.Uint64(c[16:]))
			if n <= u.used[id] { // counts only grow: a good frame of another file, or of a faulty writer
				return uses{}, fmt.Errorf("%w at offset %d: a count that falls", errDamaged, u.good)
			}
			u.used[id] = n
		}
		u.good += f.size
		u.next++
	}
	for at := u.good; at < len(b); at++ {
		i := bytes.Index(b[at:], []byte(frameMagic))
		if i < 0 {
			break
		}
		at += i
		if _, ok := decodeFrame(b[at:]); ok {
			return uses{}, fmt.Errorf("%w at offset %d: good counts stand at %d", errDamaged, u.good, at)
		}
	}
	return u, nil
}

// openUses opens a file for appending, behind what is good of it.
func openUses(name string) (*os.File, uses, error) {
	if err := os.Remove(name + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, uses{}, fmt.Errorf("couldn't remove unfinished consent counts: %w", err)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, uses{}, fmt.Errorf("couldn't open consent counts: %w", err)
	}
	u, f, err := readUses(f, name)
	if err != nil {
		f.Close()
		return nil, uses{}, err
	}
	return f, u, nil
}

func readUses(f *os.File, name string) (uses, *os.File, error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return uses{}, f, fmt.Errorf("couldn't read consent counts: %w", err)
	}
	u, err := parseUses(b)
	if err != nil {
		return uses{}, f, fmt.Errorf("%s: %w", name, err)
	}
	if len(b) > compactOver && len(b) > 2*len(u.used)*countSize {
		return compact(f, name, u)
	}
	if _, err := f.Seek(int64(u.good), io.SeekStart); err != nil {
		return uses{}, f, err
	}
	if err := errors.Join(f.Truncate(int64(u.good)), f.Sync(), syncDir(filepath.Dir(name))); err != nil {
		return uses{}, f, fmt.Errorf("couldn't cut consent counts: %w", err)
	}
	return u, f, nil
}

// compact writes every count once into a new file, which replaces the old one when it is durable.
func compact(old *os.File, name string, u uses) (uses, *os.File, error) {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return uses{}, old, fmt.Errorf("couldn't write consent counts anew: %w", err)
	}
	u.next = 1
	write := func(counts map[[16]byte]int64) {
		if err == nil && len(counts) > 0 {
			_, err = f.Write(encodeFrame(u.next, counts))
			u.next++
			clear(counts)
		}
	}
	some := make(map[[16]byte]int64, maxCounts)
	for id, n := range u.used {
		if some[id] = n; len(some) == maxCounts {
			write(some)
		}
	}
	write(some)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = errors.Join(os.Rename(name+".new", name), syncDir(filepath.Dir(name)))
	}
	if err != nil {
		f.Close()
		return uses{}, old, fmt.Errorf("couldn't write consent counts anew: %w", err)
	}
	old.Close()
	return u, f, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
