package embedded

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
)

// Snapshot describes a ledger snapshot: the whole state after the first Height entries. Two files hold it, the state
// itself and this description. StateHash is what a command records in the log, and what an auditor finds by replay.
type Snapshot struct {
	LedgerID  string
	Height    uint64
	EntryHash [32]byte // of entry Height-1
	Time      contracts.Millis
	StateHash [32]byte
}

const (
	snapshotVersion = "bund/ledger-snapshot/v1"
	snapshotExt     = ".ledgersnap"
)

func snapshotPath(dir string, height uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", height, snapshotExt))
}

// String is the description's file: one value a line.
func (s Snapshot) String() string {
	return fmt.Sprintf("%s\n%s\n%d\n%x\n%d\n%x\n", snapshotVersion, s.LedgerID, s.Height, s.EntryHash, s.Time, s.StateHash)
}

// ParseSnapshot accepts only what String writes.
func ParseSnapshot(text string) (Snapshot, error) {
	var s Snapshot
	lines := strings.Split(text, "\n")
	if len(lines) != 7 || lines[0] != snapshotVersion {
		return s, errors.New("ledger snapshot: unknown form")
	}
	s.LedgerID = lines[1]
	height, err1 := strconv.ParseUint(lines[2], 10, 64)
	ms, err2 := strconv.ParseInt(lines[4], 10, 64)
	n1, err3 := hex.Decode(s.EntryHash[:], clip(lines[3]))
	n2, err4 := hex.Decode(s.StateHash[:], clip(lines[5]))
	s.Height, s.Time = height, contracts.Millis(ms)
	if err := errors.Join(err1, err2, err3, err4); err != nil || n1 != 32 || n2 != 32 || s.String() != text {
		return Snapshot{}, errors.New("ledger snapshot: malformed")
	}
	return s, nil
}

func clip(hexDigits string) []byte { return []byte(hexDigits)[:min(len(hexDigits), 64)] }

// Snapshot writes the state as it is now into dir, compact and in order of key, beside the running writer. The hash is
// taken from what was written. The description is written last: a state file without one is unfinished.
func (l *Ledger) Snapshot(dir string) (Snapshot, error) {
	if err := l.store.flush(); err != nil {
		return Snapshot{}, err
	}
	if err := makeDir(dir); err != nil {
		return Snapshot{}, fmt.Errorf("couldn't make the snapshot's folder: %w", err)
	}
	part := filepath.Join(dir, "unfinished"+snapshotExt)
	defer os.Remove(part)
	s, err := l.store.copyTo(part, l.cfg.LedgerID)
	if err != nil {
		return Snapshot{}, fmt.Errorf("couldn't write the snapshot: %w", err)
	}
	path := snapshotPath(dir, s.Height)
	if err := os.Rename(part, path); err != nil {
		return Snapshot{}, fmt.Errorf("couldn't write the snapshot: %w", err)
	}
	if err := Dir(dir).SyncDir(); err != nil {
		return Snapshot{}, fmt.Errorf("couldn't write the snapshot: %w", err)
	}
	if err := writeDurably(path+".txt", s.String()); err != nil {
		return Snapshot{}, fmt.Errorf("couldn't write the snapshot's description: %w", err)
	}
	return s, nil
}

// copyBytes bounds one transaction of a copy, and with it the memory that the copy takes.
const copyBytes = 16 << 20

// copyTo writes the file's state, from one read transaction, into a new file.
func (s *store) copyTo(path, ledgerID string) (Snapshot, error) {
	if err := os.RemoveAll(path); err != nil {
		return Snapshot{}, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoGrowSync: true, InitialMmapSize: mapBytes})
	if err != nil {
		return Snapshot{}, err
	}
	defer db.Close()
	if err := bolt.Compact(db, s.db, copyBytes); err != nil {
		return Snapshot{}, err
	}
	if err := db.Sync(); err != nil {
		return Snapshot{}, err
	}
	tx, err := db.Begin(false)
	if err != nil {
		return Snapshot{}, err
	}
	defer tx.Rollback()
	hash, to, err := hashStored(tx)
	return Snapshot{ledgerID, to.height, to.hash, to.time, hash}, err
}

// AdoptSnapshot makes the snapshot at path (a .ledgersnap file beside its description) the state store of the ledger in
// cfg.Dir, in place of the one that is there. The file itself moves, since it may be large; whoever needs it elsewhere
// keeps a copy. It verifies the state against the description; that the description is the ledger's own is for the log
// to say: Open compares the entry hash, and an auditor the recorded state hash. The ledger must be closed.
func AdoptSnapshot(cfg Config, path string) (Snapshot, error) {
	text, err := os.ReadFile(path + ".txt")
	if err != nil {
		return Snapshot{}, fmt.Errorf("couldn't read the snapshot's description: %w", err)
	}
	s, err := ParseSnapshot(string(text))
	if err != nil {
		return Snapshot{}, err
	}
	if s.LedgerID != cfg.LedgerID {
		return Snapshot{}, fmt.Errorf("couldn't adopt the snapshot: %w", errForeignStore)
	}
	if err := makeDir(cfg.Dir); err != nil {
		return Snapshot{}, fmt.Errorf("couldn't make the ledger's folder: %w", err)
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return Snapshot{}, fmt.Errorf("couldn't adopt the snapshot: %w", err)
	}
	defer lock.Close()
	if err := s.verify(path); err != nil {
		return Snapshot{}, fmt.Errorf("couldn't adopt the snapshot: %w", err)
	}
	if err := os.Rename(path, statePath(cfg.Dir)); err != nil {
		return Snapshot{}, fmt.Errorf("couldn't adopt the snapshot: %w", err)
	}
	return s, Dir(cfg.Dir).SyncDir()
}

// verify hashes the state file and compares it with the description.
func (s Snapshot) verify(path string) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		if tx.Bucket(stateBucket) == nil || tx.Bucket(metaBucket) == nil {
			return errors.New("it is not a ledger snapshot")
		}
		hash, to, err := hashStored(tx)
		if err != nil {
			return err
		}
		if string(tx.Bucket(metaBucket).Get(ledgerKey)) != s.LedgerID {
			return errForeignStore
		}
		if hash != s.StateHash || to.height != s.Height || to.hash != s.EntryHash || to.time != s.Time {
			return errors.New("the state is not the one described")
		}
		return nil
	})
}

// writeDurably writes a file that is there whole or not at all.
func writeDurably(path, text string) error {
	f, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(path+".part", path); err != nil {
		return err
	}
	return Dir(filepath.Dir(path)).SyncDir()
}
