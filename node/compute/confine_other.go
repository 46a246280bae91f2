//go:build !(linux && (amd64 || arm64))

package compute

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tablePath is where a child finds the working table: the one file that it was handed, open.
const tablePath = "/dev/fd/3"

func confineThread(*os.File) Confinement { return 0 }

// confineProcess has only resource limits: Runner says so, and docs/privacy/compute.md what that means.
func confineProcess(l Limits) (Confinement, error) {
	for what, limit := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_NOFILE: 32, unix.RLIMIT_CPU: uint64(l.CPUSec)} {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return 0, err
		}
	}
	return Rlimits, nil
}

func childAttr(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func awaitExit(int) {}
