package compute

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// machineCalls are those that this machine names otherwise. They follow a path and read no file.
var machineCalls = []int{unix.SYS_NEWFSTATAT, unix.SYS_FACCESSAT}
