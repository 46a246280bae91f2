package managed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockFolder makes sure that one process at a time runs the server of a folder. The lock ends with the process.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't open the lock of the database folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
		}
		return nil, fmt.Errorf("couldn't lock the database folder: %w", err)
	}
	return f, nil
}

// ErrInUse means that another process runs the server of this folder.
var ErrInUse = errors.New("the database folder is used by another process")

// clearStale ends the server of a process that was killed, and removes its pid file where the process id is by now
// another's: PostgreSQL refuses to start when any process of its account has that id. The folder's lock is held, so no
// living process wants that server.
func (s *Server) clearStale(ctx context.Context) error {
	if !canSeeProcesses {
		return nil
	}
	file := filepath.Join(s.data, "postmaster.pid")
	for asked := false; ; {
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("couldn't read postmaster.pid: %w", err)
		}
		first, _, _ := strings.Cut(string(b), "\n")
		pid, _ := strconv.Atoi(strings.TrimSpace(first))
		if dir, err := workingDir(pid); pid <= 1 || err != nil || dir != s.data {
			s.log.InfoContext(ctx, "removing what an earlier postgres left", "pid", pid)
			return s.removeLeftovers(file)
		}
		if !asked {
			s.log.InfoContext(ctx, "ending the postgres of an earlier run", "pid", pid)
			syscall.Kill(pid, syscall.SIGINT) // an error means that it has just ended
			asked = true
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("couldn't wait for an earlier postgres to end: %w", err)
		}
	}
}

// removeLeftovers removes the socket's lock as well: it names the same process.
func (s *Server) removeLeftovers(pidFile string) error {
	for _, f := range []string{filepath.Join(s.socket, ".s.PGSQL.5432.lock"), filepath.Join(s.socket, ".s.PGSQL.5432"), pidFile} {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("couldn't remove what an earlier postgres left: %w", err)
		}
	}
	return nil
}

// Free reports whether no process runs the server of a folder now.
func Free(dir string) (bool, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	f, err := lockFolder(dir)
	if errors.Is(err, ErrInUse) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}
