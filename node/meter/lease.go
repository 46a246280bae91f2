package meter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lease says who may write the store: the writer with the highest fencing token and, of those, the last to open it.
// The file is locked shared while a group is checked and written, and exclusively to take over, so that no group of
// an old writer lands after a new one has read the store. Between hosts the store must do the same in its own
// transaction.
type lease struct {
	file  *os.File
	token leaseToken
}

type leaseToken struct {
	fence       int64 // ledger position of the node's registration
	incarnation int64 // counts the openings, so that a process left over from before a restart is fenced too
}

const leaseSize = 8 + 8 + 4

// takeLease runs read while nobody can write, and returns with the store taken.
func takeLease(dir string, fence int64, read func() error) (*lease, error) {
	f, err := os.OpenFile(filepath.Join(dir, "fence"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't open fence: %w", err)
	}
	l := &lease{file: f}
	if err := l.take(fence, read); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func (l *lease) take(fence int64, read func() error) error {
	if err := l.lock(unix.LOCK_EX); err != nil {
		return err
	}
	defer l.unlock()
	held, err := l.held()
	if err != nil {
		return err
	}
	if held.fence > fence {
		return fmt.Errorf("%w: token %d, ours is %d", ErrFenced, held.fence, fence)
	}
	l.token = leaseToken{fence, held.incarnation + 1}
	b := be(nil, l.token.fence, l.token.incarnation)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := l.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("couldn't write fence: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("couldn't write fence: %w", err)
	}
	return read()
}

// check must be called between lock and unlock: a check before the lock would race with a takeover.
func (l *lease) check() error {
	held, err := l.held()
	if err != nil {
		return err
	}
	if held != l.token {
		return ErrFenced
	}
	return nil
}

func (l *lease) held() (t leaseToken, err error) {
	var b [leaseSize + 1]byte
	n, err := l.file.ReadAt(b[:], 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return t, fmt.Errorf("couldn't read fence: %w", err)
	case n == 0:
		return t, nil // new
	case n != leaseSize || crc32.Checksum(b[:16], castagnoli) != binary.BigEndian.Uint32(b[16:]):
		return t, errors.New("couldn't read fence: damaged")
	}
	return leaseToken{int64(binary.BigEndian.Uint64(b[:])), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

func (l *lease) lock(how int) error {
	for {
		err := unix.Flock(int(l.file.Fd()), how)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("couldn't lock fence: %w", err)
		}
	}
}

func (l *lease) unlock() { unix.Flock(int(l.file.Fd()), unix.LOCK_UN) }
