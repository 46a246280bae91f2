package evidence

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
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

const (
	format       = "bund/evidence/v1"
	maxNoteBytes = 64 << 10 // manifest, checkpoint
)

// known lists the files that a manifest may name, in order; all but the openings must be there.
var known = []string{CheckpointFile, EntriesFile, OpeningsFile}

// Check refuses a manifest that no Writer writes.
func (m Manifest) Check() error {
	switch {
	case m.Format != format:
		return errors.New("format: unknown")
	case m.Entries < 1 || m.Openings < 0 || m.Openings > 0 && m.file(OpeningsFile) == nil:
		return errors.New("entries or openings: impossible numbers")
	case m.file(EntriesFile) == nil || m.file(CheckpointFile) == nil:
		return errors.New("files: entries and checkpoint must be there")
	}
	for i, f := range m.Files {
		if !slices.Contains(known, f.Name) || i > 0 && f.Name <= m.Files[i-1].Name || f.Bytes < 0 {
			return fmt.Errorf("files: %q is unknown, out of order or there twice", f.Name)
		}
	}
	return nil
}

func (m *Manifest) file(name string) *FileDigest {
	i := slices.IndexFunc(m.Files, func(d FileDigest) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &m.Files[i]
}

func (m *Manifest) sign(s note.Signer) ([]byte, error) {
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("couldn't sign the manifest: %w", err)
	}
	b, err := note.Sign(&note.Note{Text: string(canon.Marshal(m)) + "\n"}, s)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign the manifest: %w", err)
	}
	return b, nil
}

// parseManifest verifies the log's signature and accepts only the one encoding.
func parseManifest(b []byte, log note.Verifier) (*Manifest, error) {
	if len(b) > maxNoteBytes {
		return nil, fmt.Errorf("size: more than %d bytes", maxNoteBytes)
	}
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
	return decodeManifest(strings.TrimSuffix(n.Text, "\n"))
}

func decodeManifest(text string) (*Manifest, error) {
	m := new(Manifest)
	if err := canon.Unmarshal([]byte(text), m); err != nil {
		return nil, err
	}
	return m, nil
}
