// Package witness is a witness of one log after C2SP tlog-witness: it cosigns a checkpoint only if it extends what it
// cosigned before, and says when. Regulator and members run it on machines of their own (bundaudit witness is flags
// around it); without one, a lone operator can show two histories.
//
//	log ── POST /add-checkpoint {old size, consistency proof, checkpoint} ──▶ check ──▶ sync state ──▶ cosignature
//
// Everything rests on the state file: a witness that forgets what it signed will sign a second history. So it is durable
// before any signature leaves, and a folder without one is refused unless the operator says Begin.
package witness

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"github.com/bund-exchange/bund/ledger/publish"
)

// Config of a Witness. All but Begin, Now and Log are required.
type Config struct {
	Dir    string // state file and evidence
	LogKey string // of the log, textual form; its name is the origin
	Key    string // own private key, textual form; never logged
	Begin  bool   // start with an empty folder: this witness has never cosigned this log. Refused when there is a state

	Now func() time.Time
	Log *slog.Logger
}

// Errors of Open.
var (
	ErrNoState = errors.New("witness: no state in the folder; a witness that forgot what it signed must not go on")
	ErrState   = errors.New("witness: there is a state already; this witness has begun")
	ErrInUse   = errors.New("witness: another process holds the folder")
)

// Witness is safe for concurrent use: requests are checked and recorded one at a time.
type Witness struct {
	dir    string
	policy publish.Policy // the log's key only
	key    cosigner
	now    func() time.Time
	log    *slog.Logger
	lock   *os.File

	mu       sync.Mutex
	last     publish.Head // last cosigned; Size 0 and no bytes before the first
	cosigned *roll        // of this epoch
	broken   error        // a failed write of the state; only a new start knows what is on disk
}

// Open takes the folder and reads the state.
func Open(cfg Config) (*Witness, error) {
	w := &Witness{dir: cfg.Dir, now: cfg.Now, log: cfg.Log}
	if w.now == nil {
		w.now = time.Now
	}
	if w.log == nil {
		w.log = slog.Default()
	}
	var err error
	if w.policy, err = publish.NewPolicy(cfg.LogKey, nil, 0); err != nil {
		return nil, err
	}
	if w.key, err = parseCosigner(cfg.Key); err != nil {
		return nil, err
	}
	if w.key.name == w.origin() {
		return nil, errors.New("witness: its name is the log's")
	}
	if cfg.Begin {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("couldn't make the witness folder: %w", err)
		}
	}
	if w.lock, err = lockFolder(cfg.Dir); err != nil {
		return nil, err
	}
	if w.last, err = w.load(); err == nil && cfg.Begin {
		err = ErrState
	}
	if errors.Is(err, ErrNoState) && cfg.Begin {
		err = w.save(nil)
	}
	if err == nil {
		w.cosigned, err = openRoll(filepath.Join(cfg.Dir, rollName), w.last.Checkpoint)
	}
	if err != nil {
		return nil, errors.Join(err, w.lock.Close())
	}
	return w, nil
}

func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoState, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't lock the witness folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrInUse, err), f.Close())
	}
	return f, nil
}

// Close waits for the request in progress and gives the folder free. No request is answered after it.
func (w *Witness) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = errors.New("witness is closed")
	return errors.Join(w.cosigned.close(), w.lock.Close())
}

func (w *Witness) origin() string { return w.policy.Log.Name() }

// Name is the name in its cosignatures.
func (w *Witness) Name() string { return w.key.name }

// VerifierKey is what trust-root files name.
func (w *Witness) VerifierKey() string { return w.key.verifierKey() }

// Last is the last cosigned checkpoint; false before the first.
func (w *Witness) Last() (publish.Head, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.last.Signed != nil
}

var _ note.Signer = timed{}
