package compute

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/bund-exchange/bund/contracts/canon"
)

// Runner answers programs in child processes, one each: a fresh start of this same program that can read one file and
// nothing else. The zero Runner is ready.
type Runner struct {
	Limits Limits
	Log    *slog.Logger // told once what doesn't hold a child on this machine; nil: slog.Default

	// Stderr takes what children say. In service it is nil: a crash may print what it held in memory.
	Stderr io.Writer
	// before and change let a test look at the moment when a child is to start, and spoil it.
	before func()
	change func(*exec.Cmd) // on the confined thread

	watch      atomic.Pointer[func(pid int)]
	told       sync.Once
	held       atomic.Uint32 // of the last child
	namespaces atomic.Bool   // use them: a child said that it has no seccomp
}

// Watch has f told the process id of each child when it has started.
func (r *Runner) Watch(f func(pid int)) { r.watch.Store(&f) }

// ErrChild is the failure of a child: it crashed, ran out of its limits, was killed, or answered what it can't. Nothing
// was decided, and nothing of its state is in the error.
var ErrChild = errors.New("the computing process failed")

// Probe starts a child that only says what it is held by.
func (r *Runner) Probe(ctx context.Context) (Confinement, error) {
	_, err := r.run(ctx, nil, nil, 0)
	return Confinement(r.held.Load()), err
}

// Held is what held the last child; 0 before the first.
func (r *Runner) Held() Confinement { return Confinement(r.held.Load()) }

// run answers a program over an open working table. Its error is errTooManyGroups, wraps ErrChild, or is this machine's.
func (r *Runner) run(ctx context.Context, table *os.File, p *program, subjects int64) (*exact, error) {
	limits := r.Limits.complete()
	if r.before != nil {
		r.before()
	}
	ctx, cancel := context.WithTimeout(ctx, limits.Wall)
	defer cancel()
	out, held, err := r.start(ctx, limits, table, canon.Marshal(limits.job(p)))
	if err != nil {
		return nil, err
	}
	a, err := decodeAnswer(out, p, subjects)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrChild, err)
	}
	r.report(a.held | held)
	switch a.state {
	case stateTooManyGroups:
		return nil, errTooManyGroups
	case stateFailed:
		return nil, fmt.Errorf("%w: its engine failed", ErrChild)
	}
	return a.exact, nil
}

// report keeps what holds children, and says once what doesn't.
func (r *Runner) report(held Confinement) {
	r.held.Store(uint32(held))
	if held&(Seccomp|Namespaces) == 0 {
		r.namespaces.Store(true)
	}
	r.told.Do(func() {
		if missing := held.Missing(); missing != 0 {
			log := r.Log
			if log == nil {
				log = slog.Default()
			}
			log.Warn("computing processes are held by less than this node knows how to", "held", held.String(), "missing", missing.String())
		}
	})
}

// start runs a child to its end and gives its answer. It does so on a thread that is confined first and thrown away
// after: what a thread gives up, its children don't have, and a child dies with the thread that started it.
func (r *Runner) start(ctx context.Context, limits Limits, table *os.File, task []byte) (out []byte, held Confinement, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("couldn't start computing process: %w", err)
	}
	defer null.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends here
		held = confineThread(table)
		namespaces := r.namespaces.Load()
		if out, err = r.child(ctx, limits, table, null, task, namespaces); err != nil && namespaces && !errors.Is(err, ErrChild) {
			r.namespaces.Store(false) // not allowed here: without
			namespaces = false
			out, err = r.child(ctx, limits, table, null, task, false)
		}
		if namespaces {
			held |= Namespaces
		}
	}()
	<-done
	return out, held, err
}

func (r *Runner) child(ctx context.Context, limits Limits, table, null *os.File, task []byte, namespaces bool) ([]byte, error) {
	out := &capped{left: limits.ResultBytes}
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{"datanode", ChildArg}, Env: []string{}, Dir: "/", Stdin: bytes.NewReader(task), Stdout: out, SysProcAttr: childAttr(namespaces)}
	if runtime.GOOS != "linux" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("couldn't start computing process: %w", err)
		}
		cmd.Path = exe
	}
	if table != nil {
		cmd.ExtraFiles = []*os.File{table}
	}
	cmd.Stderr = null
	if r.Stderr != nil {
		cmd.Stderr = r.Stderr
	}
	if r.change != nil {
		r.change(cmd)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("couldn't start computing process: %w", err)
	}
	if f := r.watch.Load(); f != nil {
		(*f)(cmd.Process.Pid)
	}
	stop := context.AfterFunc(ctx, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	awaitExit(cmd.Process.Pid) // and leave it unreaped, so that no other group has its number when it is killed
	stopped := stop()
	err := cmd.Wait()
	switch {
	case !stopped:
		return nil, fmt.Errorf("%w: %w", ErrChild, context.Cause(ctx))
	case out.left < 0:
		return nil, fmt.Errorf("%w: its answer exceeds %d bytes", ErrChild, limits.ResultBytes)
	case err != nil:
		return nil, fmt.Errorf("%w: %v", ErrChild, err) // an exit code or a signal
	}
	return out.b, nil
}

// capped takes a child's answer up to a size. Past it the pipe is closed, which ends the child.
type capped struct {
	b    []byte
	left int64
}

var errCapped = errors.New("answer exceeds its limit")

func (c *capped) Write(b []byte) (int, error) {
	if c.left -= int64(len(b)); c.left < 0 {
		return 0, errCapped
	}
	c.b = append(c.b, b...)
	return len(b), nil
}
