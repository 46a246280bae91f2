package embedded

import (
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// FS is the file layer of the log: one flat folder of append-only files. It is small so that one which injects faults
// is small, too. What List, Open and ReadAt show may not be durable; only Sync and SyncDir make it so.
type FS interface {
	Create(name string) (File, error) // fails if it exists
	Open(name string) (File, error)
	List() ([]string, error) // in order of name
	Remove(name string) error
	SyncDir() error
}

// File is one file of an FS. ReadAt may run beside Append.
type File interface {
	io.ReaderAt
	io.WriterAt // over bytes that are there
	Size() (int64, error)
	Append(b []byte) error
	Truncate(size int64) error
	Sync() error
	Close() error
}

// Dir is the FS of a real folder.
type Dir string

type osFile struct{ *os.File }

func (f osFile) Append(b []byte) error {
	_, err := f.Write(b)
	return err
}

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) Truncate(size int64) error {
	if err := f.File.Truncate(size); err != nil {
		return err
	}
	_, err := f.Seek(size, io.SeekStart)
	return err
}

// Sync is fdatasync: it covers the data and the size, which is all that reading back needs.
func (f osFile) Sync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

func (d Dir) Create(name string) (File, error) {
	return open(d, name, os.O_CREATE|os.O_EXCL|os.O_RDWR)
}

func (d Dir) Open(name string) (File, error) { return open(d, name, os.O_RDWR) }

func open(d Dir, name string, flag int) (File, error) {
	f, err := os.OpenFile(filepath.Join(string(d), name), flag, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f}, nil
}

func (d Dir) List() ([]string, error) {
	es, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

func (d Dir) Remove(name string) error { return os.Remove(filepath.Join(string(d), name)) }

func (d Dir) SyncDir() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
