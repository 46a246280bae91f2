package psi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/privacy/group25519"
)

// syncFrames is how many frames of the sender's points are multiplied between two points to which a crash goes back.
// A variable for tests.
var syncFrames uint64 = 32

// Receive is the receiver's side, from its beginning or from where it was. The same ids must be given again after a
// crash until the first frame is sent; then they are read no more. deliver is given the matches and must have kept them
// when it returns: then the scalar is gone. After a crash it may be called again, with the same matches.
func (s *Session) Receive(ctx context.Context, ids IDs, deliver func(*Matches) error) (Summary, error) {
	r, peer, err := s.begin(ctx, roleReceiver, ids)
	if err != nil {
		return Summary{}, err
	}
	if !r.done {
		if err := s.intersect(ctx, r, peer, deliver); err != nil {
			return Summary{}, err
		}
	}
	if err := s.cleanUp(); err != nil {
		return Summary{}, err
	}
	if number := s.Params.frames(r.size) + 1; s.Link.Sent() == number {
		if err := s.Link.Send(ctx, number, closeFrame(number, r.size, r.summary.Tags)); err != nil {
			return Summary{}, fmt.Errorf("couldn't send Close: %w", err)
		}
	}
	s.progress(Intersected, r.size, r.size)
	return r.summary, nil
}

// intersect does all between the Hellos and the receiver's Close.
func (s *Session) intersect(ctx context.Context, r *record, peer *hello, deliver func(*Matches) error) error {
	k, err := group25519.DecodeScalar(r.scalar[:])
	if err != nil {
		return fmt.Errorf("couldn't read session's record: %w", err)
	}
	defer k.Erase()
	// Both directions at once: a link that holds little could block a side that only sends.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.sendPoints(gctx, r) })
	g.Go(func() error { return s.absorb(gctx, r, peer, k) })
	if err := g.Wait(); err != nil {
		return err
	}
	first := s.Params.frames(peer.size) + 1
	sum, err := s.receiveTags(ctx, r, peer, first)
	if err != nil {
		return err
	}
	m, err := s.match(ctx, r, peer, first)
	if err != nil {
		return err
	}
	if err := deliver(m); err != nil {
		return fmt.Errorf("couldn't deliver matches: %w", err)
	}
	return s.forget(r, k, Summary{Sender: peer.size, Receiver: r.size, Tags: sum})
}

// absorb keeps the tags of the sender's points multiplied by the own scalar, on tapeTags in the points' order.
func (s *Session) absorb(ctx context.Context, r *record, peer *hello, k *group25519.Scalar) error {
	n, size := s.Params.frames(peer.size), tagSize(peer.size, r.size)
	if err := s.Spool.Truncate(tapeTags, int64(min(r.absorbed*uint64(s.Params.FrameElements), peer.size))*int64(size)); err != nil {
		return fmt.Errorf("couldn't cut spool: %w", err)
	}
	in := s.incoming(peer)
	tags := make([]byte, 0, int(s.Params.FrameElements)*size)
	for i := range n {
		ps, err := in.next(ctx, i+1)
		if err != nil {
			return err
		}
		if i < r.absorbed {
			continue
		}
		if err := s.multiplyPeers(ctx, ps, k, i+1); err != nil {
			return err
		}
		tags = tags[:0]
		for j := range ps {
			tags = append(tags, ps[j][:size]...)
		}
		if err := s.Spool.Append(tapeTags, tags); err != nil {
			return fmt.Errorf("couldn't write spool: %w", err)
		}
		s.progress(Exchanging, min((i+1)*uint64(s.Params.FrameElements), peer.size), peer.size)
		if done := i + 1; done%syncFrames == 0 || done == n {
			if err := s.Spool.Sync(tapeTags); err != nil {
				return fmt.Errorf("couldn't sync spool: %w", err)
			}
			r.absorbed = done
			if err := s.save(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// receiveTags waits for all tags and the sender's Close, and gives the tags' digest.
func (s *Session) receiveTags(ctx context.Context, r *record, peer *hello, first uint64) (digest [32]byte, err error) {
	sum := sha256.New()
	n := s.Params.frames(r.size)
	for i := range n {
		tags, err := s.tagsAt(ctx, r, peer, first, i)
		if err != nil {
			return digest, err
		}
		sum.Write(tags)
		s.progress(Evaluating, min((i+1)*uint64(s.Params.FrameElements), r.size), r.size)
	}
	sum.Sum(digest[:0])
	frame, err := s.Link.Receive(ctx, first+n)
	if err != nil {
		return digest, fmt.Errorf("couldn't receive Close: %w", err)
	}
	return digest, openClose(frame, first+n, r.size, digest)
}

// tagsAt gives the tags of the own points at place i.
func (s *Session) tagsAt(ctx context.Context, r *record, peer *hello, first, i uint64) ([]byte, error) {
	frame, err := s.Link.Receive(ctx, first+i)
	if err != nil {
		return nil, fmt.Errorf("couldn't receive tags: %w", err)
	}
	return openTags(frame, first+i, s.Params.elements(r.size, i), tagSize(peer.size, r.size))
}

// places gives the places of the ids whose points are in frame i.
func (s *Session) places(r *record, i uint64) ([]byte, error) {
	b := make([]byte, 8*s.Params.elements(r.size, i))
	if err := s.Spool.ReadAt(tapePlaces, b, int64(i)*int64(s.Params.FrameElements)*8); err != nil {
		return nil, fmt.Errorf("couldn't read spool: %w", err)
	}
	return b, nil
}

func placeAt(b []byte, i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
