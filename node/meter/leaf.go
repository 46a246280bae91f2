package meter

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Digest is a SHA-256 digest, or zero where a leaf has none.
type Digest = [32]byte

// Op says what a leaf records.
type Op uint8

const (
	OpCall  Op = 1 + iota // one executed call
	OpVoid                // takes back the units of leaf Ref
	OpClose               // ends a period; Ref is the number of the period
)

// Outcome is what the provider answered to a call.
type Outcome uint8

const (
	Found Outcome = 1 + iota
	NotFound
	NoConsent
	SourceTimeout
	SourceError
	BadRequest
)

var outcomeNames = [...]string{Found: "FOUND", NotFound: "NOT_FOUND", NoConsent: "NO_CONSENT",
	SourceTimeout: "SOURCE_TIMEOUT", SourceError: "SOURCE_ERROR", BadRequest: "BAD_REQUEST"}

func (o Outcome) String() string {
	if o.valid() {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

func (o Outcome) valid() bool { return o >= Found && o <= BadRequest }

// Leaf is one receipt: a leaf of the agreement's RFC 6962 log.
type Leaf struct {
	Agreement [16]byte // contracts.ID as bytes
	Epoch     int64    // of the log, from 1
	Seq       int64    // place in the log, from 0
	Time      contracts.Millis
	Op        Op
	Outcome   Outcome          // of a CALL
	Units     int64            // billed; not above zero in a VOID
	AsOf      contracts.Millis // the facts are those of this time; 0 where the call has none
	KnownAt   contracts.Millis // and as known to the source at this time
	Ref       int64            // VOID: seq of the leaf taken back; CLOSE: number of the period; CALL: units asked for, beyond the first
	Request   RequestID        // in VOID and CLOSE a bare nonce: its random bits keep the leaf's hash unguessable

	Snapshot      Digest // of the dataset snapshot that answered
	RequestDigest Digest // of the request's bytes
	AnswerDigest  Digest // of the answer's bytes as sent

	Totals contracts.Totals // after this leaf
	Fence  int64            // the writer's fencing token: ledger position of its node's registration
}

// LeafSize is the length of every encoded leaf, so that a leaf has exactly one encoding.
const LeafSize = 2 + 16 + 8 + 8 + 8 + 1 + 1 + 8 + 8 + 8 + 8 + 32 + 3*32 + 24 + 8

const leafVersion = 1

// Asked is how many units a CALL asked for. The tag of its request id covers it, so that a consumer which forgot the
// request still knows what it asked for; Units are those or none.
func (l *Leaf) Asked() int64 { return l.Ref + 1 }

// Encode gives the bytes that are hashed into the log.
func (l *Leaf) Encode() []byte { return l.append(make([]byte, 0, LeafSize)) }

func (l *Leaf) append(b []byte) []byte {
	b = append(b, 'r', leafVersion)
	b = append(b, l.Agreement[:]...)
	b = be(b, l.Epoch, l.Seq, int64(l.Time))
	b = append(b, byte(l.Op), byte(l.Outcome))
	b = be(b, l.Units, int64(l.AsOf), int64(l.KnownAt), l.Ref)
	b = append(b, l.Request[:]...)
	b = append(b, l.Snapshot[:]...)
	b = append(b, l.RequestDigest[:]...)
	b = append(b, l.AnswerDigest[:]...)
	return be(b, l.Totals.Calls, l.Totals.Units, int64(l.Totals.Micro), l.Fence)
}

// DecodeLeaf reads an encoded leaf and refuses every leaf that no honest writer makes, whatever log it is in.
func DecodeLeaf(b []byte) (Leaf, error) {
	var l Leaf
	if len(b) != LeafSize || b[0] != 'r' || b[1] != leafVersion {
		return l, errors.New("couldn't decode leaf: wrong length or version")
	}
	c := cursor(b[2:])
	c.bytes(l.Agreement[:])
	l.Epoch, l.Seq, l.Time = c.int(), c.int(), contracts.Millis(c.int())
	l.Op, l.Outcome = Op(c.byte()), Outcome(c.byte())
	l.Units, l.AsOf, l.KnownAt, l.Ref = c.int(), contracts.Millis(c.int()), contracts.Millis(c.int()), c.int()
	c.bytes(l.Request[:])
	c.bytes(l.Snapshot[:])
	c.bytes(l.RequestDigest[:])
	c.bytes(l.AnswerDigest[:])
	l.Totals = contracts.Totals{Calls: c.int(), Units: c.int(), Micro: contracts.MicroYuan(c.int())}
	l.Fence = c.int()
	if err := l.check(); err != nil {
		return Leaf{}, fmt.Errorf("couldn't decode leaf: %w", err)
	}
	return l, nil
}

// check is run where a leaf is written and again where it is read.
func (l *Leaf) check() error {
	if l.Epoch < 1 || l.Seq < 0 || l.Fence < 0 || l.Ref < 0 {
		return errors.New("epoch, place, fence or reference out of range")
	}
	if l.Time == 0 || l.Time.Check() != nil || l.AsOf.Check() != nil || l.KnownAt.Check() != nil {
		return errors.New("time out of range")
	}
	if err := l.Totals.Check(); err != nil {
		return err
	}
	switch l.Op {
	case OpCall:
		if !l.Outcome.valid() || l.Units < 0 || l.Ref >= MaxUnits {
			return errors.New("not a CALL")
		}
		return nil
	case OpVoid:
		if l.Units > 0 || l.Ref >= l.Seq {
			return errors.New("not a VOID of an earlier leaf")
		}
	case OpClose:
		if l.Units != 0 || l.Ref == 0 {
			return errors.New("not a CLOSE of a period")
		}
	default:
		return errors.New("unknown op")
	}
	var none Digest
	if l.Outcome != 0 || l.AsOf != 0 || l.KnownAt != 0 || l.Snapshot != none || l.RequestDigest != none || l.AnswerDigest != none ||
		l.Request.tag() != [16]byte{} {
		return errors.New("fields of a call in a leaf that is none")
	}
	return nil
}

func be(b []byte, vs ...int64) []byte {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// cursor reads fixed-width fields; its caller has checked the length.
type cursor []byte

func (c *cursor) bytes(dst []byte) { *c = (*c)[copy(dst, *c):] }
func (c *cursor) byte() byte       { v := (*c)[0]; *c = (*c)[1:]; return v }
func (c *cursor) int() int64 {
	v := binary.BigEndian.Uint64(*c)
	*c = (*c)[8:]
	return int64(v)
}
