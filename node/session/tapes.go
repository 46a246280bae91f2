package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Tapes are files that a session's protocol appends to, for what doesn't fit into memory. They are this side's own and
// go with the session.
type Tapes struct {
	dir  string
	open opener

	mu     sync.Mutex
	used   map[string]*tape
	closed bool // the session is over, or another process has it
}

type tape struct {
	f    file
	size int64
}

const tapePrefix = "tape-"

// tape opens a tape; mu is held.
func (t *Tapes) tape(name string) (*tape, error) {
	if t.closed {
		return nil, ErrClosed
	}
	if x := t.used[name]; x != nil {
		return x, nil
	}
	if name == "" || filepath.Base(name) != name {
		return nil, fmt.Errorf("%q is no name of a tape", name)
	}
	f, size, err := t.open(filepath.Join(t.dir, tapePrefix+name))
	if err != nil {
		return nil, fmt.Errorf("couldn't open tape: %w", err)
	}
	if t.used == nil {
		t.used = map[string]*tape{}
	}
	x := &tape{f, size}
	t.used[name] = x
	return x, nil
}

// Append writes at a tape's end. A tape that was never written is empty.
func (t *Tapes) Append(name string, b []byte) error {
	t.mu.Lock()
	x, err := t.tape(name)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	n, err := x.f.WriteAt(b, x.size)
	x.size += int64(n)
	return err
}

// ReadAt fills b from a tape's place off.
func (t *Tapes) ReadAt(name string, b []byte, off int64) error {
	t.mu.Lock()
	x, err := t.tape(name)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if n, err := x.f.ReadAt(b, off); n < len(b) {
		return err
	}
	return nil
}

// Truncate cuts a tape to size; 0 removes it.
func (t *Tapes) Truncate(name string, size int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	x, err := t.tape(name)
	if err != nil {
		return err
	}
	if size > x.size {
		return fmt.Errorf("tape %s has %d bytes, not %d", name, x.size, size)
	}
	if size > 0 {
		x.size = size
		return x.f.Truncate(size)
	}
	delete(t.used, name)
	if err := x.f.Close(); err != nil {
		return err
	}
	return os.Remove(filepath.Join(t.dir, tapePrefix+name))
}

// Sync makes a tape durable, its name too.
func (t *Tapes) Sync(name string) error {
	t.mu.Lock()
	x, err := t.tape(name)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if err := x.f.Sync(); err != nil {
		return err
	}
	return syncDir(t.dir)
}

// close closes all tapes for good: a protocol that still runs makes none anew.
func (t *Tapes) close() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for name, x := range t.used {
		err = errors.Join(err, x.f.Close())
		delete(t.used, name)
	}
	return err
}
