package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// file is what a log and a tape need of one. Tests put files in its place that fail.
type file interface {
	io.WriterAt
	io.ReaderAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// opener opens a file, making it where there is none, and says how long it is.
type opener func(path string) (file, int64, error)

func openFile(path string) (file, int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// MaxFrameBytes bounds a frame of any protocol.
const MaxFrameBytes = 4 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameLog keeps the frames of one direction: records {length 4, crc32c of number and bytes 4, bytes}, appended and
// synced one by one. Its owner has one writer at a time; reads of frames that count may run beside it.
type frameLog struct {
	f      file
	ends   []int64 // of each record
	limit  int64   // bytes of all frames together
	stored int64   // bytes of the frames here
	broken bool
}

const frameHeader = 4 + 4

// openFrameLog reads what is there. A record that is bad at the very end was being written when the process died: it is
// cut off. A bad record before others is damage.
func openFrameLog(open opener, path string, limit int64) (*frameLog, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't open frames: %w", err)
	}
	l := &frameLog{f: f, limit: limit}
	if err := l.recover(size); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func (l *frameLog) recover(size int64) error {
	var buf []byte
	for at := int64(0); at < size; {
		end, err := l.readRecord(at, size, uint64(len(l.ends)), &buf)
		if errors.Is(err, errTorn) {
			if err := l.f.Truncate(at); err != nil {
				return fmt.Errorf("couldn't cut torn frame: %w", err)
			}
			break
		}
		if err != nil {
			return err
		}
		l.ends = append(l.ends, end)
		l.stored += end - at - frameHeader
		at = end
	}
	// What was read may not have been synced by the process that wrote it; from now on others rely on it.
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("couldn't sync frames: %w", err)
	}
	return nil
}

var errTorn = errors.New("torn frame")

// readRecord reads the record at a place of a file with size bytes.
func (l *frameLog) readRecord(at, size int64, number uint64, buf *[]byte) (end int64, err error) {
	var h [frameHeader]byte
	if at+frameHeader > size {
		return 0, errTorn
	}
	if _, err := l.f.ReadAt(h[:], at); err != nil {
		return 0, fmt.Errorf("couldn't read frame: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(h[:]))
	end = at + frameHeader + n
	if end > size {
		return 0, errTorn
	}
	if n > MaxFrameBytes {
		return 0, fmt.Errorf("couldn't read frame %d: it is damaged", number)
	}
	if int64(cap(*buf)) < n {
		*buf = make([]byte, n)
	}
	*buf = (*buf)[:n]
	if _, err := l.f.ReadAt(*buf, at+frameHeader); err != nil {
		return 0, fmt.Errorf("couldn't read frame: %w", err)
	}
	if frameSum(number, *buf) != binary.BigEndian.Uint32(h[4:]) {
		if end == size {
			return 0, errTorn
		}
		return 0, fmt.Errorf("couldn't read frame %d: it is damaged", number)
	}
	return end, nil
}

func frameSum(number uint64, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(binary.BigEndian.AppendUint64(nil, number), castagnoli), castagnoli, b)
}

func (l *frameLog) count() uint64 { return uint64(len(l.ends)) }

func (l *frameLog) end() int64 {
	if len(l.ends) == 0 {
		return 0
	}
	return l.ends[len(l.ends)-1]
}

// write makes the next frame durable and gives the end of its record. It counts once add is called: readers that hold
// the session's lock see it then.
func (l *frameLog) write(b []byte) (end int64, err error) {
	if l.broken {
		return 0, ErrStopped
	}
	if len(b) > MaxFrameBytes || l.stored+int64(len(b)) > l.limit {
		return 0, refuse(TooLarge, "the frames are more than this session takes")
	}
	rec := make([]byte, frameHeader, frameHeader+len(b))
	binary.BigEndian.PutUint32(rec, uint32(len(b)))
	binary.BigEndian.PutUint32(rec[4:], frameSum(l.count(), b))
	rec = append(rec, b...)
	l.broken = true // until the frame is there
	if _, err := l.f.WriteAt(rec, l.end()); err != nil {
		return 0, fmt.Errorf("couldn't write frame: %w", err)
	}
	if err := l.f.Sync(); err != nil {
		return 0, fmt.Errorf("couldn't sync frame: %w", err)
	}
	l.broken = false
	return l.end() + int64(len(rec)), nil
}

func (l *frameLog) add(end int64) {
	l.stored += end - l.end() - frameHeader
	l.ends = append(l.ends, end)
}

// span says where frame n is. It is there: n < count().
func (l *frameLog) span(n uint64) (at, end int64) {
	if n > 0 {
		at = l.ends[n-1]
	}
	return at, l.ends[n]
}

// read gives a frame by its span.
func (l *frameLog) read(n uint64, at, end int64) ([]byte, error) {
	var buf []byte
	if _, err := l.readRecord(at, end, n, &buf); err != nil {
		if errors.Is(err, errTorn) {
			err = fmt.Errorf("couldn't read frame %d: it is damaged", n)
		}
		return nil, err
	}
	return buf, nil
}
