package witness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/bund-exchange/bund/ledger/publish"
)

// roll is the list of all checkpoints that were cosigned in this epoch, 40 bytes each: size (8) ‖ root (32), sizes
// ascending. It is asked once, when a loss is to be accepted: the log that goes on must begin with the largest of them
// that was kept. A log that grows every second of a year makes it 1.3 GB.
type roll struct {
	f    *os.File
	n    int64 // records
	last uint64
}

const (
	rollName  = "roll"
	rollBytes = 40
)

// openRoll reads the list of a witness whose state is last. A record behind the state is of a signature that never
// left; a state without a record is that of an older program.
func openRoll(name string, last publish.Checkpoint) (*roll, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't open what was cosigned: %w", err)
	}
	h := &roll{f: f}
	if err := h.fit(last); err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't read what was cosigned: %w", err), f.Close())
	}
	return h, nil
}

func (h *roll) fit(last publish.Checkpoint) error {
	st, err := h.f.Stat()
	if err != nil {
		return err
	}
	h.n = st.Size() / rollBytes
	for h.n > 0 {
		c, err := h.at(h.n - 1)
		if err != nil {
			return err
		}
		if c.Size == last.Size && c.Root != last.Root {
			return errors.New("witness: the list of what was cosigned is of another history than the state")
		}
		if h.last = c.Size; c.Size <= last.Size {
			break
		}
		h.n, h.last = h.n-1, 0
	}
	if err := h.f.Truncate(h.n * rollBytes); err != nil {
		return err
	}
	return h.add(last)
}

func (h *roll) at(i int64) (c publish.Checkpoint, err error) {
	var b [rollBytes]byte
	if _, err := h.f.ReadAt(b[:], i*rollBytes); err != nil && err != io.EOF {
		return c, err
	}
	return publish.Checkpoint{Size: binary.BigEndian.Uint64(b[:]), Root: [32]byte(b[8:])}, nil
}

// add appends durably. A size that is there already, or 0, needs no record.
func (h *roll) add(c publish.Checkpoint) error {
	if c.Size <= h.last {
		return nil
	}
	b := binary.BigEndian.AppendUint64(nil, c.Size)
	if _, err := h.f.WriteAt(append(b, c.Root[:]...), h.n*rollBytes); err != nil {
		return err
	}
	if err := h.f.Sync(); err != nil {
		return err
	}
	h.n, h.last = h.n+1, c.Size
	return nil
}

// upTo gives the largest that was cosigned of at most size entries; false when there is none.
func (h *roll) upTo(size uint64) (c publish.Checkpoint, ok bool, err error) {
	i := sort.Search(int(h.n), func(i int) bool {
		c, e := h.at(int64(i))
		err = errors.Join(err, e)
		return c.Size > size
	})
	if err != nil || i == 0 {
		return c, false, err
	}
	c, err = h.at(int64(i - 1))
	return c, err == nil, err
}

// cut drops what was cosigned beyond size.
func (h *roll) cut(size uint64) error {
	for h.n > 0 {
		c, err := h.at(h.n - 1)
		if err != nil {
			return err
		}
		if h.last = c.Size; c.Size <= size {
			break
		}
		h.n, h.last = h.n-1, 0
	}
	if err := h.f.Truncate(h.n * rollBytes); err != nil {
		return err
	}
	return h.f.Sync()
}

func (h *roll) close() error { return h.f.Close() }
