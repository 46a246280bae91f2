package network_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

// listener gives a process that listens on a port: this test's program, told to.
func listener(t *testing.T) *network.Process {
	t.Helper()
	base, err := network.FreeBase()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := network.Bare(t.TempDir(), self, "-test.run=^TestListen$", "-listen", fmt.Sprintf("127.0.0.1:%d", base))
	p.Ports = []int{base}
	t.Cleanup(func() { p.Kill() })
	return p
}

// TestListen is what listener starts.
func TestListen(t *testing.T) {
	if *listen == "" {
		t.Skip("runs only as another test's process")
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		t.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

func TestProcess(t *testing.T) {
	p := listener(t)
	if p.Alive() {
		t.Fatal("alive before its start")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := p.PID()
	if err := p.Start(t.Context()); err != nil || p.PID() != pid {
		t.Fatalf("a second start: %v, pid %d after %d", err, p.PID(), pid)
	}
	if err := p.Kill(); err != nil || p.Alive() {
		t.Fatalf("killed: %v, alive %v", err, p.Alive())
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil || p.Alive() {
		t.Fatalf("stopped: %v, alive %v", err, p.Alive())
	}
}

// TestReusedPID has a pid file name a living process that is not the one that wrote it.
func TestReusedPID(t *testing.T) {
	p := listener(t)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(p.PIDFile())
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.Fields(string(b))
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { other.Process.Kill(); other.Wait() }()
	for _, f := range []string{
		fmt.Sprintf("%d %s %s", other.Process.Pid, mine[1], mine[2]),
		fmt.Sprintf("%s %s1 %s", mine[0], mine[1], mine[2]),
		fmt.Sprintf("%s %s another-boot", mine[0], mine[1]),
		mine[0], "", "x y z",
	} {
		if err := os.WriteFile(p.PIDFile(), []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil || p.Alive() {
			t.Errorf("%q: %v, taken for alive: %v", f, err, p.Alive())
		}
	}
	if err := os.WriteFile(p.PIDFile(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Error("a process was killed by another's pid file")
	}
}

func TestPortInUse(t *testing.T) {
	p := listener(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.Ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := fmt.Sprintf("port %d is in use", p.Ports[0])
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("want %q: %v", want, err)
	}
}

// TestEndsAtOnce has a start report a program's last words, each start its own.
func TestEndsAtOnce(t *testing.T) {
	p := network.Bare(t.TempDir(), "/bin/sh", "-c", "echo no such luck; exit 3")
	p.Ports = listener(t).Ports
	for range 2 {
		if err := p.Start(t.Context()); err == nil || strings.Count(err.Error(), "no such luck") != 1 {
			t.Fatal(err)
		}
	}
}
