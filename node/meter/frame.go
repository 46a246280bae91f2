package meter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/transparency-dev/merkle/compact"

	"github.com/bund-exchange/bund/contracts"
)

// A frame is what one group commit writes: magic, batch number, length, CRC-32C of all of it, and records. A frame is
// whole or it is not there. Batch numbers go up by one and never come back, so what a recycled segment still holds
// of its earlier life is told apart by its number.
const (
	frameMagic  = 0x42574c31 // "BWL1"
	frameHeader = 4 + 8 + 4 + 4
	maxFrame    = 64 << 20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	magicBytes = binary.BigEndian.AppendUint32(nil, frameMagic)
)

// Kinds of record.
const (
	recLeaf  = 'L' // leaf, sealed answer
	recAck   = 'A' // acknowledgement, the period it ends, compact range at its size
	recState = 'S' // all that is known of a log but its leaves
)

type frameWriter struct{ buf []byte }

func (w *frameWriter) reset() { w.buf = append(w.buf[:0], make([]byte, frameHeader)...) }

func (w *frameWriter) empty() bool { return len(w.buf) <= frameHeader }

func (w *frameWriter) begin(kind byte) (at int) {
	w.buf = append(w.buf, kind, 0, 0, 0, 0)
	return len(w.buf)
}

func (w *frameWriter) end(at int) { binary.BigEndian.PutUint32(w.buf[at-4:], uint32(len(w.buf)-at)) }

// leaf gives the offset of the sealed answer within the frame.
func (w *frameWriter) leaf(raw, sealed []byte) int {
	at := w.begin(recLeaf)
	w.buf = append(append(w.buf, raw...), sealed...)
	w.end(at)
	return at + LeafSize
}

func (w *frameWriter) ack(a *ackRecord) {
	at := w.begin(recAck)
	w.buf = a.ack.append(w.buf)
	w.buf = be(w.buf, a.close)
	w.buf = appendRange(w.buf, a.rng)
	w.end(at)
}

func (w *frameWriter) state(s *logState) {
	at := w.begin(recState)
	w.buf = s.append(w.buf)
	w.end(at)
}

func (w *frameWriter) seal(batch uint64) []byte {
	b := w.buf
	binary.BigEndian.PutUint32(b, frameMagic)
	binary.BigEndian.PutUint64(b[4:], batch)
	binary.BigEndian.PutUint32(b[12:], uint32(len(b)-frameHeader))
	binary.BigEndian.PutUint32(b[16:], frameSum(b))
	return b
}

func frameSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:16], castagnoli), castagnoli, b[frameHeader:])
}

// readFrame gives the frame that b begins with, header included, or nil where there is no whole one.
func readFrame(b []byte) (batch uint64, frame []byte) {
	if len(b) < frameHeader || binary.BigEndian.Uint32(b) != frameMagic {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(b[12:])
	if n > maxFrame || int(n) > len(b)-frameHeader {
		return 0, nil
	}
	frame = b[: frameHeader+int(n) : frameHeader+int(n)]
	if frameSum(frame) != binary.BigEndian.Uint32(b[16:]) {
		return 0, nil
	}
	return binary.BigEndian.Uint64(b[4:]), frame
}

// laterFrame looks for a whole frame with a number above batch in what follows a broken one.
func laterFrame(b []byte, batch uint64) (uint64, bool) {
	for {
		i := bytes.Index(b, magicBytes)
		if i < 0 {
			return 0, false
		}
		if n, f := readFrame(b[i:]); f != nil && n > batch {
			return n, true
		}
		b = b[i+1:]
	}
}

// readRecords calls do with each record of a whole frame and its offset within the frame.
func readRecords(frame []byte, do func(kind byte, body []byte, at int) error) error {
	for at := frameHeader; at < len(frame); {
		if len(frame)-at < 5 {
			return errors.New("record is cut off")
		}
		kind, n := frame[at], int(binary.BigEndian.Uint32(frame[at+1:]))
		at += 5
		if n > len(frame)-at {
			return errors.New("record is cut off")
		}
		if err := do(kind, frame[at:at+n:at+n], at); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// ackRecord is one acknowledgement as stored.
type ackRecord struct {
	ack   Signed
	close int64 // number of the period it ends, or 0
	rng   *compact.Range
}

func readAckRecord(b []byte) (*ackRecord, error) {
	if len(b) < SignedSize+8 {
		return nil, errors.New("couldn't read acknowledgement: too short")
	}
	a := &ackRecord{}
	var err error
	if a.ack, err = DecodeSigned(b[:SignedSize]); err != nil {
		return nil, err
	}
	c := cursor(b[SignedSize:])
	a.close = c.int()
	a.rng, err = readRange(a.ack.Size, c)
	return a, err
}

// logState is what the store knows of a log besides the leaves.
type logState struct {
	agreement [16]byte
	epoch     int64
	base      contracts.Totals // with which the epoch began: those last acknowledged before it
	baseClose int64            // lastClose when the epoch began
	lastClose int64            // number of the last acknowledged CLOSE, of any epoch
	ack       *Signed          // last of this epoch, or nil
	rng       *compact.Range   // at the acknowledged size
	periods   []period         // the last maxPeriods acknowledged CLOSEs of this epoch
	epochs    []Signed         // the last acknowledgement of each earlier epoch that had one
}

type period struct {
	close int64
	ack   Signed
}

// A report is on the ledger long before so many periods have passed.
const maxPeriods = 32

func (s *logState) append(b []byte) []byte {
	b = append(b, s.agreement[:]...)
	b = be(b, s.epoch, s.base.Calls, s.base.Units, int64(s.base.Micro), s.baseClose, s.lastClose)
	if s.ack == nil {
		b = append(b, 0)
	} else {
		b = s.ack.append(append(b, 1))
	}
	b = be(b, int64(len(s.periods)), int64(len(s.epochs)))
	for _, p := range s.periods {
		b = p.ack.append(be(b, p.close))
	}
	for _, e := range s.epochs {
		b = e.append(b)
	}
	return appendRange(b, s.rng)
}

func readLogState(b []byte) (*logState, error) {
	short := errors.New("couldn't read log state: too short")
	if len(b) < 16+6*8+1 {
		return nil, short
	}
	s := &logState{}
	c := cursor(b)
	c.bytes(s.agreement[:])
	s.epoch = c.int()
	s.base = contracts.Totals{Calls: c.int(), Units: c.int(), Micro: contracts.MicroYuan(c.int())}
	s.baseClose, s.lastClose = c.int(), c.int()
	signed := func() (a Signed, err error) {
		if len(c) < SignedSize {
			return a, short
		}
		a, err = DecodeSigned(c[:SignedSize])
		c = c[SignedSize:]
		return a, err
	}
	var size int64
	switch c.byte() {
	case 0:
	case 1:
		a, err := signed()
		if err != nil {
			return nil, err
		}
		s.ack, size = &a, a.Size
	default:
		return nil, errors.New("couldn't read log state: unknown mark")
	}
	if len(c) < 16 {
		return nil, short
	}
	periods, epochs := c.int(), c.int()
	if s.epoch < 1 || s.base.Check() != nil || s.baseClose < 0 || s.lastClose < s.baseClose || periods < 0 || periods > maxPeriods || epochs < 0 || epochs >= s.epoch {
		return nil, fmt.Errorf("couldn't read log state: epoch %d, %d periods, %d earlier epochs", s.epoch, periods, epochs)
	}
	for range periods {
		if len(c) < 8 {
			return nil, short
		}
		ref := c.int()
		a, err := signed()
		if err != nil {
			return nil, err
		}
		s.periods = append(s.periods, period{ref, a})
	}
	for range epochs {
		a, err := signed()
		if err != nil {
			return nil, err
		}
		s.epochs = append(s.epochs, a)
	}
	var err error
	s.rng, err = readRange(size, c)
	return s, err
}

// acknowledge moves the state to a.
func (s *logState) acknowledge(a *ackRecord) {
	s.ack, s.rng = &a.ack, a.rng
	if a.close != 0 {
		s.lastClose = a.close
		s.periods = append(s.periods, period{a.close, a.ack})
		if n := len(s.periods) - maxPeriods; n > 0 {
			s.periods = append([]period(nil), s.periods[n:]...)
		}
	}
}

// next gives the state that the following epoch begins with, from an acknowledgement of this one, or from its
// beginning where that is nil.
func (s *logState) next(from *Signed) *logState {
	n := &logState{agreement: s.agreement, epoch: s.epoch + 1, base: s.base, baseClose: s.baseClose, rng: ranges.NewEmptyRange(0),
		epochs: append([]Signed(nil), s.epochs...)}
	if from != nil {
		n.base, n.epochs = from.Totals, append(n.epochs, *from)
		for _, p := range s.periods {
			if p.ack.Size <= from.Size {
				n.baseClose = p.close
			}
		}
	}
	n.lastClose = n.baseClose
	return n
}

// ackedTotals are those that both sides have signed.
func (s *logState) ackedTotals() contracts.Totals {
	if s.ack != nil {
		return s.ack.Totals
	}
	return s.base
}

// ackedSize is 0 before the first acknowledgement.
func (s *logState) ackedSize() int64 { return int64(s.rng.End()) }
