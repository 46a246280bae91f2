package publish

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// files is the folder of a tlog. Names are slash-separated and relative. Nothing is durable before Sync of the file
// and SyncDir of every folder above it that the file or its folders are new in. The second implementation, in the
// tests, forgets at any moment what was not synced.
type files interface {
	Read(name string) ([]byte, error)        // fs.ErrNotExist when absent
	Write(name string, content []byte) error // creates folders; a crash may leave any part of the content
	Sync(name string) error
	SyncDir(name string) error // "." is the tlog's folder
	Rename(from, to string) error
	Remove(name string) error           // with everything below; absent is fine
	List(name string) ([]string, error) // names in a folder, ascending; none when absent
}

// disk is files on a real file system.
type disk string

func (d disk) path(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

func (d disk) Read(name string) ([]byte, error) { return os.ReadFile(d.path(name)) }

func (d disk) Write(name string, content []byte) error {
	p := d.path(name)
	err := os.WriteFile(p, content, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		err = os.WriteFile(p, content, 0o644)
	}
	return err
}

// Sync flushes one file. Only this file's pages wait for the disk, not the whole file system.
func (d disk) Sync(name string) error {
	f, err := os.OpenFile(d.path(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d disk) SyncDir(name string) error {
	f, err := os.Open(d.path(name))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d disk) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d disk) Remove(name string) error     { return os.RemoveAll(d.path(name)) }

func (d disk) List(name string) ([]string, error) {
	es, err := os.ReadDir(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, 0, len(es))
	for _, e := range es {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, err
}

// lock keeps a second publisher off the folder until the process ends or the file is closed.
func (d disk) lock() (*os.File, error) {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
