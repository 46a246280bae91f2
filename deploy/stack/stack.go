// Package stack runs a whole market on one machine as plain processes: marketd, a witness, data nodes. It writes their
// configuration, starts them, waits until they are ready, and ends them in reverse order.
package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Process is a program of the stack.
type Process struct {
	Name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	tail *tail
}

// tail keeps the last output of a process, for the message when it dies.
type tail struct {
	mu  sync.Mutex
	b   []byte
	log io.Writer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b = append(t.b, p...); len(t.b) > 8<<10 {
		t.b = t.b[len(t.b)-8<<10:]
	}
	return t.log.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// Start starts a program with its output in dir/name.log. It is in a process group of its own, so that Ctrl-C reaches
// only the stack, which then ends the parts in order.
func Start(dir, name, program string, args ...string) (*Process, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't start %s: %w", name, err)
	}
	p := &Process{Name: name, done: make(chan struct{}), tail: &tail{log: f}}
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.tail, p.tail
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		f.Close()
		return nil, fmt.Errorf("couldn't start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		f.Close()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Tail is the process's last output.
func (p *Process) Tail() string { return p.tail.String() }

// Stop asks the process to end, and kills it when it does not within a while.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s had to be killed", p.Name)
	}
}

// Kill ends the process as a power cut of its own would: SIGKILL.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Ready polls a URL until it answers 200, the process ends, or ctx does.
func (p *Process) Ready(ctx context.Context, url string) error {
	t := time.NewTicker(30 * time.Millisecond)
	defer t.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %v\n%s", p.Name, p.err, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s did not get ready: %w\n%s", p.Name, ctx.Err(), p.Tail())
		case <-t.C:
		}
	}
}

// Run runs a program to its end and gives its standard output.
func Run(ctx context.Context, in []byte, program string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, program, args...)
	c.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		return out, fmt.Errorf("%s %v: %w\n%s", filepath.Base(program), args, err, bytes.TrimSpace(errs.Bytes()))
	}
	return out, nil
}

// FreePort gives a port of loopback that nobody listens on now.
func FreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// StopAll stops processes in reverse order.
func StopAll(ps []*Process) error {
	var errs []error
	for i := len(ps) - 1; i >= 0; i-- {
		if ps[i] != nil {
			errs = append(errs, ps[i].Stop())
		}
	}
	return errors.Join(errs...)
}
