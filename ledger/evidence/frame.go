package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// frames reads a file of frames: length (4 bytes, big-endian) ‖ content, one behind the other.
type frames struct {
	r     io.Reader
	limit int   // longest content
	at    int64 // where the next frame begins
}

var errFrame = errors.New("length: cut off, or longer than the file")

// next gives the next frame in memory of its own from arena; io.EOF after the last one. Any other error is final: after
// a wrong length nobody knows where the next frame begins.
func (f *frames) next(arena *arena) ([]byte, error) {
	var head [4]byte
	switch _, err := io.ReadFull(f.r, head[:]); {
	case err == io.EOF:
		return nil, io.EOF
	case err == io.ErrUnexpectedEOF:
		return nil, errFrame
	case err != nil:
		return nil, fmt.Errorf("couldn't read the file: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) > uint64(f.limit) {
		return nil, fmt.Errorf("length: %d bytes, limit %d", n, f.limit)
	}
	b := arena.take(int(n))
	switch _, err := io.ReadFull(f.r, b); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return nil, errFrame
	case err != nil:
		return nil, fmt.Errorf("couldn't read the file: %w", err)
	}
	f.at += 4 + int64(n)
	return b, nil
}

// arena cuts memory from blocks, so that what lives together is collected together.
type arena struct {
	block []byte
	size  int // of a block
}

func (a *arena) take(n int) []byte {
	if n > a.size/4 {
		return make([]byte, n)
	}
	if n > len(a.block) {
		a.block = make([]byte, a.size)
	}
	b := a.block[:n:n]
	a.block = a.block[n:]
	return b
}
