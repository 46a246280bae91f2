package psi

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"
)

// Padding says how a set's size is announced.
type Padding byte

const (
	// Exact announces a size as it is, 1 for an empty set.
	Exact Padding = 1
	// Rounded announces a size rounded up so that only the top bits are left: by at most 12 %, and less the larger the
	// set is (Padmé of Nikitin et al., Reducing Metadata Leakage from Encrypted Files and Communication with PURBs).
	Rounded Padding = 2
)

// ParsePadding reads what String writes.
func ParsePadding(s string) (Padding, error) {
	for _, p := range []Padding{Exact, Rounded} {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, errors.New("padding is exact or rounded")
}

func (p Padding) String() string {
	switch p {
	case Exact:
		return "exact"
	case Rounded:
		return "rounded"
	}
	return "unknown"
}

// Announced is the size that is said of a set of n ids.
func (p Padding) Announced(n uint64) uint64 {
	n = max(n, 1)
	if p == Exact || n < 2 {
		return n
	}
	e := bits.Len64(n) - 1        // floor of log2 n
	keep := bits.Len64(uint64(e)) // bits that stay below the top one
	drop := uint64(1)<<(e-min(e, keep)) - 1
	return (n + drop) &^ drop
}

// MaxSize bounds a set: above it a tag would not fit 16 bytes.
const MaxSize = 1 << 40

// MaxFrameElements bounds a frame to two mebibytes.
const MaxFrameElements = 1 << 16

// DefaultFrameElements makes frames of 128 KiB: some 200 ms of one core's work.
const DefaultFrameElements = 4096

// Params are what both sides must agree on, from their agreement, before the first frame.
type Params struct {
	// Session names this session and no other: a digest of agreement, both nodes and the session's id.
	Session [32]byte
	// SenderMax and ReceiverMax bound the announced sizes.
	SenderMax, ReceiverMax uint64
	Padding                Padding
	// FrameElements is how many points a frame holds, the last one excepted; tags come in frames of as many.
	FrameElements uint32
}

func (p *Params) check() error {
	if p.Session == [32]byte{} {
		return errors.New("session has no name")
	}
	if p.SenderMax < 1 || p.ReceiverMax < 1 || p.SenderMax > MaxSize || p.ReceiverMax > MaxSize {
		return errors.New("maximum of a set is 1 to 2^40")
	}
	if p.Padding != Exact && p.Padding != Rounded {
		return errors.New("padding is unknown")
	}
	if p.FrameElements < 1 || p.FrameElements > MaxFrameElements {
		return errors.New("a frame holds 1 to 65536 elements")
	}
	return nil
}

// digest names the parameters in the session's state, so that it is never resumed under others.
func (p *Params) digest() [32]byte {
	b := append([]byte("bund/psi/params/v1\x00"), p.Session[:]...)
	b = binary.BigEndian.AppendUint64(b, p.SenderMax)
	b = binary.BigEndian.AppendUint64(b, p.ReceiverMax)
	b = append(b, byte(p.Padding))
	b = binary.BigEndian.AppendUint32(b, p.FrameElements)
	return sha256.Sum256(b)
}

// frames is the number of frames for n elements.
func (p *Params) frames(n uint64) uint64 {
	return (n + uint64(p.FrameElements) - 1) / uint64(p.FrameElements)
}

// elements is how many of n elements the frame at place i, from 0, holds.
func (p *Params) elements(n, i uint64) int {
	return int(min(uint64(p.FrameElements), n-i*uint64(p.FrameElements)))
}

// tagSize is a tag's length in bytes: 40 bits beside those that the birthday of n·m pairs takes.
func tagSize(n, m uint64) int {
	return (40 + bits.Len64(n-1) + bits.Len64(m-1) + 7) / 8
}

// Bytes bounds what the two sides' frames of a session take together, for a store that is sized before it begins.
func (p *Params) Bytes(senderSize, receiverSize uint64) (sender, receiver int64) {
	frame := int64(frameHeader)
	a, b := int64(p.frames(senderSize)), int64(p.frames(receiverSize))
	tags := int64(receiverSize) * int64(tagSize(senderSize, receiverSize))
	sender = frame + helloSize + a*frame + int64(senderSize)*32 + b*frame + tags + frame + closeSize
	receiver = frame + helloSize + b*frame + int64(receiverSize)*32 + frame + closeSize
	return sender, receiver
}
