package psi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/privacy/group25519"
)

// record is what a side keeps of a session once its own points are on the spool. Before that there is none, and the
// session begins anew under another scalar.
type record struct {
	role       role
	done       bool // the scalar is gone, and with it everything that could still be computed
	params     [32]byte
	scalar     [group25519.ScalarSize]byte // zeroes when done
	ids        uint64                      // in the own set
	size       uint64                      // announced
	commitment [32]byte
	absorbed   uint64 // frames of the sender's points whose tags are durable on tapeTags
	summary    Summary
}

const (
	recordMagic = "psi1"
	recordSize  = 4 + 1 + 1 + 32 + group25519.ScalarSize + 8 + 8 + 32 + 8 + 8 + 8 + 32
)

func (r *record) encode() []byte {
	b := make([]byte, 0, recordSize)
	b = append(b, recordMagic...)
	b = append(b, byte(r.role), 0)
	if r.done {
		b[5] = 1
	}
	b = append(b, r.params[:]...)
	b = append(b, r.scalar[:]...)
	b = binary.BigEndian.AppendUint64(b, r.ids)
	b = binary.BigEndian.AppendUint64(b, r.size)
	b = append(b, r.commitment[:]...)
	b = binary.BigEndian.AppendUint64(b, r.absorbed)
	b = binary.BigEndian.AppendUint64(b, r.summary.Sender)
	b = binary.BigEndian.AppendUint64(b, r.summary.Receiver)
	return append(b, r.summary.Tags[:]...)
}

func decodeRecord(b []byte) (*record, error) {
	if len(b) != recordSize || string(b[:4]) != recordMagic || b[5] > 1 {
		return nil, errors.New("session's record is damaged")
	}
	r := &record{role: role(b[4]), done: b[5] == 1, params: [32]byte(b[6:]), scalar: [32]byte(b[38:]), ids: binary.BigEndian.Uint64(b[70:]),
		size: binary.BigEndian.Uint64(b[78:]), commitment: [32]byte(b[86:]), absorbed: binary.BigEndian.Uint64(b[118:]),
		summary: Summary{Sender: binary.BigEndian.Uint64(b[126:]), Receiver: binary.BigEndian.Uint64(b[134:]), Tags: [32]byte(b[142:])}}
	if r.role != roleSender && r.role != roleReceiver || r.done != (r.scalar == [32]byte{}) {
		return nil, errors.New("session's record is damaged")
	}
	return r, nil
}

// load gives the session's record, or nil where own points still have to be made.
func (s *Session) load(as role) (*record, error) {
	b, err := s.Store.Load()
	if err != nil {
		return nil, fmt.Errorf("couldn't read session's record: %w", err)
	}
	if b == nil {
		if s.Link.Sent() > 0 {
			return nil, errors.New("couldn't resume intersection: frames were sent, and the record with their scalar is gone")
		}
		return nil, nil
	}
	r, err := decodeRecord(b)
	if err != nil {
		return nil, err
	}
	if r.role != as || r.params != s.Params.digest() {
		return nil, errors.New("couldn't resume intersection: the record is of another role or of other parameters")
	}
	return r, nil
}

func (s *Session) save(r *record) error {
	if err := s.Store.Save(r.encode()); err != nil {
		return fmt.Errorf("couldn't keep session's record: %w", err)
	}
	return nil
}

// forget overwrites the scalar, in memory and in the store.
func (s *Session) forget(r *record, k *group25519.Scalar, sum Summary) error {
	k.Erase()
	clear(r.scalar[:])
	r.done, r.summary = true, sum
	return s.save(r)
}
