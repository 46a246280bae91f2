package lookup

import "encoding/binary"

// reader takes a message apart. After it ran short it gives nothing more.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n < 0 || n > len(r.b) {
		r.short = true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// uint reads a big-endian integer of n bytes, at most 8.
func (r *reader) uint(n int) uint64 {
	var x [8]byte
	copy(x[8-n:], r.take(n))
	return binary.BigEndian.Uint64(x[:])
}

func (r *reader) hashes(n int) (hs [][]byte) {
	for range n {
		hs = append(hs, r.take(32))
	}
	return hs
}
