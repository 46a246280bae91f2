package managed

import (
	"fmt"
	"os"
	"syscall"
)

func setDeathSignal(a *syscall.SysProcAttr, sig syscall.Signal) { a.Pdeathsig = sig }

// setNamespace gives root another id inside a namespace of its own; PostgreSQL then takes it for an ordinary user.
func setNamespace(a *syscall.SysProcAttr) {
	a.Cloneflags = syscall.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
}

// workingDir gives the folder that a process stands in; a postmaster stands in its data folder.
func workingDir(pid int) (string, error) { return os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)) }

const canSeeProcesses = true
