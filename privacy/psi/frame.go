package psi

import (
	"encoding/binary"

	"github.com/bund-exchange/bund/privacy/group25519"
)

// A frame is {kind 1, number 8 big-endian, body}. Numbers count a side's own frames from 0. Every body has exactly the
// length that its kind and the two Hellos give it; there is no second encoding of anything.

type kind byte

const (
	kindHello  kind = 1
	kindPoints kind = 2
	kindTags   kind = 3
	kindClose  kind = 4
)

const (
	frameHeader = 1 + 8
	helloSize   = 1 + 1 + 1 + 1 + 4 + 32 + 8 + 32
	closeSize   = 8 + 32
	// MaxFrameBytes bounds any frame.
	MaxFrameBytes = frameHeader + MaxFrameElements*group25519.PointSize
)

func newFrame(k kind, number uint64, body int) []byte {
	b := make([]byte, 0, frameHeader+body)
	b = append(b, byte(k))
	return binary.BigEndian.AppendUint64(b, number)
}

// openFrame gives the body of the frame that is due: of kind k at number. A frame of another number was replayed or one
// before it left out.
func openFrame(b []byte, k kind, number uint64) ([]byte, error) {
	if len(b) < frameHeader || len(b) > MaxFrameBytes {
		return nil, refuse(BadFrame, "a frame of %d bytes", len(b))
	}
	if got := binary.BigEndian.Uint64(b[1:]); got != number {
		return nil, refuse(BadOrder, "frame %d came where %d is due", got, number)
	}
	switch got := kind(b[0]); {
	case got == k:
	case got < kindHello || got > kindClose:
		return nil, refuse(BadFrame, "frame %d is of no known kind", number)
	default:
		return nil, refuse(BadOrder, "frame %d is of kind %d where %d is due", number, got, k)
	}
	return b[frameHeader:], nil
}

type role byte

const (
	roleSender   role = 1
	roleReceiver role = 2
)

func (r role) peer() role { return roleSender + roleReceiver - r }

const (
	version = 1
	// suiteXOnly is u-only Curve25519 with RFC 9380's curve25519_XMD:SHA-512_ELL2_NU_ under hashTag.
	suiteXOnly = 1
	hashTag    = "bund-psi-v1-with-" + group25519.Suite
	fillTag    = "bund-psi-v1-fill-with-" + group25519.Suite // of points that fill a set up to its announced size
)

// hello is what a side says of itself before anything else.
type hello struct {
	role          role
	padding       Padding
	frameElements uint32
	session       [32]byte
	size          uint64   // as announced
	commitment    [32]byte // see committing
}

func (h *hello) frame() []byte {
	b := newFrame(kindHello, 0, helloSize)
	b = append(b, version, suiteXOnly, byte(h.role), byte(h.padding))
	b = binary.BigEndian.AppendUint32(b, h.frameElements)
	b = append(b, h.session[:]...)
	b = binary.BigEndian.AppendUint64(b, h.size)
	return append(b, h.commitment[:]...)
}

// openHello reads the Hello of the side that has role peer.
func openHello(frame []byte, p *Params, peer role) (*hello, error) {
	b, err := openFrame(frame, kindHello, 0)
	if err != nil {
		return nil, err
	}
	if len(b) != helloSize {
		return nil, refuse(BadFrame, "a Hello of %d bytes", len(b))
	}
	h := &hello{role: role(b[2]), padding: Padding(b[3]), frameElements: binary.BigEndian.Uint32(b[4:]), session: [32]byte(b[8:40]),
		size: binary.BigEndian.Uint64(b[40:]), commitment: [32]byte(b[48:])}
	switch {
	case b[0] != version || b[1] != suiteXOnly:
		return nil, refuse(BadParams, "version %d and suite %d are not spoken here", b[0], b[1])
	case h.session != p.Session:
		return nil, refuse(BadParams, "the Hello is of another session")
	case h.role != peer:
		return nil, refuse(BadParams, "both sides have the same role")
	case h.padding != p.Padding || h.frameElements != p.FrameElements:
		return nil, refuse(BadParams, "padding or frames are not those agreed")
	}
	limit := p.SenderMax
	if peer == roleReceiver {
		limit = p.ReceiverMax
	}
	if h.size < 1 || h.size > limit {
		return nil, refuse(BadSize, "%d elements, where 1 to %d are agreed", h.size, limit)
	}
	if h.padding.Announced(h.size) != h.size {
		return nil, refuse(BadSize, "%d elements is no rounded size", h.size)
	}
	return h, nil
}

// openPoints reads the points of a frame that has to hold want of them.
func openPoints(frame []byte, number uint64, want int) ([]group25519.Point, error) {
	b, err := openFrame(frame, kindPoints, number)
	if err != nil {
		return nil, err
	}
	if len(b)%group25519.PointSize != 0 {
		return nil, refuse(BadFrame, "frame %d ends inside a point", number)
	}
	if len(b)/group25519.PointSize != want {
		return nil, refuse(BadCount, "frame %d has %d points, %d are due", number, len(b)/group25519.PointSize, want)
	}
	ps := make([]group25519.Point, want)
	for i := range ps {
		ps[i] = group25519.Point(b[i*group25519.PointSize:])
		if !ps[i].Canonical() {
			return nil, refuse(BadPoint, "point %d of frame %d is not canonical", i, number)
		}
	}
	return ps, nil
}

// openTags reads the tags, each of size bytes, of a frame that has to hold want of them.
func openTags(frame []byte, number uint64, want, size int) ([]byte, error) {
	b, err := openFrame(frame, kindTags, number)
	if err != nil {
		return nil, err
	}
	if len(b)%size != 0 {
		return nil, refuse(BadFrame, "frame %d ends inside a tag", number)
	}
	if len(b)/size != want {
		return nil, refuse(BadCount, "frame %d has %d tags, %d are due", number, len(b)/size, want)
	}
	return b, nil
}

func closeFrame(number, count uint64, digest [32]byte) []byte {
	b := binary.BigEndian.AppendUint64(newFrame(kindClose, number, closeSize), count)
	return append(b, digest[:]...)
}

// openClose reads a Close, which has to repeat the count and digest of the tags.
func openClose(frame []byte, number, count uint64, digest [32]byte) error {
	b, err := openFrame(frame, kindClose, number)
	if err != nil {
		return err
	}
	if len(b) != closeSize {
		return refuse(BadFrame, "a Close of %d bytes", len(b))
	}
	if got := binary.BigEndian.Uint64(b); got != count {
		return refuse(BadCount, "the Close counts %d tags, there were %d", got, count)
	}
	if [32]byte(b[8:]) != digest {
		return refuse(BadPromise, "the Close is of other tags")
	}
	return nil
}
