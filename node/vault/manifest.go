package vault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// ErrUnconfirmed says that an import's last step may or may not be durable: the name was changed, and the folder
// couldn't be synced. The next open shows which.
var ErrUnconfirmed = errors.New("outcome of the import is unknown until the vault is opened again")

// manifest is the file "current" of a dataset.
type manifest struct {
	Digest   contracts.Hash   `json:"digest"`
	Source   string           `json:"source"`
	AsOf     contracts.Millis `json:"asOf"`
	Imported contracts.Millis `json:"imported"`
}

func (m manifest) Check() error {
	return errors.Join(m.Digest.Check(), m.AsOf.Check(), m.Imported.Check())
}

func readManifest(dir string) (*manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, "current"))
	if err != nil {
		return nil, err
	}
	var m manifest
	if err := canon.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return &m, nil
}

// adopt gives a synced snapshot file its name and opens it. It isn't the current one yet.
func (v *Vault) adopt(scratch *scratch, dir, path string, m *manifest) (*Snapshot, error) {
	if err := scratch.keep(path); err != nil {
		return nil, fmt.Errorf("couldn't close snapshot: %w", err)
	}
	final := snapshotPath(dir, m.Digest)
	// The same rows may be there already, from an earlier import. The new file has the same content and was checked as
	// it was written, so it takes the old one's place.
	if err := v.disk.rename(path, final); err != nil {
		v.disk.remove(path)
		return nil, fmt.Errorf("couldn't name snapshot: %w", err)
	}
	if err := v.disk.syncDir(dir); err != nil {
		return nil, fmt.Errorf("couldn't sync dataset folder: %w", err)
	}
	return openSnapshot(final)
}

// point replaces the file "current". Every step before and after it leaves a folder that opens.
func (v *Vault) point(scratch *scratch, dir string, m *manifest) error {
	f, path, err := scratch.create()
	if err != nil {
		return fmt.Errorf("couldn't create manifest: %w", err)
	}
	if _, err := f.Write(canon.Marshal(m)); err != nil {
		return fmt.Errorf("couldn't write manifest: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("couldn't sync manifest: %w", err)
	}
	if err := scratch.keep(path); err != nil {
		return fmt.Errorf("couldn't close manifest: %w", err)
	}
	if err := v.disk.rename(path, filepath.Join(dir, "current")); err != nil {
		v.disk.remove(path)
		return fmt.Errorf("couldn't make snapshot current: %w", err)
	}
	if err := v.disk.syncDir(dir); err != nil {
		return fmt.Errorf("%w: couldn't sync dataset folder: %v", ErrUnconfirmed, err)
	}
	return nil
}
