package evidencetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/ledger/evidence"
)

// Resign signs a manifest anew over the files as they are, as whoever holds the log's key can; edit may be nil.
func (l *Ledger) Resign(dir string, edit func(*evidence.Manifest)) error {
	name := filepath.Join(dir, evidence.ManifestFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var m evidence.Manifest
	text, _, _ := bytes.Cut(b, []byte("\n"))
	if err := canon.Unmarshal(text, &m); err != nil {
		return err
	}
	m.Files = nil
	for _, f := range []string{evidence.CheckpointFile, evidence.EntriesFile, evidence.OpeningsFile} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		h := sha256.Sum256(b)
		m.Files = append(m.Files, evidence.FileDigest{Name: f, Bytes: int64(len(b)), SHA256: contracts.Hash(hex.EncodeToString(h[:]))})
	}
	if edit != nil {
		edit(&m)
	}
	signed, err := note.Sign(&note.Note{Text: string(canon.Marshal(m)) + "\n"}, l.Keys.Log)
	if err != nil {
		return err
	}
	return os.WriteFile(name, signed, 0o600)
}
