package meter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// store is a provider node's durable memory of its receipt logs:
//
//	fence                       who may write
//	wal-<number>                shared by all logs: leaves with sealed answers, acknowledgements, log states
//	leaves/<agreement>-<epoch>  one log's acknowledged leaves, flat, leaf n at n·LeafSize
//	spare                       a retired segment, to be used again
//
// One write and one sync of the current segment make a group durable, whatever number of logs it touches. A leaf
// moves to its flat file when it is acknowledged, and its answer is then no longer kept. The first failed write or
// sync stops the writer for good: what reached the disk is found out by the next one.
//
// Only the sequencer writes; readers go through Log, which knows where things are.
type store struct {
	dir      string
	segBytes int64
	lease    *lease
	segs     []*segment // oldest first; the last is written to
	off      int64      // end of the last segment's frames
	batch    uint64     // number of the last frame
	frame    frameWriter
	faults   faults
}

// faults lets tests fail the file layer and stop the process's work at a named step, as a kill would.
type faults struct {
	step  func(name string) error
	write func(f *os.File, b []byte, off int64) error
	sync  func(f *os.File) error
}

func (x *faults) at(name string) error {
	if x.step == nil {
		return nil
	}
	return x.step(name)
}

// openStore takes the store over and reads it whole.
func openStore(dir string, fence, segBytes int64, x faults) (*store, map[[16]byte]*recovered, error) {
	if err := os.MkdirAll(filepath.Join(dir, "leaves"), 0o700); err != nil {
		return nil, nil, fmt.Errorf("couldn't make receipt store: %w", err)
	}
	if x.write == nil {
		x.write = func(f *os.File, b []byte, off int64) error { _, err := f.WriteAt(b, off); return err }
	}
	if x.sync == nil {
		x.sync = func(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
	}
	s := &store{dir: dir, segBytes: segBytes, faults: x}
	var logs map[[16]byte]*recovered
	var err error
	s.lease, err = takeLease(dir, fence, func() error {
		logs, err = s.recover()
		return err
	})
	if err != nil {
		s.close()
		return nil, nil, fmt.Errorf("couldn't open receipt store: %w", err)
	}
	return s, logs, nil
}

func (s *store) close() {
	for _, g := range s.segs {
		if g.file != nil {
			g.file.Close()
		}
	}
	if s.lease != nil {
		s.lease.file.Close()
	}
}

// commit makes the frame durable and gives its place. It holds the lease from the check to the sync, and runs after
// under it.
func (s *store) commit(after func() error) (at *segment, off int64, err error) {
	if err := s.lease.lock(unix.LOCK_SH); err != nil {
		return nil, 0, err
	}
	defer s.lease.unlock()
	if err := s.lease.check(); err != nil {
		return nil, 0, err
	}
	if err := s.faults.at("provider.before-commit"); err != nil {
		return nil, 0, err
	}
	b := s.frame.seal(s.batch + 1)
	if s.off+int64(len(b)) > s.segBytes && s.off > 0 {
		if err := s.roll(); err != nil {
			return nil, 0, err
		}
	}
	at, off = s.segs[len(s.segs)-1], s.off
	if err := s.faults.write(at.file, b, off); err != nil {
		return nil, 0, fmt.Errorf("couldn't write group: %w", err)
	}
	if err := s.faults.sync(at.file); err != nil {
		return nil, 0, fmt.Errorf("couldn't sync group: %w", err)
	}
	s.off += int64(len(b))
	s.batch++
	if err := s.faults.at("provider.committed"); err != nil {
		return nil, 0, err
	}
	return at, off, after()
}

// roll begins the next segment.
func (s *store) roll() error {
	spare := filepath.Join(s.dir, "spare")
	if _, err := os.Stat(spare); err != nil {
		spare = ""
	}
	number := uint64(1)
	if n := len(s.segs); n > 0 {
		number = s.segs[n-1].number + 1
	}
	g, err := newSegment(s.dir, number, s.segBytes, spare)
	if err != nil {
		return err
	}
	s.segs, s.off = append(s.segs, g), 0
	return nil
}

// drop gives up the oldest segment, of which nothing is needed any more. It is called under the lease.
func (s *store) drop() error {
	g := s.segs[0]
	s.segs = s.segs[1:]
	g.file.Close()
	if err := os.Rename(g.path, filepath.Join(s.dir, "spare")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("couldn't retire segment: %w", err)
	}
	return syncDir(s.dir)
}
