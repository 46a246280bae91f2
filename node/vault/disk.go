package vault

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// disk is what an import does to the file system. Tests fail it at every step and drop what was not synced.
type disk interface {
	create(path string) (file, error) // must not exist
	rename(from, to string) error
	remove(path string) error
	mkdir(path string) error
	syncDir(dir string) error // makes names durable
}

type file interface {
	io.Writer
	io.ReaderAt
	Sync() error
	Close() error
}

type osDisk struct{}

func (osDisk) create(path string) (file, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}
func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(path string) error     { return os.Remove(path) }
func (osDisk) mkdir(path string) error      { return os.MkdirAll(path, 0o700) }

func (osDisk) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// scratch makes the files of one import, all of them named so that the next open removes them.
type scratch struct {
	disk disk
	dir  string
	n    int
	made map[string]file
}

func newScratch(d disk, dir string) *scratch {
	return &scratch{disk: d, dir: dir, made: map[string]file{}}
}

func (s *scratch) create() (file, string, error) {
	s.n++
	path := filepath.Join(s.dir, "tmp-"+strconv.Itoa(s.n))
	f, err := s.disk.create(path)
	if err != nil {
		return nil, "", err
	}
	s.made[path] = f
	return f, path, nil
}

// drop closes and removes one file.
func (s *scratch) drop(path string) error {
	s.made[path].Close()
	delete(s.made, path)
	return s.disk.remove(path)
}

// keep closes one file and leaves it to the caller.
func (s *scratch) keep(path string) error {
	f := s.made[path]
	delete(s.made, path)
	return f.Close()
}

// cleanUp removes what is left. What can't be removed now is removed at the next open.
func (s *scratch) cleanUp() {
	for _, path := range sortedKeys(s.made) {
		s.drop(path)
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
