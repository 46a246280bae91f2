package meter

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"
)

// A segment is one preallocated file of the write-ahead log. All logs of a node share the segments: a file per
// agreement would cost megabytes each.
type segment struct {
	number uint64
	path   string
	file   *os.File
}

const defaultSegmentBytes = 16 << 20

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("wal-%016d", number))
}

func listSegments(dir string) ([]*segment, error) {
	names, err := filepath.Glob(filepath.Join(dir, "wal-*"))
	if err != nil {
		return nil, err
	}
	var segs []*segment
	for _, path := range names {
		s := &segment{path: path}
		if n, err := fmt.Sscanf(filepath.Base(path), "wal-%d", &s.number); n != 1 || err != nil || segmentPath(dir, s.number) != path {
			return nil, fmt.Errorf("couldn't list segments: unknown file %s", filepath.Base(path))
		}
		segs = append(segs, s)
	}
	sort.Slice(segs, func(i, j int) bool { return segs[i].number < segs[j].number })
	for i := 1; i < len(segs); i++ {
		if segs[i].number != segs[i-1].number+1 {
			return nil, fmt.Errorf("couldn't list segments: %s is missing", filepath.Base(segmentPath(dir, segs[i-1].number+1)))
		}
	}
	return segs, nil
}

// newSegment makes a file whose blocks are reserved, so that a later sync has no size to journal and a full disk
// shows here, before anything of a group is written. spare is a retired segment to be used again, or "": blocks
// written once before sync a third faster.
func newSegment(dir string, number uint64, size int64, spare string) (*segment, error) {
	s := &segment{number: number, path: segmentPath(dir, number)}
	if spare != "" {
		if err := os.Rename(spare, s.path); err != nil {
			return nil, fmt.Errorf("couldn't reuse segment: %w", err)
		}
	}
	var err error
	if s.file, err = os.OpenFile(s.path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("couldn't make segment: %w", err)
	}
	if err := s.prepare(dir, size); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("couldn't make segment: %w", err)
	}
	return s, nil
}

func (s *segment) prepare(dir string, size int64) error {
	if err := unix.Fallocate(int(s.file.Fd()), 0, 0, size); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
