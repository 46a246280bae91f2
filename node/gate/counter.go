package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bund-exchange/bund/contracts"
)

// Counter keeps how often each consent was used. A use is counted before the call is executed and is on disk before
// its answer leaves; a crash in between leaves it counted or not, never uncounted and answered.
//
// The file is a list of records {consent (16), crc (4)}, one a use. A torn tail is cut: nobody was answered for it.
type Counter struct {
	mu    sync.Mutex
	f     *os.File
	used  map[[16]byte]int64
	group *group
	err   error
}

// group is the uses that one write makes durable.
type group struct {
	buf  []byte
	done chan struct{}
	err  error
}

const useSize = 20

var (
	errUsedUp = errors.New("the consent is used up")
	crcTable  = crc32.MakeTable(crc32.Castagnoli)
)

// OpenCounter reads the counts in dir, or begins.
func OpenCounter(dir string) (*Counter, error) {
	name := filepath.Join(dir, "consents.uses")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't open consent counts: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("couldn't lock consent counts, another node runs here: %w", err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("couldn't read consent counts: %w", err)
	}
	c := &Counter{f: f, used: map[[16]byte]int64{}}
	good := 0
	for ; good+useSize <= len(b); good += useSize {
		r := b[good : good+useSize]
		if binary.BigEndian.Uint32(r[16:]) != crc32.Checksum(r[:16], crcTable) {
			break
		}
		c.used[[16]byte(r[:16])]++
	}
	if len(b)-good >= 2*useSize {
		for at := good + useSize; at+useSize <= len(b); at += useSize {
			r := b[at : at+useSize]
			if binary.BigEndian.Uint32(r[16:]) == crc32.Checksum(r[:16], crcTable) {
				f.Close()
				return nil, fmt.Errorf("consent counts are damaged: %s at offset %d", name, good)
			}
		}
	}
	if err := errors.Join(f.Truncate(int64(good)), f.Sync()); err != nil {
		f.Close()
		return nil, fmt.Errorf("couldn't cut consent counts: %w", err)
	}
	if _, err := f.Seek(int64(good), io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

// Used gives a consent's count.
func (c *Counter) Used(consent contracts.ID) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used[consent.Bytes()]
}

// Use counts one use, unless the consent is used up. The returned func waits until it is durable.
func (c *Counter) Use(consent contracts.ID, limit int64) (func() error, error) {
	id := consent.Bytes()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if c.used[id] >= limit {
		return nil, errUsedUp
	}
	c.used[id]++
	if c.group == nil {
		c.group = &group{done: make(chan struct{})}
		go c.write(c.group)
	}
	g := c.group
	g.buf = append(g.buf, id[:]...)
	g.buf = binary.BigEndian.AppendUint32(g.buf, crc32.Checksum(id[:], crcTable))
	return func() error { <-g.done; return g.err }, nil
}

// write makes groups durable, one after another, until none is waiting. The first failure stops the counter for good.
func (c *Counter) write(g *group) {
	for {
		c.mu.Lock()
		if len(g.buf) == 0 { // begun by the last round and not used
			c.group = nil
			c.mu.Unlock()
			close(g.done)
			return
		}
		next := &group{done: make(chan struct{})}
		c.group = next
		err := c.err
		c.mu.Unlock()
		if err == nil {
			if _, err = c.f.Write(g.buf); err == nil {
				err = unix.Fdatasync(int(c.f.Fd()))
			}
			if err != nil {
				err = fmt.Errorf("couldn't write consent counts: %w", err)
				c.mu.Lock()
				c.err = err
				c.mu.Unlock()
			}
		}
		g.err = err
		close(g.done)
		g = next
	}
}

// Close waits for what is being written.
func (c *Counter) Close() error {
	c.mu.Lock()
	g := c.group
	if c.err == nil {
		c.err = errors.New("consent counts are closed")
	}
	c.mu.Unlock()
	if g != nil {
		<-g.done
	}
	return c.f.Close()
}
