package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one program of the network. It lives on after whoever started it: a file holds its pid together with its
// start time and the machine's boot, so that another process that was given the same pid later is never taken for it.
type Process struct {
	Name  string // peer.venue, orderer.1, chaincode.venue.market
	Ports []int  // of loopback; it is ready when it listens on all

	program string
	args    []string
	env     []string
	dir     string // working folder
	built   string // folder of what it makes anew at each start, whole or half; "": none
	pidFile string
	logFile string
	logFrom int64 // where what this start wrote begins in it
}

const pollEvery = 20 * time.Millisecond

// The child itself writes the file before it becomes the program: whoever starts it may die at any moment.
const launch = `read -r b </proc/sys/kernel/random/boot_id
read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ t _ </proc/$$/stat
echo "$$ $t $b" >"$0.new" && mv "$0.new" "$0" && exec "$@"`

// Start starts the process, unless it is alive, and waits until it listens.
func (p *Process) Start(ctx context.Context) error {
	if p.Alive() {
		return p.ready(ctx, nil)
	}
	for _, port := range p.Ports {
		if err := unused(port); err != nil {
			return fmt.Errorf("couldn't start %s: %w", p.Name, err)
		}
	}
	for _, d := range []string{p.dir, filepath.Dir(p.pidFile), filepath.Dir(p.logFile)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("couldn't start %s: %w", p.Name, err)
		}
	}
	if p.built != "" {
		if err := errors.Join(os.RemoveAll(p.built), os.MkdirAll(p.built, 0o700)); err != nil {
			return fmt.Errorf("couldn't start %s: %w", p.Name, err)
		}
	}
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("couldn't start %s: %w", p.Name, err)
	}
	defer log.Close()
	if p.logFrom, err = log.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("couldn't start %s: %w", p.Name, err)
	}
	c := exec.Command("/bin/sh", append([]string{"-c", launch, p.pidFile, p.program}, p.args...)...)
	c.Dir, c.Env, c.Stdout, c.Stderr = p.dir, append(plainEnv(), p.env...), log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return fmt.Errorf("couldn't start %s: %w", p.Name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	return p.ready(ctx, ended)
}

// ready waits until the process listens: an orderer's administration may begin to after its service. It ends when the
// process does; ended is nil when it is not our child.
func (p *Process) ready(ctx context.Context, ended <-chan error) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	left := p.Ports
	for {
		for len(left) > 0 && listens(left[0]) {
			left = left[1:]
		}
		if len(left) == 0 && p.Alive() {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("couldn't start %s: it ended (%v)\n%s", p.Name, err, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("couldn't start %s: %w\n%s", p.Name, ctx.Err(), p.Tail())
		case <-t.C:
			if ended == nil && !p.Alive() {
				return fmt.Errorf("couldn't start %s: it ended\n%s", p.Name, p.Tail())
			}
		}
	}
}

// Alive says whether the process runs.
func (p *Process) Alive() bool {
	_, ok := p.pid()
	return ok
}

// PID is the process's, 0 when it doesn't run.
func (p *Process) PID() int {
	pid, _ := p.pid()
	return pid
}

// Kill ends the process as a crash of its own would: SIGKILL. It returns when it has ended.
func (p *Process) Kill() error { return p.end(context.Background(), syscall.SIGKILL) }

// Stop asks the process to end, and kills it when it does not before ctx does.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.end(ctx, syscall.SIGTERM); err != nil {
		return errors.Join(fmt.Errorf("%s had to be killed: %w", p.Name, err), p.Kill())
	}
	return nil
}

func (p *Process) end(ctx context.Context, s syscall.Signal) error {
	pid, ok := p.pid()
	if !ok {
		return nil
	}
	// The handle is taken first and the pid's owner checked again after it: what is signalled is what was checked.
	h, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("couldn't end %s: %w", p.Name, err)
	}
	defer h.Release()
	if !p.Alive() {
		return nil
	}
	if err := h.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("couldn't end %s: %w", p.Name, err)
	}
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for p.Alive() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}

// pid reads the pid file and holds it against the process of that number.
func (p *Process) pid() (int, bool) {
	b, err := os.ReadFile(p.pidFile)
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(b))
	if len(f) != 3 {
		return 0, false
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || strings.TrimSpace(string(boot)) != f[2] {
		return 0, false
	}
	pid, err := strconv.Atoi(f[0])
	if err != nil {
		return 0, false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The second field is the program's name in parentheses, which may hold anything.
	rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(rest) < 20 || rest[19] != f[1] {
		return 0, false
	}
	// A zombie whose other threads are still ending holds its ports until they have.
	if dead, threads := rest[0] == "Z" || rest[0] == "X", rest[17]; dead && (threads == "0" || threads == "1") {
		return 0, false
	}
	return pid, true
}

// Tail is the end of the process's log, without what was written before Start.
func (p *Process) Tail() string {
	f, err := os.Open(p.logFile)
	if err != nil {
		return ""
	}
	defer f.Close()
	if i, err := f.Stat(); err == nil {
		f.Seek(max(p.logFrom, i.Size()-4<<10), io.SeekStart)
	}
	b, _ := io.ReadAll(f)
	return string(bytes.TrimSpace(b))
}

// plainEnv keeps the caller's CORE_, ORDERER_ and FABRIC_ variables out: one of them, the log level payload, would write
// private values down.
func plainEnv() (env []string) {
	for _, k := range []string{"PATH", "HOME", "TMPDIR", "LANG"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	// Collecting garbage is 6 to 8 % of a busy peer's CPU with Go's own 100 and 1 % so, for 100 MB more memory of each.
	return append(env, "GOGC=300", "FABRIC_LOGGING_SPEC=warn", "FABRIC_LOGGING_FORMAT=%{time:2006-01-02 15:04:05.000} [%{module}] %{level:.4s} %{message}")
}
