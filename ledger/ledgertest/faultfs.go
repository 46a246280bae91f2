// Package ledgertest is what every ledger must pass, and the file layer that breaks on demand.
package ledgertest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
)

// Mode says what a power cut leaves of the writes that were not synced.
type Mode int

const (
	DropAll    Mode = iota // nothing that was not synced survives
	Killed                 // only the process died: the page cache lives on, and is still not synced
	Sectors                // each 512-byte piece, size change and directory entry survives or not, by a coin
	LastSector             // sizes and the last sector survive, what lies before it reads as zero (delayed allocation)
	Modes                  // how many there are
)

func (m Mode) String() string {
	return [...]string{"drop all", "killed", "sectors", "last sector", "?"}[min(m, Modes)]
}

// Fault says how a failing operation fails. The process lives on.
type Fault int

const (
	FailClean     Fault = iota // it did nothing
	FailPersisted              // it did its work and reported an error all the same
	FailLost                   // sync only: the kernel marks the pages clean and gives them up, reads still see them
	Faults                     // how many there are
)

// ErrCut is what every operation reports from the cut on.
var ErrCut = errors.New("faultfs: the power is gone")

// ErrFault is what an operation reports that was told to fail.
var ErrFault = errors.New("faultfs: input/output error")

// FaultFS is one flat folder of append-only files, in memory. It keeps for every file, and for the folder, what is
// durable apart from what was done since; a sync makes the one into the other. Safe for concurrent use.
type FaultFS struct {
	CutAt    int // the operation at which the power goes; 0 never
	Mode     Mode
	FailAt   int // the operation that fails; 0 none
	Fault    Fault
	Capacity int64 // bytes in all files together; 0 without limit
	LieSync  bool  // syncs report success and do nothing: a test of the test

	mu       sync.Mutex
	rnd      *rand.Rand
	ops      int
	cut      bool
	dur, cur map[string]*inode
	pend     []dirChange
}

type inode struct {
	durable, cur []byte
	pend         []change
}

// change is a write at an offset, or a truncation to it when b is nil.
type change struct {
	off int64
	b   []byte
}

type dirChange struct {
	name string
	ino  *inode // nil: removed
}

// NewFaultFS gives an empty folder whose coins come from seed.
func NewFaultFS(seed uint64) *FaultFS {
	return &FaultFS{rnd: rand.New(rand.NewPCG(seed, 7)), dur: map[string]*inode{}, cur: map[string]*inode{}}
}

// Ops is the number of operations so far.
func (f *FaultFS) Ops() int { f.mu.Lock(); defer f.mu.Unlock(); return f.ops }

// Used is the number of bytes in all files.
func (f *FaultFS) Used() int64 { f.mu.Lock(); defer f.mu.Unlock(); return f.used() }

func (f *FaultFS) used() (n int64) {
	for _, i := range f.cur {
		n += int64(len(i.cur))
	}
	return n
}

// step counts an operation. fail says that it must fail, and how is in f.Fault.
func (f *FaultFS) step() (fail bool, err error) {
	if f.cut {
		return false, ErrCut
	}
	f.ops++
	if f.ops == f.CutAt {
		f.cut = true
		return false, ErrCut
	}
	return f.ops == f.FailAt, nil
}

// FaultFile is an open file of a FaultFS.
type FaultFile struct {
	fs *FaultFS
	i  *inode
}

// Append writes at the end. The write at which the power goes, or the disk is full, may have got any prefix in.
func (x *FaultFile) Append(b []byte) error {
	f := x.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	fail, err := f.step()
	if err != nil {
		if f.ops == f.CutAt && f.Mode != DropAll && len(b) > 0 {
			x.i.write(b[:f.rnd.IntN(len(b)+1)], int64(len(x.i.cur)))
			f.ops++ // only the operation at the cut may do this
		}
		return err
	}
	if free := f.Capacity - f.used(); f.Capacity > 0 && int64(len(b)) > free {
		x.i.write(b[:max(free, 0)], int64(len(x.i.cur)))
		return &os.PathError{Op: "write", Path: "faultfs", Err: syscall.ENOSPC}
	}
	if fail {
		if f.Fault == FailPersisted {
			x.i.write(b, int64(len(x.i.cur)))
		} else if len(b) > 0 {
			x.i.write(b[:f.rnd.IntN(len(b))], int64(len(x.i.cur)))
		}
		return ErrFault
	}
	x.i.write(b, int64(len(x.i.cur)))
	return nil
}

// WriteAt writes over bytes that are there.
func (x *FaultFile) WriteAt(b []byte, off int64) (int, error) {
	f := x.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	fail, err := f.step()
	if err != nil {
		return 0, err
	}
	if off+int64(len(b)) > int64(len(x.i.cur)) {
		return 0, fmt.Errorf("faultfs: write past the end")
	}
	if fail && f.Fault != FailPersisted {
		return 0, ErrFault
	}
	x.i.write(b, off)
	if fail {
		return 0, ErrFault
	}
	return len(b), nil
}

func (i *inode) write(b []byte, off int64) {
	c := change{off, append([]byte{}, b...)}
	i.pend = append(i.pend, c)
	i.cur = c.apply(i.cur)
}

// Truncate cuts the file to n bytes.
func (x *FaultFile) Truncate(n int64) error {
	f := x.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	fail, err := f.step()
	if err != nil {
		return err
	}
	if fail && f.Fault != FailPersisted {
		return ErrFault
	}
	if n > int64(len(x.i.cur)) {
		return fmt.Errorf("faultfs: truncate to %d of %d", n, len(x.i.cur))
	}
	x.i.pend = append(x.i.pend, change{off: n})
	x.i.cur = x.i.cur[:n:n]
	if fail {
		return ErrFault
	}
	return nil
}

// Sync makes what was done to the file durable.
func (x *FaultFile) Sync() error {
	f := x.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	fail, err := f.step()
	if err != nil {
		return err
	}
	if fail && f.Fault == FailClean {
		return ErrFault
	}
	if f.LieSync {
		return nil
	}
	if !fail || f.Fault == FailPersisted {
		for _, c := range x.i.pend {
			x.i.durable = c.apply(x.i.durable)
		}
	}
	x.i.pend = nil
	if fail {
		return ErrFault
	}
	return nil
}

func (c change) apply(b []byte) []byte {
	if c.b == nil {
		if int64(len(b)) > c.off {
			b = b[:c.off:c.off]
		}
		return b
	}
	if end := c.off + int64(len(c.b)); int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...) // a hole reads as zero
	}
	copy(b[c.off:], c.b)
	return b
}

// ReadAt reads what the running system sees, durable or not.
func (x *FaultFile) ReadAt(p []byte, off int64) (int, error) {
	x.fs.mu.Lock()
	defer x.fs.mu.Unlock()
	if off >= int64(len(x.i.cur)) {
		return 0, io.EOF
	}
	n := copy(p, x.i.cur[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Size is the file's length in bytes.
func (x *FaultFile) Size() (int64, error) {
	x.fs.mu.Lock()
	defer x.fs.mu.Unlock()
	return int64(len(x.i.cur)), nil
}

// Close never fails and syncs nothing.
func (x *FaultFile) Close() error { return nil }

// Create makes an empty file; it must not exist.
func (f *FaultFS) Create(name string) (*FaultFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fail, err := f.step()
	if err != nil {
		return nil, err
	}
	if f.cur[name] != nil {
		return nil, os.ErrExist
	}
	if fail && f.Fault != FailPersisted {
		return nil, ErrFault
	}
	i := &inode{}
	f.cur[name] = i
	f.pend = append(f.pend, dirChange{name, i})
	if fail {
		return nil, ErrFault
	}
	return &FaultFile{f, i}, nil
}

// Open opens an existing file.
func (f *FaultFS) Open(name string) (*FaultFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut {
		return nil, ErrCut
	}
	i := f.cur[name]
	if i == nil {
		return nil, os.ErrNotExist
	}
	return &FaultFile{f, i}, nil
}

// List gives the names in order.
func (f *FaultFS) List() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for n := range f.cur {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}

// Remove takes a name away.
func (f *FaultFS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fail, err := f.step()
	if err != nil {
		return err
	}
	if fail && f.Fault != FailPersisted {
		return ErrFault
	}
	delete(f.cur, name)
	f.pend = append(f.pend, dirChange{name, nil})
	if fail {
		return ErrFault
	}
	return nil
}

// SyncDir makes created and removed names durable.
func (f *FaultFS) SyncDir() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fail, err := f.step()
	if err != nil {
		return err
	}
	if fail && f.Fault != FailPersisted {
		return ErrFault
	}
	f.pend = nil
	f.dur = map[string]*inode{}
	for n, i := range f.cur {
		f.dur[n] = i
	}
	if fail {
		return ErrFault
	}
	return nil
}

// Corrupt changes one byte of a file, durably.
func (f *FaultFS) Corrupt(name string, off int64, change func(byte) byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.cur[name]
	i.cur[off] = change(i.cur[off])
	i.durable, i.pend = append([]byte{}, i.cur...), nil
}

// Reboot gives the folder as the next process finds it. Its faults are not set.
func (f *FaultFS) Reboot(seed uint64) *FaultFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := NewFaultFS(seed)
	g.LieSync = f.LieSync
	if f.Mode == Killed {
		g.dur, g.cur, g.pend = f.dur, f.cur, f.pend
		return g
	}
	names := map[string]*inode{}
	for n, i := range f.dur {
		names[n] = i
	}
	for _, d := range f.pend {
		if f.Mode == LastSector || (f.Mode == Sectors && f.rnd.IntN(2) == 0) {
			if d.ino == nil {
				delete(names, d.name)
			} else {
				names[d.name] = d.ino
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		b := names[n].survivors(f.Mode, f.rnd)
		i := &inode{durable: b, cur: append([]byte{}, b...)}
		g.dur[n], g.cur[n] = i, i
	}
	return g
}

// survivors gives the file's bytes after a power cut.
func (i *inode) survivors(m Mode, rnd *rand.Rand) []byte {
	b := append([]byte{}, i.durable...)
	if m == DropAll {
		return b
	}
	for k, c := range i.pend {
		if c.b == nil {
			if m == Sectors && rnd.IntN(2) == 0 {
				b = c.apply(b)
			}
			continue
		}
		for s := 0; s < len(c.b); s += 512 {
			e := min(s+512, len(c.b))
			keep := rnd.IntN(2) == 0
			if m == LastSector {
				keep = k == len(i.pend)-1 && e == len(c.b)
			}
			if keep {
				b = change{c.off + int64(s), c.b[s:e]}.apply(b)
			}
		}
	}
	return b
}
