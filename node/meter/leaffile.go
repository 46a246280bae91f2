package meter

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// leafFile holds the settled leaves of one epoch of one log. Until it is synced, its tail is also in a segment.
type leafFile struct {
	file  *os.File
	epoch int64
	dirty bool // written since the last sync; the sequencer's
}

func openLeafFile(dir string, agreement [16]byte, epoch int64) (*leafFile, error) {
	path := filepath.Join(dir, "leaves", fmt.Sprintf("%s-%d", hex.EncodeToString(agreement[:]), epoch))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't open leaves: %w", err)
	}
	return &leafFile{file: f, epoch: epoch}, nil
}

// switchLeafFile syncs and closes old, if any.
func switchLeafFile(old *leafFile, dir string, agreement [16]byte, epoch int64) (*leafFile, error) {
	if old != nil {
		if err := old.sync(); err != nil {
			return nil, err
		}
		old.file.Close()
	}
	return openLeafFile(dir, agreement, epoch)
}

func (f *leafFile) write(from int64, raws [][]byte) error {
	if len(raws) == 0 {
		return nil
	}
	b := make([]byte, 0, len(raws)*LeafSize)
	for _, r := range raws {
		b = append(b, r...)
	}
	f.dirty = true
	if _, err := f.file.WriteAt(b, from*LeafSize); err != nil {
		return fmt.Errorf("couldn't write leaves: %w", err)
	}
	return nil
}

func (f *leafFile) read(seq int64) ([]byte, error) {
	b := make([]byte, LeafSize)
	if _, err := f.file.ReadAt(b, seq*LeafSize); err != nil {
		return nil, fmt.Errorf("couldn't read leaf %d: %w", seq, err)
	}
	return b, nil
}

func (f *leafFile) size() (int64, error) {
	fi, err := f.file.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size() / LeafSize, nil
}

func (f *leafFile) sync() error {
	if !f.dirty {
		return nil
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("couldn't sync leaves: %w", err)
	}
	f.dirty = false
	return nil
}
