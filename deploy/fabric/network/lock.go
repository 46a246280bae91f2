package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lock keeps two from changing one folder's network at once. The kernel gives it back when its holder dies.
func lock(dir string) (unlock func(), err error) { return flock(dir, syscall.LOCK_EX) }

// share keeps those out who would change what there is, not those who add to it beside us.
func share(dir string) (unlock func(), err error) { return flock(dir, syscall.LOCK_SH) }

func flock(dir string, how int) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't lock the network: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrBusy, dir)
		}
		return nil, fmt.Errorf("couldn't lock the network: %w", err)
	}
	return func() { f.Close() }, nil
}

// ErrBusy is the error of an operation on a network that another one is being done to.
var ErrBusy = errors.New("somebody else is starting, stopping or changing this network")
