package psi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/privacy/group25519"
)

// Send is the sender's side, from its beginning or from where it was. The same ids must be given again after a crash
// until the first frame is sent; then they are read no more.
func (s *Session) Send(ctx context.Context, ids IDs) (Summary, error) {
	r, peer, err := s.begin(ctx, roleSender, ids)
	if err != nil {
		return Summary{}, err
	}
	if !r.done {
		if err := s.sendPoints(ctx, r); err != nil {
			return Summary{}, err
		}
		if err := s.answer(ctx, r, peer); err != nil {
			return Summary{}, err
		}
	}
	if err := s.cleanUp(); err != nil {
		return Summary{}, err
	}
	last := s.Params.frames(r.summary.Receiver) + 1
	frame, err := s.Link.Receive(ctx, last)
	if err != nil {
		return Summary{}, fmt.Errorf("couldn't receive Close: %w", err)
	}
	if err := openClose(frame, last, r.summary.Receiver, r.summary.Tags); err != nil {
		return Summary{}, err
	}
	s.progress(Intersected, r.summary.Receiver, r.summary.Receiver)
	return r.summary, nil
}

// answer sends a tag for each of the receiver's points, and forgets the scalar.
func (s *Session) answer(ctx context.Context, r *record, peer *hello) error {
	k, err := group25519.DecodeScalar(r.scalar[:])
	if err != nil {
		return fmt.Errorf("couldn't read session's record: %w", err)
	}
	defer k.Erase()
	n := s.Params.frames(peer.size)
	// No tag leaves before the whole set is here and is the one committed to: a receiver can't choose points by tags.
	check := s.incoming(peer)
	for i := range n {
		if _, err := check.next(ctx, i+1); err != nil {
			return err
		}
		s.progress(Exchanging, min((i+1)*uint64(s.Params.FrameElements), peer.size), peer.size)
	}
	first := s.Params.frames(r.size) + 1 // number of the first frame of tags
	size := tagSize(r.size, peer.size)
	sum := sha256.New()
	for i := range n {
		var frame []byte
		if first+i < s.Link.Sent() {
			if frame, err = s.Link.Own(first + i); err != nil {
				return fmt.Errorf("couldn't read sent tags: %w", err)
			}
		} else {
			if frame, err = s.tags(ctx, k, peer, i, first+i, size); err != nil {
				return err
			}
			if err = s.Link.Send(ctx, first+i, frame); err != nil {
				return fmt.Errorf("couldn't send tags: %w", err)
			}
		}
		sum.Write(frame[frameHeader:])
		s.progress(Evaluating, min((i+1)*uint64(s.Params.FrameElements), peer.size), peer.size)
	}
	out := Summary{Sender: r.size, Receiver: peer.size, Tags: [32]byte(sum.Sum(nil))}
	if s.Link.Sent() == first+n {
		if err := s.Link.Send(ctx, first+n, closeFrame(first+n, peer.size, out.Tags)); err != nil {
			return fmt.Errorf("couldn't send Close: %w", err)
		}
	}
	return s.forget(r, k, out)
}

// tags makes frame number of the tags: of the receiver's points at place i.
func (s *Session) tags(ctx context.Context, k *group25519.Scalar, peer *hello, i, number uint64, size int) ([]byte, error) {
	in, err := s.Link.Receive(ctx, i+1)
	if err != nil {
		return nil, fmt.Errorf("couldn't receive points: %w", err)
	}
	ps, err := openPoints(in, i+1, s.Params.elements(peer.size, i))
	if err != nil {
		return nil, err
	}
	if err := s.multiplyPeers(ctx, ps, k, i+1); err != nil {
		return nil, err
	}
	frame := newFrame(kindTags, number, len(ps)*size)
	for j := range ps {
		frame = append(frame, ps[j][:size]...)
	}
	return frame, nil
}

// multiplyPeers multiplies the points of the peer's frame number in place.
func (s *Session) multiplyPeers(ctx context.Context, ps []group25519.Point, k *group25519.Scalar, number uint64) error {
	err := s.multiply(ctx, ps, k)
	if errors.Is(err, group25519.ErrSmallOrder) {
		return refuse(BadPoint, "a point of frame %d has small order", number)
	}
	if err != nil {
		return fmt.Errorf("couldn't multiply points: %w", err)
	}
	return nil
}
