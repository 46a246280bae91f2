package witness

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bund-exchange/bund/ledger/publish"
)

// The state file is a header naming the log, an empty line, and the last cosigned checkpoint as the log signed it;
// nothing after the empty line before the first. It is replaced as a whole.
const (
	stateName   = "cosigned"
	stateHeader = "bund/witness/v1 "
)

func (w *Witness) header() []byte { return []byte(stateHeader + w.origin() + "\n\n") }

func (w *Witness) load() (publish.Head, error) {
	b, err := os.ReadFile(filepath.Join(w.dir, stateName))
	if errors.Is(err, os.ErrNotExist) {
		return publish.Head{}, fmt.Errorf("%w: %s", ErrNoState, w.dir)
	}
	if err != nil {
		return publish.Head{}, fmt.Errorf("couldn't read the witness state: %w", err)
	}
	signed, ok := bytes.CutPrefix(b, w.header())
	if !ok {
		return publish.Head{}, errors.New("witness: the state is damaged or of another log")
	}
	if len(signed) == 0 {
		return publish.Head{}, nil
	}
	h, err := w.policy.Open(signed)
	if err != nil {
		return publish.Head{}, fmt.Errorf("witness: the state is damaged: %w", err)
	}
	return h, nil
}

// record makes h the state. The list of what was cosigned comes first: it may be longer than the state, never shorter.
func (w *Witness) record(h publish.Head) error {
	if err := w.cosigned.add(h.Checkpoint); err != nil {
		return fmt.Errorf("couldn't save what was cosigned: %w", err)
	}
	return w.save(h.Signed)
}

// save makes signed the state: after it returns nil no crash brings the old one back, before it no signature leaves.
func (w *Witness) save(signed []byte) error {
	if err := replaceFile(filepath.Join(w.dir, stateName), append(w.header(), signed...)); err != nil {
		return fmt.Errorf("couldn't save the witness state: %w", err)
	}
	return nil
}

func replaceFile(name string, content []byte) error {
	temp := name + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// maxEvidence bounds the folder; only holders of the log's key can fill it.
const maxEvidence = 256

const evidenceDir = "evidence"

// keep writes the last cosigned checkpoint and the one that doesn't fit it side by side. Both carry the log's
// signature. For kind "fork" (one size, two roots) that is proof against the log; for "unproven" it may also be a
// client's wrong consistency proof.
func (w *Witness) keep(kind string, refused publish.Head) error {
	dir := filepath.Join(w.dir, evidenceDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "bund/witness/evidence/v1 %s\n%d\n", kind, len(w.last.Signed))
	b.Write(w.last.Signed)
	fmt.Fprintf(&b, "%d\n", len(refused.Signed))
	b.Write(refused.Signed)
	id := sha256.Sum256([]byte(w.last.Text() + refused.Text())) // not over signatures: one pair, one file
	name := filepath.Join(dir, fmt.Sprintf("%s-%d-%d-%x", kind, w.last.Size, refused.Size, id[:8]))
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	have, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(have) >= maxEvidence {
		return fmt.Errorf("%s holds %d files already", dir, len(have))
	}
	return replaceFile(name, b.Bytes())
}
