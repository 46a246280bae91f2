//go:build unix && !linux

package managed

import (
	"errors"
	"syscall"
)

// Elsewhere nothing ties the server's life to its parent's, and root must name another account.
func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}

func setNamespace(*syscall.SysProcAttr) {}

func workingDir(int) (string, error) { return "", errors.ErrUnsupported }

const canSeeProcesses = false
