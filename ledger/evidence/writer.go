package evidence

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
)

// Writer writes an export. Its files are complete and durable when Close has answered; after any error the folder is
// worth nothing.
type Writer struct {
	dir      string
	man      Manifest
	signer   note.Signer
	entries  *sink
	openings *sink
	last     contracts.Hash
}

// Create begins an export in an empty or new folder. The ledger, requester, reason and time of man are kept, the rest
// follows from what is written.
func Create(dir string, man Manifest, signer note.Signer) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't create the export's folder: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't begin the export: %w", err)
	}
	if len(there) > 0 {
		return nil, fmt.Errorf("couldn't begin the export: %s is not empty", dir)
	}
	man.Format, man.Entries, man.Openings, man.Files = format, 0, 0, nil
	w := &Writer{dir: dir, man: man, signer: signer}
	w.entries, err = create(dir, EntriesFile)
	return w, err
}

// Entry adds the next encoded entry, from position 0 on.
func (w *Writer) Entry(encoded []byte) error {
	w.man.Entries++
	return w.entries.frame(encoded)
}

// WithOpenings says that the export is meant to have all openings, even if there is none: one that is missing without
// an erasure is then a failure. Opening implies it.
func (w *Writer) WithOpenings() (err error) {
	if w.openings == nil {
		w.openings, err = create(w.dir, OpeningsFile)
	}
	return err
}

// Opening adds an opening. They come in ascending order of commitment, all that the entries refer to; some more do no
// harm.
func (w *Writer) Opening(k contracts.KeptOpening) error {
	if err := w.WithOpenings(); err != nil {
		return err
	}
	if k.Commitment <= w.last {
		return errors.New("couldn't add the opening: out of order")
	}
	b, err := encodeOpening(k)
	if err != nil {
		return err
	}
	w.last = k.Commitment
	w.man.Openings++
	return w.openings.frame(b)
}

// Close adds the head, which must be of exactly the entries, signs the manifest and makes all durable.
func (w *Writer) Close(checkpoint []byte) error {
	head, err := create(w.dir, CheckpointFile)
	if err != nil {
		return err
	}
	if err := head.write(checkpoint); err != nil {
		return err
	}
	for _, s := range []*sink{head, w.entries, w.openings} {
		if s == nil {
			continue
		}
		d, err := s.close()
		if err != nil {
			return err
		}
		w.man.Files = append(w.man.Files, d)
	}
	slices.SortFunc(w.man.Files, func(a, b FileDigest) int { return strings.Compare(a.Name, b.Name) })
	signed, err := w.man.sign(w.signer)
	if err != nil {
		return err
	}
	m, err := create(w.dir, ManifestFile)
	if err != nil {
		return err
	}
	if err := m.write(signed); err != nil {
		return err
	}
	if _, err = m.close(); err != nil {
		return err
	}
	d, err := os.Open(w.dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("couldn't finish the export: %w", err)
	}
	return nil
}

// sink is a file that counts and hashes what is written to it.
type sink struct {
	f    *os.File
	name string
	n    int64
	buf  []byte
	sum  hash.Hash
}

func create(dir, name string) (*sink, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't create %s: %w", name, err)
	}
	return &sink{f: f, name: name, sum: sha256.New()}, nil
}

func (s *sink) frame(b []byte) error {
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(b)))
	if err := s.write(head[:]); err != nil {
		return err
	}
	return s.write(b)
}

func (s *sink) write(b []byte) error {
	s.n += int64(len(b))
	s.sum.Write(b)
	if s.buf = append(s.buf, b...); len(s.buf) > 1<<20 {
		return s.flush()
	}
	return nil
}

func (s *sink) flush() error {
	_, err := s.f.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return fmt.Errorf("couldn't write %s: %w", s.name, err)
	}
	return nil
}

func (s *sink) close() (FileDigest, error) {
	if err := errors.Join(s.flush(), s.f.Sync(), s.f.Close()); err != nil {
		return FileDigest{}, fmt.Errorf("couldn't finish %s: %w", s.name, err)
	}
	return FileDigest{Name: s.name, Bytes: s.n, SHA256: contracts.Hash(hex.EncodeToString(s.sum.Sum(nil)))}, nil
}
