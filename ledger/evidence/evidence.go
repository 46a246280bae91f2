// Package evidence is a ledger in a folder, for someone who trusts neither the venue nor its machines: all entries, the
// openings that the holder may see, the published head with its witnesses' cosignatures, and a signed manifest over
// them. Audit verifies it without any server.
//
//	manifest         signed note by the log's key: what is in the folder, with sizes and SHA-256
//	entries.bin      every entry from position 0, each as length (4 bytes, big-endian) ‖ ledger.Entry encoding
//	checkpoint       C2SP checkpoint at exactly that size
//	openings.bin     optional; each as length ‖ opening record, ascending by commitment
//
// There is one encoding of everything: a flipped bit anywhere is found, and named.
package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Names of the files.
const (
	ManifestFile   = "manifest"
	EntriesFile    = "entries.bin"
	CheckpointFile = "checkpoint"
	OpeningsFile   = "openings.bin"
)

// Manifest says what an export holds, for whom and why.
type Manifest struct {
	Format    string           `json:"format"` // "bund/evidence/v1"
	Ledger    string           `json:"ledger"`
	Entries   int64            `json:"entries"`
	Openings  int64            `json:"openings"`  // 0 when none are supplied
	Requester string           `json:"requester"` // member id, or "operator"
	Reason    string           `json:"reason"`
	Made      contracts.Millis `json:"made"`
	Files     []FileDigest     `json:"files"` // in order of name
}

// FileDigest pins one file.
type FileDigest struct {
	Name   string         `json:"name"`
	Bytes  int64          `json:"bytes"`
	SHA256 contracts.Hash `json:"sha256"`
}

const format = "bund/evidence/v1"

// Writer writes an export. Files are complete when Close has answered.
type Writer struct {
	dir      string
	man      Manifest
	signer   note.Signer
	entries  *sink
	openings *sink
	last     contracts.Hash
}

// Create begins an export in an empty or new folder.
func Create(dir string, man Manifest, signer note.Signer) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't create the export's folder: %w", err)
	}
	if fs, err := os.ReadDir(dir); err != nil || len(fs) > 0 {
		return nil, fmt.Errorf("couldn't begin the export: the folder is not empty (%w)", errors.Join(err))
	}
	man.Format, man.Files = format, nil
	w := &Writer{dir: dir, man: man, signer: signer}
	var err error
	w.entries, err = create(dir, EntriesFile)
	return w, err
}

// Entry adds the next encoded entry.
func (w *Writer) Entry(encoded []byte) error {
	w.man.Entries++
	return w.entries.frame(encoded)
}

// Opening adds an opening. They come in ascending order of commitment.
func (w *Writer) Opening(k contracts.KeptOpening) error {
	if w.openings == nil {
		var err error
		if w.openings, err = create(w.dir, OpeningsFile); err != nil {
			return err
		}
	}
	if k.Commitment <= w.last {
		return errors.New("couldn't add the opening: out of order")
	}
	w.last = k.Commitment
	w.man.Openings++
	return w.openings.frame(encodeOpening(k))
}

// Close adds the head, signs the manifest and makes all durable.
func (w *Writer) Close(checkpoint []byte) error {
	cp, err := create(w.dir, CheckpointFile)
	if err != nil {
		return err
	}
	if err := cp.write(checkpoint); err != nil {
		return err
	}
	for _, s := range []*sink{cp, w.entries, w.openings} {
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
	signed, err := note.Sign(&note.Note{Text: string(canon.Marshal(w.man)) + "\n"}, w.signer)
	if err != nil {
		return fmt.Errorf("couldn't sign the manifest: %w", err)
	}
	m, err := create(w.dir, ManifestFile)
	if err != nil {
		return err
	}
	if err := m.write(signed); err != nil {
		return err
	}
	_, err = m.close()
	return err
}

// parseManifest verifies the log's signature and accepts only the one encoding.
func parseManifest(b []byte, log note.Verifier) (*Manifest, error) {
	n, err := note.Open(b, note.VerifierList(log))
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return nil, errors.New("signature: want the log's and no other")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != n.Sigs[0].Base64 ||
		!bytes.Equal(b, []byte(n.Text+"\n— "+n.Sigs[0].Name+" "+n.Sigs[0].Base64+"\n")) {
		return nil, errors.New("signature: not in its one form")
	}
	m := new(Manifest)
	if err := canon.Unmarshal([]byte(strings.TrimSuffix(n.Text, "\n")), m); err != nil {
		return nil, err
	}
	if m.Format != format {
		return nil, errors.New("format: unknown")
	}
	return m, nil
}

func encodeOpening(k contracts.KeptOpening) []byte {
	c := k.Commitment.Bytes()
	b := append([]byte{1}, c[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(k.Tag)))
	b = append(b, k.Tag...)
	b = append(b, k.Opening.Salt[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(k.Audience)))
	for _, id := range k.Audience {
		x := id.Bytes()
		b = append(b, x[:]...)
	}
	return append(b, k.Opening.Value...)
}

// DecodeOpening accepts only what encodeOpening writes, and only when the commitment fits.
func DecodeOpening(b []byte) (contracts.KeptOpening, error) {
	var k contracts.KeptOpening
	bad := func(field string) (contracts.KeptOpening, error) {
		return contracts.KeptOpening{}, fmt.Errorf("%s is malformed", field)
	}
	if len(b) < 35 || b[0] != 1 {
		return bad("version")
	}
	k.Commitment = contracts.Hash(hex.EncodeToString(b[1:33]))
	n := int(binary.BigEndian.Uint16(b[33:]))
	if b = b[35:]; len(b) < n+34 {
		return bad("tag")
	}
	k.Tag = string(b[:n])
	copy(k.Opening.Salt[:], b[n:])
	m := int(binary.BigEndian.Uint16(b[n+32:]))
	if b = b[n+34:]; len(b) < 16*m {
		return bad("audience")
	}
	for range m {
		k.Audience = append(k.Audience, contracts.ID(hex.EncodeToString(b[:16])))
		b = b[16:]
	}
	if !slices.IsSorted(k.Audience) {
		return bad("audience")
	}
	k.Opening.Value = b
	if k.Opening.Commitment(k.Tag) != k.Commitment {
		return contracts.KeptOpening{}, errors.New("commitment does not fit tag, salt and value")
	}
	return k, nil
}

// sink is a file that counts and hashes what is written to it.
type sink struct {
	f    *os.File
	name string
	n    int64
	buf  []byte
	sum  interface {
		Write([]byte) (int, error)
		Sum([]byte) []byte
	}
}

func create(dir, name string) (*sink, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't create %s: %w", name, err)
	}
	return &sink{f: f, name: name, sum: sha256.New()}, nil
}

func (s *sink) frame(b []byte) error {
	if err := s.write(binary.BigEndian.AppendUint32(nil, uint32(len(b)))); err != nil {
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

// frames splits a file into its frames; offset is where the bad one begins.
func frames(b []byte, limit int) (out [][]byte, offset int, err error) {
	total := len(b)
	for len(b) > 0 {
		at := total - len(b)
		if len(b) < 4 {
			return out, at, errors.New("length is cut off")
		}
		n := int(binary.BigEndian.Uint32(b))
		if n > limit || n > len(b)-4 {
			return out, at, errors.New("length exceeds the file")
		}
		out = append(out, b[4:4+n:4+n])
		b = b[4+n:]
	}
	return out, total, nil
}
