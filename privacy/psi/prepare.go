package psi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/privacy/group25519"
)

// batchElements is how many points one goroutine multiplies at a time, with one inversion.
const batchElements = 256

// batch is ids on their way to points.
type batch struct {
	tag   string
	ids   [][]byte // nil for fill
	first uint64   // place of the first id
}

// prepare makes the own points: hashed, multiplied by a fresh scalar, sorted, filled up to the announced size, durable
// on the spool. A crash before its last step leaves nothing that counts.
func (s *Session) prepare(ctx context.Context, as role, ids IDs) (*record, error) {
	if err := s.cleanUp(); err != nil {
		return nil, err
	}
	k, err := group25519.NewScalar(s.random())
	if err != nil {
		return nil, err
	}
	limit := s.Params.SenderMax
	if as == roleReceiver {
		limit = s.Params.ReceiverMax
	}
	r := &record{role: as, params: s.Params.digest(), scalar: k.Encode()}
	sorted := &sorting{spool: s.Spool}
	if r.ids, r.size, err = s.multiplyOwn(ctx, sorted, k, ids, limit); err != nil {
		return nil, err
	}
	if err := s.layOut(as, sorted, r); err != nil {
		return nil, err
	}
	return r, s.save(r)
}

// multiplyOwn adds all own points to sorted, in any order.
func (s *Session) multiplyOwn(ctx context.Context, sorted *sorting, k *group25519.Scalar, ids IDs, limit uint64) (n, size uint64, err error) {
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan batch, s.workers())
	points := make(chan []entry, s.workers())
	g.Go(func() error {
		defer close(batches)
		var err error
		n, size, err = s.readOwn(ctx, batches, ids, limit)
		return err
	})
	var workers errgroup.Group
	for range s.workers() {
		workers.Go(func() error {
			for b := range batches {
				es, err := b.multiply(k)
				if err != nil {
					return err
				}
				select {
				case points <- es:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(points)
		return workers.Wait()
	})
	g.Go(func() error {
		done := uint64(0)
		for es := range points {
			if err := sorted.add(es); err != nil {
				return err
			}
			done += uint64(len(es))
			s.progress(Preparing, done, 0)
		}
		return nil
	})
	err = g.Wait()
	return n, size, err
}

// readOwn hands out own ids in batches, and then what fills the set up to its announced size.
func (s *Session) readOwn(ctx context.Context, batches chan<- batch, ids IDs, limit uint64) (n, size uint64, err error) {
	b := batch{tag: hashTag}
	send := func() error {
		if len(b.ids) == 0 {
			return nil
		}
		select {
		case batches <- b:
			b = batch{tag: b.tag, first: n}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for id, err := range ids {
		if err != nil {
			return 0, 0, fmt.Errorf("couldn't read own ids: %w", err)
		}
		if n++; n > limit {
			return 0, 0, refuse(BadSize, "the own set has more than the %d ids that are agreed", limit)
		}
		if b.ids = append(b.ids, append([]byte(nil), id...)); len(b.ids) == batchElements {
			if err := send(); err != nil {
				return 0, 0, err
			}
		}
	}
	if err := send(); err != nil {
		return 0, 0, err
	}
	if size = s.Params.Padding.Announced(n); size > limit {
		return 0, 0, refuse(BadSize, "the own set, rounded to %d, is above the %d that are agreed", size, limit)
	}
	b = batch{tag: fillTag, first: fill}
	for i := n; i < size; i++ {
		id := make([]byte, 32)
		if _, err := io.ReadFull(s.random(), id); err != nil {
			return 0, 0, fmt.Errorf("couldn't draw fill: %w", err)
		}
		if b.ids = append(b.ids, id); len(b.ids) == batchElements || i+1 == size {
			if err := send(); err != nil {
				return 0, 0, err
			}
			b.first = fill
		}
	}
	return n, size, nil
}

func (b *batch) multiply(k *group25519.Scalar) ([]entry, error) {
	ps := make([]group25519.Point, len(b.ids))
	if err := group25519.HashBatch(ps, b.tag, b.ids); err != nil {
		return nil, fmt.Errorf("couldn't hash own ids: %w", err)
	}
	if err := group25519.MulBatch(ps, ps, k); err != nil {
		return nil, fmt.Errorf("couldn't multiply own ids: %w", err)
	}
	es := make([]entry, len(ps))
	for i := range ps {
		es[i] = entry{ps[i], fill}
		if b.first != fill {
			es[i].place = b.first + uint64(i)
		}
	}
	return es, nil
}

// layOut writes the sorted points to their tapes and commits to them.
func (s *Session) layOut(as role, sorted *sorting, r *record) error {
	c := committing(&s.Params, as, r.size)
	points, places := make([]byte, 0, 64<<10), make([]byte, 0, 16<<10)
	flush := func() error {
		c.Write(points)
		if err := s.Spool.Append(tapePoints, points); err != nil {
			return fmt.Errorf("couldn't write spool: %w", err)
		}
		points = points[:0]
		if as == roleReceiver {
			if err := s.Spool.Append(tapePlaces, places); err != nil {
				return fmt.Errorf("couldn't write spool: %w", err)
			}
			places = places[:0]
		}
		return nil
	}
	var last entry
	written := false
	err := sorted.each(func(e *entry) error {
		if written && e.point == last.point {
			return refuse(OwnDuplicate, "the ids at places %d and %d are the same", min(last.place, e.place)+1, max(last.place, e.place)+1)
		}
		last, written = *e, true
		points = append(points, e.point[:]...)
		if as == roleReceiver {
			places = binary.BigEndian.AppendUint64(places, e.place)
		}
		if len(points) == cap(points) {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	for _, t := range []string{tapePoints, tapePlaces} {
		if t == tapePlaces && as == roleSender {
			continue
		}
		if err := s.Spool.Sync(t); err != nil {
			return fmt.Errorf("couldn't sync spool: %w", err)
		}
	}
	if err := s.Spool.Truncate(tapeRuns, 0); err != nil {
		return fmt.Errorf("couldn't clear spool: %w", err)
	}
	c.Sum(r.commitment[:0])
	return nil
}

// committing begins the commitment to a side's points: a digest of them in their order. They are products with a
// fresh secret, which hides the ids as a salt would.
func committing(p *Params, as role, size uint64) hash.Hash {
	h := sha256.New()
	h.Write([]byte("bund/psi/commitment/v1\x00"))
	h.Write(p.Session[:])
	h.Write(binary.BigEndian.AppendUint64([]byte{byte(as)}, size))
	return h
}

// multiply multiplies points in place on all cores.
func (s *Session) multiply(ctx context.Context, ps []group25519.Point, k *group25519.Scalar) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.workers())
	for at := 0; at < len(ps); at += batchElements {
		part := ps[at:min(at+batchElements, len(ps))]
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return group25519.MulBatch(part, part, k)
		})
	}
	return g.Wait()
}

// sendPoints sends the own points that were not sent yet: frames 1 to frames(size).
func (s *Session) sendPoints(ctx context.Context, r *record) error {
	n := s.Params.frames(r.size)
	for number := s.Link.Sent(); number <= n; number++ {
		count := s.Params.elements(r.size, number-1)
		frame := newFrame(kindPoints, number, count*group25519.PointSize)
		body := frame[frameHeader:cap(frame)]
		if err := s.Spool.ReadAt(tapePoints, body, int64(number-1)*int64(s.Params.FrameElements)*group25519.PointSize); err != nil {
			return fmt.Errorf("couldn't read spool: %w", err)
		}
		if err := s.Link.Send(ctx, number, frame[:cap(frame)]); err != nil {
			return fmt.Errorf("couldn't send points: %w", err)
		}
	}
	return nil
}

// begin gives the session's record and the peer's Hello, after sending the own one.
func (s *Session) begin(ctx context.Context, as role, ids IDs) (*record, *hello, error) {
	if err := s.check(); err != nil {
		return nil, nil, err
	}
	r, err := s.load(as)
	if err != nil {
		return nil, nil, err
	}
	if r == nil {
		if r, err = s.prepare(ctx, as, ids); err != nil {
			return nil, nil, err
		}
	}
	if r.done {
		return r, nil, nil
	}
	if s.Link.Sent() == 0 {
		own := &hello{as, s.Params.Padding, s.Params.FrameElements, s.Params.Session, r.size, r.commitment}
		if err := s.Link.Send(ctx, 0, own.frame()); err != nil {
			return nil, nil, fmt.Errorf("couldn't send Hello: %w", err)
		}
	}
	frame, err := s.Link.Receive(ctx, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't receive Hello: %w", err)
	}
	peer, err := openHello(frame, &s.Params, as.peer())
	return r, peer, err
}

// incoming checks the peer's points as they come: counts, encodings, ascending order, and the commitment at the end.
type incoming struct {
	s    *Session
	peer *hello
	sum  hash.Hash
	last []byte // the last point's bytes
}

func (s *Session) incoming(peer *hello) *incoming {
	return &incoming{s: s, peer: peer, sum: committing(&s.Params, peer.role, peer.size)}
}

// next reads frame number, from 1, in order.
func (in *incoming) next(ctx context.Context, number uint64) ([]group25519.Point, error) {
	frame, err := in.s.Link.Receive(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("couldn't receive points: %w", err)
	}
	ps, err := openPoints(frame, number, in.s.Params.elements(in.peer.size, number-1))
	if err != nil {
		return nil, err
	}
	for i := range ps {
		if in.last != nil && string(in.last) >= string(ps[i][:]) {
			return nil, refuse(Duplicate, "point %d of frame %d does not ascend", i, number)
		}
		in.last = append(in.last[:0], ps[i][:]...)
	}
	in.sum.Write(frame[frameHeader:])
	if number == in.s.Params.frames(in.peer.size) && [32]byte(in.sum.Sum(nil)) != in.peer.commitment {
		return nil, refuse(BadPromise, "the points are not those committed to")
	}
	return ps, nil
}
