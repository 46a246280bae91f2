package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Record is the one small file in which a session's protocol keeps its state, secrets included: readable by the owner
// only, replaced whole. Bytes that were replaced are overwritten on disk; a file system that copies on write, or a
// disk that spreads its writes, may still hold them, as it may hold any key of the node.
type Record struct {
	dir string

	mu     sync.Mutex
	closed bool // the session is over, or another process has it: no secret is written any more
}

const (
	recordFile = "record"
	nextSuffix = ".next"
)

// Load gives the record, nil if there is none.
func (r *Record) Load() ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(r.dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Save replaces the record, durably.
func (r *Record) Save(b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	path := filepath.Join(r.dir, recordFile)
	old, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := replaceFile(path, b); err != nil {
		if old != nil {
			old.Close()
		}
		return err
	}
	if old == nil {
		return nil
	}
	return wipe(old)
}

// tidy removes what a crash inside Save left: a record that may not be whole, and was not yet the session's.
func (r *Record) tidy() error { return destroyFile(filepath.Join(r.dir, recordFile+nextSuffix)) }

// close ends the record's use in this process.
func (r *Record) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// destroy overwrites and removes the record, for good.
func (r *Record) destroy() error {
	r.close()
	return errors.Join(r.tidy(), destroyFile(filepath.Join(r.dir, recordFile)))
}

func destroyFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := wipe(f); err != nil {
		return err
	}
	return os.Remove(path)
}

// wipe overwrites an open file with zeroes and closes it.
func wipe(f *os.File) error {
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, st.Size()), 0); err != nil {
		return err
	}
	return f.Sync()
}

// replaceFile puts a file in its place whole, or not at all.
func replaceFile(path string, b []byte) error {
	next := path + nextSuffix
	f, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("couldn't replace %s: %w", filepath.Base(path), err)
	}
	return nil
}

// syncDir makes names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
