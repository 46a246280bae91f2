package network

import (
	"bufio"

	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// inventory is written last: a backup without it isn't whole.
const inventory = "SHA256SUMS"

// notBackedUp are folders and files that say something of processes that run, or ran.
var notBackedUp = map[string]bool{"lock": true, "run": true, "logs": true}

// Backup copies a stopped network, all of it, to a folder that is not there yet: keys of CAs, organisations and orderers, the
// orderers' log and blocks, every peer's ledger, the chaincode programs. It is a cold copy, since an orderer's log, its blocks
// and a peer's databases are only then of one moment.
func (n *Network) Backup(to string) (err error) {
	return n.change(func() error {
		if err := n.plan(); err != nil {
			return err
		}
		for _, p := range n.processes {
			if p.Alive() {
				return fmt.Errorf("couldn't back up the network: %s runs; fabricnet down first", p.Name)
			}
		}
		if err := os.Mkdir(to, 0o700); err != nil {
			return fmt.Errorf("couldn't back up the network: %w", err)
		}
		var sums strings.Builder
		err := filepath.WalkDir(n.dir, func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(n.dir, file)
			if err != nil {
				return err
			}
			if notBackedUp[rel] {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			if d.IsDir() {
				if rel == "." {
					return nil
				}
				return os.Mkdir(filepath.Join(to, rel), 0o700)
			}
			if !d.Type().IsRegular() {
				return nil
			}
			sum, err := copyFile(file, filepath.Join(to, rel))
			fmt.Fprintf(&sums, "%s  %s\n", sum, rel)
			return err
		})
		if err == nil {
			err = replaceFile(filepath.Join(to, inventory), []byte(sums.String()))
		}
		if err != nil {
			return fmt.Errorf("couldn't back up the network: %w", err)
		}
		return nil
	})
}

// Restore puts a backup into a folder that is not there yet, on the same ports. Every file is held against the backup's
// inventory first. Nothing may have been ordered since the backup that anybody still knows of: see the operating guide.
func Restore(from, dir string) (err error) {
	sums, err := os.Open(filepath.Join(from, inventory))
	if err != nil {
		return fmt.Errorf("couldn't restore the network: the backup isn't whole: %w", err)
	}
	defer sums.Close()
	half := filepath.Clean(dir) + ".half"
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("couldn't restore the network: %s is there already", dir))
	}
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(half)) // it holds the CAs' keys
		}
	}()
	s := bufio.NewScanner(sums)
	for s.Scan() {
		want, name, ok := strings.Cut(s.Text(), "  ")
		if !ok || !filepath.IsLocal(name) {
			return fmt.Errorf("couldn't restore the network: the inventory has a line %q", s.Text())
		}
		to := filepath.Join(half, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		got, err := copyFile(filepath.Join(from, name), to)
		if err == nil && got != want {
			err = fmt.Errorf("%s is not what was backed up", name)
		}
		if err != nil {
			return fmt.Errorf("couldn't restore the network: %w", err)
		}
	}
	if err := s.Err(); err != nil {
		return err
	}
	return os.Rename(half, dir)
}

// copyFile copies a file with its mode, to the disk, and gives the digest of what it copied.
func copyFile(from, to string) (digest string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return "", err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	return fmt.Sprintf("%x", h.Sum(nil)), errors.Join(err, out.Sync(), out.Close())
}
