// Package ledger says what a client may ask of a ledger, and what an entry of one is.
package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Entry is one accepted command with all that it changed. Restart, nodes and projections build state from Writes;
// the rules run again only to audit.
type Entry struct {
	Position   uint64           // from 0, without gaps
	Time       contracts.Millis // decided by the ledger; never decreasing but for ClocksApart
	Rulebook   int64            // version that decided
	Prev       [32]byte         // Hash of the entry before; zero at position 0
	Raw        []byte           // signed bytes of the command, as received
	Signatures []contracts.Signature
	Events     []contracts.Event
	Writes     []contracts.Write // ascending by key
	Public     bool              // the body is for all; a missing body stops every follower
	Objects    []contracts.ID    // non-public objects written, ascending; they stand in the leaf
	Audience   []contracts.ID    // members the body may go to; empty when Public
}

// ClocksApart is by how much an entry's time may be before that of an earlier entry, in milliseconds. A ledger with one
// writer never goes back. On Fabric the time is its sender's, within 30 s of the clock of every peer that endorsed it, and
// blocks order transactions as they come. No rule orders two entries by time.
const ClocksApart = 60_000

// NewEntry makes the entry of an accepted submission.
func NewEntry(position uint64, prev [32]byte, time contracts.Millis, sub contracts.Submission, res *contracts.Result) *Entry {
	return &Entry{Position: position, Time: time, Rulebook: res.Rulebook, Prev: prev, Raw: sub.Raw, Signatures: sub.Signatures,
		Events: res.Events, Writes: res.Writes, Public: res.Public, Objects: res.Objects, Audience: res.Audience}
}

// Hash is the link of the chain: SHA-256 over a tag and the encoded entry.
func Hash(encoded []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte("bund/entry/v1\x00"))
	h.Write(encoded)
	return [32]byte(h.Sum(nil))
}

// Leaf is the entry's leaf in the published log: a digest that commits to the encoded entry, the public mark, and the
// ids of the non-public objects written. It is a pure function of the entry, so a lost log republishes to the same
// tree. The random bits of the command id are the salt: without the body nobody can test a guess.
//
// Layout: digest (32) ‖ public (1) ‖ count (2) ‖ count × id (16).
func Leaf(encoded []byte, e *Entry) []byte {
	h := sha256.New()
	h.Write([]byte("bund/leaf/v1\x00"))
	h.Write(encoded)
	b := h.Sum(make([]byte, 0, 35+16*len(e.Objects)))
	if e.Public {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Objects)))
	for _, id := range e.Objects {
		x := id.Bytes()
		b = append(b, x[:]...)
	}
	return b
}

// LeafParts is a decoded leaf.
type LeafParts struct {
	Digest  [32]byte
	Public  bool
	Objects [][16]byte
}

// ParseLeaf accepts exactly what Leaf writes.
func ParseLeaf(b []byte) (LeafParts, error) {
	var p LeafParts
	if len(b) < 35 || b[32] > 1 || len(b) != 35+16*int(binary.BigEndian.Uint16(b[33:])) {
		return p, errors.New("leaf: wrong size or mark")
	}
	copy(p.Digest[:], b)
	p.Public = b[32] == 1
	for b = b[35:]; len(b) > 0; b = b[16:] {
		p.Objects = append(p.Objects, [16]byte(b))
	}
	return p, nil
}

// Limits of one entry. A decoder refuses more.
const (
	MaxEntryBytes = contracts.MaxEntryBytes
	maxList       = 1 << 16
)

const entryVersion = 1

// Encode writes the one encoding of e: a version byte, then the fields in order, lists and bytes length-prefixed.
func (e *Entry) Encode() []byte {
	n := 256 + len(e.Raw)
	for _, w := range e.Writes {
		n += len(w.Key) + len(w.Value) + 16
	}
	b := make([]byte, 0, n)
	b = append(b, entryVersion)
	b = binary.BigEndian.AppendUint64(b, e.Position)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Rulebook))
	b = append(b, e.Prev[:]...)
	b = putBytes(b, e.Raw)
	b = putCount(b, len(e.Signatures))
	for _, s := range e.Signatures {
		b = putBytes(putBytes(b, []byte(s.Key)), s.Sig)
	}
	b = putCount(b, len(e.Events))
	for _, v := range e.Events {
		b = putBytes(putBytes(b, []byte(v.Name)), []byte(v.Object))
	}
	b = putCount(b, len(e.Writes))
	for _, w := range e.Writes {
		b = putBytes(b, []byte(w.Key))
		if w.Value == nil {
			b = append(b, 0)
		} else {
			b = putBytes(append(b, 1), w.Value)
		}
	}
	if e.Public {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = putIDs(b, e.Objects)
	return putIDs(b, e.Audience)
}

func putCount(b []byte, n int) []byte    { return binary.BigEndian.AppendUint32(b, uint32(n)) }
func putBytes(b []byte, x []byte) []byte { return append(putCount(b, len(x)), x...) }
func putIDs(b []byte, ids []contracts.ID) []byte {
	b = putCount(b, len(ids))
	for _, id := range ids {
		x := id.Bytes()
		b = append(b, x[:]...)
	}
	return b
}

// DecodeEntry accepts only bytes that Encode writes, byte for byte.
func DecodeEntry(b []byte) (*Entry, error) {
	if len(b) > MaxEntryBytes {
		return nil, fmt.Errorf("entry: %d bytes, limit %d", len(b), MaxEntryBytes)
	}
	r := reader{b: b}
	e := &Entry{}
	if v := r.byte("version"); r.err == nil && v != entryVersion {
		return nil, fmt.Errorf("entry: version %d is unknown", v)
	}
	e.Position = r.u64("position")
	e.Time = contracts.Millis(r.u64("time"))
	e.Rulebook = int64(r.u64("rulebook"))
	copy(e.Prev[:], r.take(32, "prev"))
	e.Raw = r.bytes("command")
	for range r.count("signatures") {
		e.Signatures = append(e.Signatures, contracts.Signature{Key: contracts.PublicKey(r.bytes("signatures.key")), Sig: r.bytes("signatures.sig")})
	}
	for range r.count("events") {
		e.Events = append(e.Events, contracts.Event{Name: string(r.bytes("events.name")), Object: contracts.ID(r.bytes("events.object"))})
	}
	for i := range r.count("writes") {
		w := contracts.Write{Key: string(r.bytes("writes.key"))}
		switch r.byte("writes.mark") {
		case 0:
		case 1:
			w.Value = r.bytes("writes.value")
		default:
			r.fail("writes.mark")
		}
		if r.err == nil && i > 0 && w.Key <= e.Writes[i-1].Key {
			r.fail("writes.order")
		}
		e.Writes = append(e.Writes, w)
	}
	switch r.byte("public") {
	case 0:
	case 1:
		e.Public = true
	default:
		r.fail("public")
	}
	e.Objects = r.ids("objects")
	e.Audience = r.ids("audience")
	if r.err == nil && len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	if r.err != nil {
		return nil, r.err
	}
	return e, nil
}

// reader keeps the first error; after it every read gives zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(field string) {
	if r.err == nil {
		r.err = fmt.Errorf("entry: %s is malformed", field)
	}
	r.b = nil
}

func (r *reader) take(n int, field string) []byte {
	if n > len(r.b) {
		r.fail(field)
		return nil
	}
	x := r.b[:n:n]
	r.b = r.b[n:]
	return x
}

func (r *reader) byte(field string) byte {
	if x := r.take(1, field); x != nil {
		return x[0]
	}
	return 0
}

func (r *reader) u64(field string) uint64 {
	if x := r.take(8, field); x != nil {
		return binary.BigEndian.Uint64(x)
	}
	return 0
}

func (r *reader) count(field string) int {
	x := r.take(4, field)
	if x == nil {
		return 0
	}
	n := binary.BigEndian.Uint32(x)
	if n > maxList {
		r.fail(field)
		return 0
	}
	return int(n)
}

func (r *reader) bytes(field string) []byte {
	x := r.take(4, field)
	if x == nil {
		return nil
	}
	if v := r.take(int(binary.BigEndian.Uint32(x)), field); v != nil {
		return v
	}
	return []byte{}
}

func (r *reader) ids(field string) []contracts.ID {
	var ids []contracts.ID
	for i := range r.count(field) {
		x := r.take(16, field)
		id := contracts.ID(fmt.Sprintf("%x", x))
		if r.err != nil {
			return nil
		}
		if i > 0 && id <= ids[i-1] {
			r.fail(field + ".order")
			return nil
		}
		ids = append(ids, id)
	}
	return ids
}
