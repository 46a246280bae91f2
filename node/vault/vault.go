// Package vault keeps the datasets of a data owner's node.
//
// An import reads a source (CSV, Parquet, a PostgreSQL table) against the dataset's schema and either keeps all of it
// as an immutable dataset snapshot or, at the first sign of bad input, nothing: the answer is then a list of Faults
// with code, line and field. Lookups go by key against one snapshot.
//
// # The digest of a dataset snapshot
//
// Every value has one canonical text (see canonical), whatever the source's own type was; an empty cell, an empty
// string and a database NULL are one thing: empty. A row is its values in the schema's order. Rows are sorted by key
// (bytewise), then asOf, then knownAt; no two rows may agree in all three, so the order is total and the order of the
// source doesn't matter. The digest is
//
//	SHA-256("bund/dataset/v1" ‖ 0 ‖ schema digest ‖ (length ‖ row)*)    row = (length ‖ text)*
//
// with lengths as unsigned varints and length 0 for empty. The same rows under the same schema give the same digest
// from any source in any order.
//
// # On disk
//
//	<vault>/lock                          held by the one process that has the vault open
//	<vault>/<dataset>/<digest>.snapshot   immutable
//	<vault>/<dataset>/current             names the snapshot that lookups use; replaced by rename
//	<vault>/<dataset>/tmp-*               an import under way; removed at open
//
// A snapshot file is synced, and its name too, before current names it. A crash at any point leaves the former
// snapshot or the new one, whole.
package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sys/unix"

	"github.com/bund-exchange/bund/contracts"
)

// Limits of a dataset. They bound what one bad cell, row or key can cost in memory.
const (
	MaxFields     = 512      // of a schema
	MaxValueBytes = 64 << 10 // of one value's text
	MaxRowBytes   = 1 << 20  // of one row, as the source writes it
	MaxKeyBytes   = 256      // of a key's text
	MaxGroupBytes = 16 << 20 // of all rows of one key
)

// Config is what a vault needs from its owner.
type Config struct {
	Dir string           // made if it is missing; 0700
	Now func() time.Time // no fact may lie after it
	// SortBytes bounds the memory of an import's sort; 0 is 64 MiB. More rows than fit are sorted on disk in Dir.
	SortBytes int
	// Tables is a PostgreSQL that the current snapshots are copied into, for lookups there instead of in the files. Nil
	// looks up in the files. The vault leaves it open.
	Tables *sqlx.DB
}

// Vault is one folder of datasets. Exactly one process has it open. Its methods may be called from many goroutines.
type Vault struct {
	cfg  Config
	disk disk
	lock *os.File

	importing sync.Mutex // one import at a time: each may use SortBytes

	mu   sync.RWMutex
	open map[string]*Dataset // by name
}

// Dataset is a name and the snapshot that lookups use now.
type Dataset struct {
	Name     string
	Source   string           // kind of source: csv, parquet, postgres
	AsOf     contracts.Millis // newest fact in it
	Imported contracts.Millis
	*Snapshot
	table *table // instead of the snapshot's file, by Config.Tables
}

// Lookup finds the row of a key, in the snapshot's file or its copy in PostgreSQL.
func (d *Dataset) Lookup(ctx context.Context, q Query) Answer {
	if d.table != nil {
		return d.table.Lookup(ctx, q)
	}
	return d.Snapshot.Lookup(ctx, q)
}

func (v *Vault) copyTable(ctx context.Context, d *Dataset) (err error) {
	if v.cfg.Tables != nil {
		d.table, err = copyTable(ctx, v.cfg.Tables, d.Snapshot)
	}
	return err
}

// Open opens the vault in cfg.Dir, removes what a crashed import left, and opens the current snapshot of every
// dataset. It refuses a vault with a damaged or missing snapshot, saying which.
func Open(cfg Config) (*Vault, error) { return openOn(osDisk{}, cfg) }

func openOn(d disk, cfg Config) (*Vault, error) {
	if cfg.Now == nil {
		return nil, errors.New("vault: Config.Now is not set")
	}
	if cfg.SortBytes <= 0 {
		cfg.SortBytes = 64 << 20
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make vault folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't open vault lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("couldn't lock vault %s, another process has it open: %w", cfg.Dir, err)
	}
	v := &Vault{cfg: cfg, disk: d, lock: lock, open: map[string]*Dataset{}}
	if err := v.load(); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

func (v *Vault) load() error {
	entries, err := os.ReadDir(v.cfg.Dir)
	if err != nil {
		return fmt.Errorf("couldn't list vault: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || checkName(e.Name()) != nil {
			continue
		}
		dir := filepath.Join(v.cfg.Dir, e.Name())
		if err := v.sweep(dir); err != nil {
			return err
		}
		m, err := readManifest(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // the first import never finished
		}
		if err != nil {
			return fmt.Errorf("couldn't read current snapshot of dataset %s: %w", e.Name(), err)
		}
		s, err := openSnapshot(snapshotPath(dir, m.Digest))
		if err != nil {
			return fmt.Errorf("couldn't open dataset %s: %w", e.Name(), err)
		}
		v.open[e.Name()] = &Dataset{Name: e.Name(), Source: m.Source, AsOf: m.AsOf, Imported: m.Imported, Snapshot: s}
		if s.Digest() != m.Digest {
			return fmt.Errorf("couldn't open dataset %s: snapshot %s says it is %s", e.Name(), m.Digest, s.Digest())
		}
		if err := v.copyTable(context.Background(), v.open[e.Name()]); err != nil {
			return fmt.Errorf("couldn't open dataset %s: %w", e.Name(), err)
		}
	}
	return nil
}

// sweep removes what an unfinished import left behind.
func (v *Vault) sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "tmp-*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := v.disk.remove(path); err != nil {
			return fmt.Errorf("couldn't remove unfinished import: %w", err)
		}
	}
	return nil
}

// Dataset gives the current snapshot of a dataset. It stays usable after a later import has replaced it.
func (v *Vault) Dataset(name string) (*Dataset, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	d, ok := v.open[name]
	return d, ok
}

// Names lists the datasets, sorted.
func (v *Vault) Names() []string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return sortedKeys(v.open)
}

// At opens an earlier snapshot of a dataset, for a back-test or a dispute. The caller closes it.
func (v *Vault) At(name string, digest contracts.Hash) (*Snapshot, error) {
	if err := errors.Join(checkName(name), digest.Check()); err != nil {
		return nil, fmt.Errorf("couldn't open snapshot: %w", err)
	}
	return openSnapshot(snapshotPath(filepath.Join(v.cfg.Dir, name), digest))
}

// Forget removes a snapshot that is not the current one. Receipts that name its digest keep their meaning; a back-test
// of it is no longer possible here.
func (v *Vault) Forget(name string, digest contracts.Hash) error {
	if err := errors.Join(checkName(name), digest.Check()); err != nil {
		return fmt.Errorf("couldn't forget snapshot: %w", err)
	}
	v.importing.Lock()
	defer v.importing.Unlock()
	if d, ok := v.Dataset(name); ok && d.Digest() == digest {
		return fmt.Errorf("couldn't forget snapshot %s: it is the current one of dataset %s", digest, name)
	}
	if v.cfg.Tables != nil && !v.inUse(digest) {
		if err := dropTable(context.Background(), v.cfg.Tables, digest); err != nil {
			return err
		}
	}
	dir := filepath.Join(v.cfg.Dir, name)
	if err := v.disk.remove(snapshotPath(dir, digest)); err != nil {
		return fmt.Errorf("couldn't forget snapshot: %w", err)
	}
	return v.disk.syncDir(dir)
}

// inUse reports whether any dataset's current snapshot has the digest: two datasets of the same rows share a table.
func (v *Vault) inUse(digest contracts.Hash) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, d := range v.open {
		if d.Digest() == digest {
			return true
		}
	}
	return false
}

// Close closes the current snapshots and lets another process open the vault. Lookups must have ended.
func (v *Vault) Close() error {
	v.importing.Lock()
	defer v.importing.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	for _, d := range v.open {
		errs = append(errs, d.Snapshot.Close())
	}
	v.open = map[string]*Dataset{}
	return errors.Join(append(errs, v.lock.Close())...)
}

// checkName refuses names that could leave the vault's folder or collide with its own files.
func checkName(name string) error {
	if name == "" || len(name) > 63 || name[0] == '-' || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || name == "lock" {
		return errors.New("a dataset's name has 1 to 63 characters of a–z, 0–9 and -")
	}
	return nil
}

func snapshotPath(dir string, digest contracts.Hash) string {
	return filepath.Join(dir, string(digest)+".snapshot")
}
