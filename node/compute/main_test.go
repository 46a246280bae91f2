package compute

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets the test program be its own child: a good one, and ones that try what a child must not.
func TestMain(m *testing.M) {
	switch {
	case IsChild(os.Args):
		os.Exit(Main())
	case len(os.Args) == 3 && os.Args[1] == "compute-child-bad":
		os.Exit(bad(os.Args[2]))
	}
	os.Exit(m.Run())
}

// bad confines itself as a child does, tries, and answers on standard output what came of it.
func bad(what string) int {
	l := Limits{}.complete()
	switch what {
	case "memory":
		l.MemoryMB = 256
	case "cpu":
		l.CPUSec = 1
	}
	if _, err := confineProcess(l); err != nil {
		fmt.Println(err)
		return 0
	}
	var err error
	switch {
	case what == "network":
		_, err = net.Dial("tcp", "127.0.0.1:1")
	case what == "socket":
		_, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	case what == "program":
		err = exec.Command("/bin/true").Run()
	case what == "fork":
		_, _, errno := syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0)
		if err = errno; errno == 0 {
			err = nil
		}
	case strings.HasPrefix(what, "read "):
		_, err = os.ReadFile(what[5:])
	case what == "write":
		err = os.WriteFile("/tmp/bund-compute-must-not-exist", nil, 0o600)
	case what == "write table":
		_, err = os.OpenFile(tablePath, os.O_RDWR, 0)
	case what == "parent":
		err = syscall.Kill(os.Getppid(), 0)
	case what == "ptrace":
		err = unix.PtraceAttach(os.Getppid())
	case what == "code":
		_, err = unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	case what == "raise":
		err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	case what == "environment":
		fmt.Print("env ", os.Environ())
		return 0
	case what == "memory":
		var hold [][]byte
		for range 64 {
			b := make([]byte, 64<<20)
			for i := range b {
				b[i] = 1
			}
			hold = append(hold, b)
		}
		fmt.Print(len(hold))
	case what == "cpu", what == "forever":
		for n := 0; ; n++ {
		}
	case what == "much":
		for {
			if _, err := os.Stdout.Write(make([]byte, 1<<16)); err != nil {
				return 1
			}
		}
	case what == "crash":
		panic("91310115MA1K00007Q is bankrupt")
	case what == "nothing":
		return 0
	}
	fmt.Print(err)
	return 0
}
