package managed

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSocketFolder keeps the socket's path within the 107 bytes of a Unix socket address.
const maxSocketFolder = 107 - len("/.s.PGSQL.5432")

// socketFolder makes the folder of the socket. Where the path would be too long it is one under /tmp, named by a hash
// of dir, which is used only if it is the server's and closed to others: anybody can make a folder there.
func socketFolder(dir string, as account) (string, error) {
	path := filepath.Join(dir, "s")
	if len(path) > maxSocketFolder {
		sum := sha256.Sum256([]byte(dir))
		path = filepath.Join("/tmp", ".bund-pg-"+hex.EncodeToString(sum[:8]))
	}
	err := os.Mkdir(path, 0o700)
	switch {
	case err == nil:
		if err := as.give(path); err != nil {
			return "", err
		}
	case !errors.Is(err, fs.ErrExist):
		return "", fmt.Errorf("couldn't make the socket's folder: %w", err)
	}
	st, err := os.Lstat(path)
	if err != nil {
		return "", fmt.Errorf("couldn't look at the socket's folder: %w", err)
	}
	if own := st.Sys().(*syscall.Stat_t); !st.IsDir() || st.Mode().Perm() != 0o700 || int(own.Uid) != as.owner() {
		return "", fmt.Errorf("%s is not a folder of mode 0700 that belongs to the database's account: remove it", path)
	}
	return path, nil
}

// readPassword reads the role's password, or makes it.
func readPassword(path string, as account) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		p := strings.TrimSpace(string(b))
		if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o077 != 0 || len(p) < 32 {
			return "", fmt.Errorf("%s must be of mode 0600 and hold at least 32 characters", path)
		}
		return p, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("couldn't read the database password: %w", err)
	}
	raw := make([]byte, 24)
	rand.Read(raw)
	p := hex.EncodeToString(raw)
	// Written aside and renamed: a half-written one would lock everybody out.
	tmp := path + ".new"
	os.Remove(tmp)
	if err := os.WriteFile(tmp, []byte(p+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("couldn't write the database password: %w", err)
	}
	if err := as.give(tmp); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, path); err != nil {
		return "", fmt.Errorf("couldn't write the database password: %w", err)
	}
	return p, nil
}

// makeCluster makes the database cluster if there is none. It is made under another name and renamed, so that an
// initdb that was killed never leaves half a cluster.
func (s *Server) makeCluster(ctx context.Context, cfg Config, bin binaries, as account) error {
	if _, err := os.Stat(filepath.Join(s.data, "PG_VERSION")); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("couldn't look at the database folder: %w", err)
	}
	tmp := s.data + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("couldn't remove a half-made database: %w", err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("couldn't make the database folder: %w", err)
	}
	if err := as.give(tmp); err != nil {
		return err
	}
	args := []string{"-D", tmp, "-U", Role, "-A", "scram-sha-256", "--pwfile=" + filepath.Join(s.dir, "password"), "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums"}
	if cfg.Disposable {
		args = append(args, "-N")
	}
	c := bin.command(ctx, "initdb", args...)
	c.Dir, c.SysProcAttr = s.dir, as.attr(syscall.SIGKILL)
	var out []byte
	done := make(chan error)
	go pinned(func() {
		var err error
		out, err = c.CombinedOutput()
		done <- err
	})
	err := <-done
	if err != nil {
		return fmt.Errorf("couldn't make the database (initdb: %w): %s", err, strings.TrimSpace(string(out)))
	}
	if err := os.Rename(tmp, s.data); err != nil {
		return fmt.Errorf("couldn't keep the database that was made: %w", err)
	}
	return nil
}

// maxLogBytes is when a new postgres.log is begun; one old one is kept.
const maxLogBytes = 16 << 20

func openLog(path string) (*os.File, error) {
	if st, err := os.Stat(path); err == nil && st.Size() > maxLogBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("couldn't set the old postgres.log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't open postgres.log: %w", err)
	}
	return f, nil
}

// tail gives the last lines that the server printed since from.
func tail(path string, from int64) string {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < from {
		return "see postgres.log"
	}
	s := strings.TrimSpace(string(b[from:]))
	if len(s) > 600 {
		s = s[len(s)-600:]
	}
	return s
}
