package managed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the process that runs a server and is killed: it starts one in the folder of
// BUND_TEST_CHILD, prints its pid, and waits for the end of its input.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BUND_TEST_CHILD"); dir != "" {
		s, err := Start(context.Background(), Config{Dir: dir, Disposable: true, Log: quiet()})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(s.PID())
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	code := m.Run()
	if dir, err := made(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir, Disposable: true, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

// child is another process that runs a server in dir.
func child(t *testing.T, dir string) (cmd *exec.Cmd, pid int, stdin io.Closer) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "BUND_TEST_CHILD="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatalf("the other process said %q", line)
	}
	return cmd, pid, in
}

// gone waits until a process is no more, or only waits for its parent to ask.
func gone(t *testing.T, pid int) {
	t.Helper()
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("process %d goes on", pid)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// made is a cluster that was made once; most tests begin with a copy.
var made = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "bund-managed-")
	if err != nil {
		return "", err
	}
	s, err := Start(context.Background(), Config{Dir: dir, Disposable: true, Log: quiet()})
	if err != nil {
		return "", err
	}
	return dir, s.Stop()
})

func folder(t *testing.T, dir string) string {
	t.Helper()
	from, err := made()
	if err != nil {
		t.Fatal(err)
	}
	// The test's folder is closed to other accounts; TestFolderThatOthersCantEnter has that case.
	if err := os.Chmod(filepath.Dir(t.TempDir()), 0o711); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

func TestStartTwiceIsRefused(t *testing.T) {
	dir := folder(t, filepath.Join(t.TempDir(), "pg"))
	s := start(t, dir)
	if _, err := Start(t.Context(), Config{Dir: dir, Disposable: true, Log: quiet()}); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	select {
	case <-s.Done():
		t.Error("the second start ended the first server")
	default:
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
}

func TestServerIsPrivate(t *testing.T) {
	dir := folder(t, filepath.Join(t.TempDir(), "pg"))
	s := start(t, dir)
	for _, p := range []string{s.data, s.socket} {
		if st, err := os.Stat(p); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", p, st.Mode(), err)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "password")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("password: %v, %v", st.Mode(), err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(status)) {
		if f := strings.Fields(l); f[0] == "CapEff:" && strings.Trim(f[1], "0") != "" {
			t.Errorf("the server has capabilities: %s", l)
		}
	}
	// No process of the server listens on TCP: its sockets aren't among the listening ones of this namespace.
	mine := map[string]bool{}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.PID()))
	for _, f := range fds {
		if l, err := os.Readlink(f); err == nil && strings.HasPrefix(l, "socket:[") {
			mine[strings.TrimSuffix(strings.TrimPrefix(l, "socket:["), "]")] = true
		}
	}
	if len(mine) == 0 {
		t.Fatal("the server has no sockets at all: the check looks at the wrong place")
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue // a machine without IPv6
		}
		for l := range strings.Lines(string(b)) {
			if f := strings.Fields(l); len(f) > 9 && mine[f[9]] {
				t.Errorf("the server listens on TCP: %s", l)
			}
		}
	}
}

func TestServerEndsWithItsParent(t *testing.T) {
	dir := folder(t, filepath.Join(t.TempDir(), "pg"))
	for _, end := range []func(*exec.Cmd, io.Closer){
		func(c *exec.Cmd, _ io.Closer) { c.Process.Kill() },
		func(_ *exec.Cmd, in io.Closer) { in.Close() }, // exits without Stop
	} {
		cmd, pid, in := child(t, dir)
		end(cmd, in)
		cmd.Wait()
		// The next start needn't wait for that: it ends what is left.
		s := start(t, dir)
		gone(t, pid)
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStartAfterParentAndServerWereKilled(t *testing.T) {
	dir := folder(t, filepath.Join(t.TempDir(), "pg"))
	cmd, pid, _ := child(t, dir)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	start(t, dir)
}

func TestStalePidOfAnotherProcess(t *testing.T) {
	dir := folder(t, filepath.Join(t.TempDir(), "pg"))
	s := start(t, dir)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	// A living process of the server's own account, which PostgreSQL would take for an earlier server.
	other := exec.Command("sleep", "600")
	as := ownerOf(t, s.data)
	other.SysProcAttr = as.attr(syscall.SIGKILL)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { other.Process.Kill(); other.Wait() }()
	for name, text := range map[string]string{
		filepath.Join(s.data, "postmaster.pid"):       fmt.Sprintf("%d\n%s\n1700000000\n5432\n%s\n\n", other.Process.Pid, s.data, s.socket),
		filepath.Join(s.socket, ".s.PGSQL.5432.lock"): fmt.Sprintf("%d\n%s\n1700000000\n5432\n%s\n", other.Process.Pid, s.data, s.socket),
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := as.give(name); err != nil {
			t.Fatal(err)
		}
	}
	start(t, dir)
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other process was ended: %v", err)
	}
}

func ownerOf(t *testing.T, path string) account {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	own := st.Sys().(*syscall.Stat_t)
	if os.Geteuid() != 0 {
		return account{uid: -1, gid: -1}
	}
	return account{uid: int(own.Uid), gid: int(own.Gid)}
}

func TestHalfMadeClusterIsMadeAnew(t *testing.T) {
	dir := folder(t, filepath.Join(t.TempDir(), "pg"))
	s := start(t, dir)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.data, s.data+".new"); err != nil { // as after a kill during initdb
		t.Fatal(err)
	}
	start(t, dir)
	if _, err := os.Stat(s.data + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half-made cluster is still there: %v", err)
	}
}

func TestFolderThatOthersCantEnter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives its server to another account")
	}
	outer := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(outer, 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, filepath.Join(outer, "pg"))
	if own := ownerOf(t, s.data); own.uid != 0 {
		t.Errorf("the data belongs to %d, want root, in a user namespace", own.uid)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, filepath.Join(outer, "pg"))
}

func TestLongPath(t *testing.T) {
	dir := folder(t, filepath.Join(t.TempDir(), strings.Repeat("long", 25)))
	s := start(t, dir)
	if !strings.HasPrefix(s.socket, "/tmp/.bund-pg-") {
		t.Fatalf("the socket is in %s", s.socket)
	}
	defer os.RemoveAll(s.socket)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		if x, err := Start(t.Context(), Config{Dir: dir, Disposable: true, Log: quiet()}); err == nil {
			x.Stop()
			t.Errorf("a socket folder that is %s was used", what)
		}
	}
	if err := os.Chmod(s.socket, 0o755); err != nil {
		t.Fatal(err)
	}
	refused("open to others")
	if err := os.RemoveAll(s.socket); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), s.socket); err != nil {
		t.Fatal(err)
	}
	refused("a link")
}

func TestLoosePasswordIsRefused(t *testing.T) {
	dir := folder(t, filepath.Join(t.TempDir(), "pg"))
	s := start(t, dir)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "password"), 0o644); err != nil {
		t.Fatal(err)
	}
	if x, err := Start(t.Context(), Config{Dir: dir, Disposable: true, Log: quiet()}); err == nil {
		x.Stop()
		t.Error("a password that others may read was used")
	}
}

func TestStartErrorSaysWhatPostgresSaid(t *testing.T) {
	dir := folder(t, filepath.Join(t.TempDir(), "pg"))
	s := start(t, dir)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.data, "postgresql.auto.conf"), []byte("no_such_setting = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Dir: dir, Disposable: true, Log: quiet()})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got %v, want postgres's own words", err)
	}
}
