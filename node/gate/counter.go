package gate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bund-exchange/bund/contracts"
)

// Counter keeps how often each consent was used. A use is held before the call is executed, and its count is on disk
// before the answer leaves: after a crash a use may be counted that was never answered, never the other way round.
//
// Uses share one write and one sync: what was counted is written when the first of it is waited for. The first failed one stops the counter for good: what it left in the
// file is cut or found at the next open.
type Counter struct {
	lock *os.File

	mu    sync.Mutex
	idle  sync.Cond // a write has ended
	file  appendFile
	used  map[[16]byte]int64 // counted
	held  map[[16]byte]int64 // being executed
	next  uint64             // number of the next frame
	group *group             // that gathers, until somebody waits for it
	busy  bool               // a write is under way
	err   error
}

// appendFile is the file behind a counter; tests let it fail.
type appendFile interface {
	Write(b []byte) (int, error)
	Sync() error
	Close() error
}

type dataFile struct{ *os.File }

func (f dataFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

// group is the counts that one write makes durable.
type group struct {
	counts map[[16]byte]int64
	done   bool
	err    error
}

var (
	errUsedUp = errors.New("the consent is used up")
	errClosed = errors.New("consent counts are closed")
)

// usesName is the counter's file.
const usesName = "consents.uses"

// OpenCounter reads the counts in dir, or begins. It cuts a torn tail, for which nobody was answered, and refuses a
// damaged file, naming the place.
func OpenCounter(dir string) (*Counter, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "consents.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't open consent counts: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("couldn't lock consent counts in %s, another process has them open: %w", dir, err)
	}
	f, u, err := openUses(filepath.Join(dir, usesName))
	if err != nil {
		lock.Close()
		return nil, err
	}
	c := &Counter{lock: lock, file: dataFile{f}, used: u.used, held: map[[16]byte]int64{}, next: u.next}
	c.idle.L = &c.mu
	return c, nil
}

// Used gives how often a consent was used.
func (c *Counter) Used(consent contracts.ID) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used[consent.Bytes()]
}

// Use is one use of a consent that is being executed. Exactly one of Keep, Count and Release ends it.
type Use struct {
	c  *Counter
	id [16]byte
}

// Hold takes one use of a consent, unless used and held ones come to limit.
func (c *Counter) Hold(consent contracts.ID, limit int64) (*Use, error) {
	id := consent.Bytes()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if c.used[id]+c.held[id] >= limit {
		return nil, errUsedUp
	}
	c.held[id]++
	return &Use{c, id}, nil
}

// HoldAll takes one use of each, and gives −1; or none, and the place of the first that is used up.
func (c *Counter) HoldAll(ids []contracts.ID, limit int64) (us Uses, usedUp int, err error) {
	us = make(Uses, 0, len(ids))
	for i, id := range ids {
		u, err := c.Hold(id, limit)
		if err != nil {
			us.Release()
			if errors.Is(err, errUsedUp) {
				return nil, i, nil
			}
			return nil, -1, err
		}
		us = append(us, u)
	}
	return us, -1, nil
}

// Release gives the use back: the call brought no answer.
func (u *Use) Release() {
	if u == nil {
		return
	}
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	u.c.drop(u.id)
}

func (c *Counter) drop(id [16]byte) {
	if c.held[id]--; c.held[id] == 0 {
		delete(c.held, id)
	}
}

// Keep counts the use and waits until the count is on disk. After an error nothing may be answered.
func (u *Use) Keep() error {
	if u == nil {
		return nil
	}
	return u.Count()()
}

// Count counts the use and gives what puts the count on disk, with all that was counted before it is called. Until it
// has returned nil nothing may be answered. Without a use it gives nil.
func (u *Use) Count() (durable func() error) {
	if u == nil {
		return nil
	}
	c := u.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(u.id)
	if err := c.err; err != nil {
		return func() error { return err }
	}
	c.used[u.id]++
	if c.group == nil {
		c.group = &group{counts: map[[16]byte]int64{}}
	}
	g := c.group
	g.counts[u.id] = c.used[u.id]
	return func() error { return c.wait(g) }
}

// wait returns when a group is on disk or failed. Who comes first writes it for the others.
func (c *Counter) wait(g *group) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !g.done {
		if c.busy {
			c.idle.Wait()
		} else {
			c.writeLocked() // it is g: whatever was taken before is done
		}
	}
	return g.err
}

// writeLocked takes the group that gathers and makes it durable. It gives up the lock meanwhile.
func (c *Counter) writeLocked() {
	g, number, err := c.group, c.next, c.err
	c.group = nil
	if err == nil {
		c.busy = true
		c.mu.Unlock()
		if _, err = c.file.Write(encodeFrame(number, g.counts)); err == nil {
			err = c.file.Sync()
		}
		c.mu.Lock()
		c.busy = false
		if err == nil {
			c.next++
		} else if c.err == nil || errors.Is(c.err, errClosed) {
			c.err = fmt.Errorf("couldn't write consent counts: %w", err)
		}
	}
	if err != nil {
		g.err = c.err
	}
	g.done = true
	c.idle.Broadcast()
}

// Err says why the counter stopped, or nil.
func (c *Counter) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the counter after the write under way; uses that wait behind it fail.
func (c *Counter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = errClosed
	}
	for c.busy {
		c.idle.Wait()
	}
	return errors.Join(c.file.Close(), c.lock.Close())
}
