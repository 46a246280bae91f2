//go:build linux && (amd64 || arm64)

package compute

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tablePath is where a child finds the working table: the one file that it was handed, open.
const tablePath = "/proc/self/fd/3"

// confineThread gives up what the thread that starts a child can give up for good, since what it lacks the child lacks
// too. The thread belongs to the caller alone and ends with it.
func confineThread(table *os.File) Confinement {
	var held Confinement
	if unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == nil {
		held |= NoNewPrivs
	}
	if landlock(table) == nil {
		held |= Landlock
	}
	if dropCapabilities() == nil {
		held |= Capabilities
	}
	return held
}

// dropCapabilities leaves no capability and no way back to one. Whoever isn't root has none.
func dropCapabilities() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	if err := unix.Capget(&hdr, &had[0]); err != nil {
		return err
	}
	if had[0].Permitted|had[1].Permitted != 0 {
		const noRoot, noRootLocked = 1, 2 // SECBIT_NOROOT: an id of 0 is no reason for a capability
		if err := unix.Prctl(unix.PR_SET_SECUREBITS, noRoot|noRootLocked, 0, 0, 0); err != nil {
			return err
		}
		for c := range uintptr(64) {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
				break // the kernel has no more
			}
		}
	}
	var none [2]unix.CapUserData
	return unix.Capset(&hdr, &none[0])
}

// landlock leaves of all files the working table, this program and the libraries that it has mapped, for reading.
func landlock(table *os.File) error {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return errno
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: 1<<13 - 1} // what the first version knows
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if abi >= 2 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size = 16
	}
	if abi >= 5 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size = 24
	}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(rules))
	allow := func(fd int, access uint64) error {
		rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
		_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	}
	if table != nil {
		if err := allow(int(table.Fd()), unix.LANDLOCK_ACCESS_FS_READ_FILE); err != nil {
			return err
		}
	}
	for _, path := range append(mapped(), "/proc/self/exe", "/etc/ld.so.cache") {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		err = allow(fd, unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_EXECUTE)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// mapped lists the programs and libraries that this process runs from.
func mapped() []string {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil
	}
	defer f.Close()
	seen := map[string]bool{}
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		parts := strings.Fields(s.Text())
		if len(parts) < 6 || !strings.Contains(parts[1], "x") || parts[5][0] != '/' {
			continue
		}
		if path := strings.Join(parts[5:], " "); !seen[path] {
			seen[path] = true
			out = append(out, path)
		}
	}
	return out
}

// confineProcess is what a child does to itself, before it reads what it is asked.
func confineProcess(l Limits) (held Confinement, err error) {
	const spare = 8 << 30 // of address space: reserved by runtimes, not used
	for _, r := range []struct {
		what  int
		limit uint64
	}{
		{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_NOFILE, 32}, {unix.RLIMIT_CPU, uint64(l.CPUSec)},
		{unix.RLIMIT_DATA, uint64(l.MemoryMB) << 20}, {unix.RLIMIT_AS, uint64(l.MemoryMB)<<20 + spare},
	} {
		// Not syscall's: it would restore the limit of files for a program that this process will never start.
		if err := unix.Setrlimit(r.what, &unix.Rlimit{Cur: r.limit, Max: r.limit}); err != nil {
			return 0, fmt.Errorf("couldn't set resource limit %d: %w", r.what, err)
		}
	}
	held |= Rlimits
	if seccomp() == nil {
		held |= Seccomp
	}
	return held, nil
}

// seccomp leaves the system calls that computing on an open file needs; all others fail with EPERM. It binds every
// thread of the process and those to come.
func seccomp() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	rules := seccompRules(uint32(os.Getpid()))
	prog := unix.SockFprog{Len: uint16(len(rules)), Filter: &rules[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Places in struct seccomp_data: number, arch, instruction pointer, six arguments of 64 bits. Both machines are
// little-endian.
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

func seccompRules(pid uint32) []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	jump := func(test uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: k}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	allow, deny := ret(unix.SECCOMP_RET_ALLOW), ret(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM))

	out := []unix.SockFilter{load(dataArch), jump(unix.BPF_JEQ, auditArch, 1, 0), ret(unix.SECCOMP_RET_KILL_PROCESS), load(dataNumber)}
	for _, n := range plainCalls {
		out = append(out, jump(unix.BPF_JEQ, uint32(n), 0, 1), allow)
	}
	// when looks at one argument of a call: all bits of must are set and none of never.
	when := func(number, argument int, must, never uint32) {
		out = append(out, jump(unix.BPF_JEQ, uint32(number), 0, 5), load(dataArgs+8*uint32(argument)),
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: must | never}, jump(unix.BPF_JEQ, must, 1, 0), deny, allow)
	}
	when(unix.SYS_CLONE, 0, unix.CLONE_VM|unix.CLONE_THREAD, unix.CLONE_NEWUSER|unix.CLONE_NEWNET|unix.CLONE_NEWNS|unix.CLONE_NEWPID)
	when(unix.SYS_OPENAT, 2, 0, unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_APPEND)
	when(unix.SYS_MMAP, 2, 0, unix.PROT_EXEC)
	when(unix.SYS_MPROTECT, 2, 0, unix.PROT_EXEC)
	when(unix.SYS_PRLIMIT64, 2, 0, 0xffffffff) // only asks: there is no new limit
	// The runtime interrupts its own threads, nobody else's.
	out = append(out, jump(unix.BPF_JEQ, unix.SYS_TGKILL, 0, 4), load(dataArgs), jump(unix.BPF_JEQ, pid, 0, 1), allow, deny)
	// glibc falls back to clone, whose flags can be looked at.
	out = append(out, jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), ret(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	return append(out, deny)
}

// plainCalls may have any arguments.
var plainCalls = append([]int{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_READV, unix.SYS_PREADV, unix.SYS_WRITEV, unix.SYS_CLOSE, unix.SYS_LSEEK, unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_FCNTL, unix.SYS_FADVISE64,
	unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_BRK, unix.SYS_MEMBARRIER,
	unix.SYS_FUTEX, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETCPU,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_GETRANDOM,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PPOLL, unix.SYS_PIPE2,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETRUSAGE, unix.SYS_TIMES, unix.SYS_SYSINFO, unix.SYS_UNAME,
	unix.SYS_READLINKAT, unix.SYS_GETCWD, unix.SYS_FSTATFS, unix.SYS_SET_TID_ADDRESS, unix.SYS_GETRLIMIT,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}, machineCalls...)

// childAttr starts a child in a group of its own that dies with the thread that started it.
func childAttr(namespaces bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if namespaces {
		a.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 65534, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 65534, HostID: os.Getgid(), Size: 1}}
	}
	return a
}

// awaitExit returns when a child has ended, and leaves it to be waited for.
func awaitExit(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}
