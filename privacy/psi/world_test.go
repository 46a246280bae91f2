package psi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/psi"
)

// wire keeps the frames of one direction.
type wire struct {
	mu     sync.Mutex
	frames [][]byte
	closed error // what a reader gets past the last frame, where it would wait
	came   chan struct{}
}

func newWire() *wire { return &wire{came: make(chan struct{})} }

func (w *wire) put(n uint64, b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n != uint64(len(w.frames)) {
		return fmt.Errorf("broken rule: frame %d was sent where %d was due", n, len(w.frames))
	}
	w.frames = append(w.frames, slices.Clone(b))
	close(w.came)
	w.came = make(chan struct{})
	return nil
}

func (w *wire) get(ctx context.Context, n uint64) ([]byte, error) {
	for {
		w.mu.Lock()
		came, closed := w.came, w.closed
		if n < uint64(len(w.frames)) {
			b := slices.Clone(w.frames[n])
			w.mu.Unlock()
			return b, nil
		}
		w.mu.Unlock()
		if closed != nil {
			return nil, closed
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// link is one side's view of two wires. With cut > 0 it breaks at that operation from now.
type link struct {
	out, in *wire
	mu      sync.Mutex
	cut     int
}

var errCut = errors.New("connection is cut")

func (l *link) step() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut > 0 {
		if l.cut--; l.cut == 0 {
			l.cut = 1 // and stays so
			return errCut
		}
	}
	return nil
}

func (l *link) Sent() uint64 {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return uint64(len(l.out.frames))
}

func (l *link) Send(ctx context.Context, n uint64, b []byte) error {
	if err := l.step(); err != nil {
		return err
	}
	if err := l.out.put(n, b); err != nil {
		return err
	}
	return l.step() // failed but happened
}

func (l *link) Own(n uint64) ([]byte, error) { return l.out.get(context.Background(), n) }

func (l *link) Receive(ctx context.Context, n uint64) ([]byte, error) {
	if err := l.step(); err != nil {
		return nil, err
	}
	return l.in.get(ctx, n)
}

// spool is a Spool that loses what was not synced when it crashes.
type spool struct {
	mu            sync.Mutex
	tapes, synced map[string][]byte
}

func newSpool() *spool { return &spool{tapes: map[string][]byte{}, synced: map[string][]byte{}} }

func (s *spool) Append(tape string, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tapes[tape] = append(s.tapes[tape], b...)
	return nil
}

func (s *spool) ReadAt(tape string, b []byte, off int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tapes[tape]; off < 0 || off+int64(len(b)) > int64(len(t)) {
		return fmt.Errorf("tape %s: %d bytes at %d: %w", tape, len(b), off, io.ErrUnexpectedEOF)
	}
	copy(b, s.tapes[tape][off:])
	return nil
}

func (s *spool) Truncate(tape string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size > int64(len(s.tapes[tape])) {
		return fmt.Errorf("broken rule: tape %s cut to %d where it has %d", tape, size, len(s.tapes[tape]))
	}
	s.tapes[tape] = s.tapes[tape][:size:size]
	s.synced[tape] = s.synced[tape][:min(int(size), len(s.synced[tape]))]
	return nil
}

func (s *spool) Sync(tape string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced[tape] = slices.Clone(s.tapes[tape])
	return nil
}

func (s *spool) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tapes = map[string][]byte{}
	for t, b := range s.synced {
		s.tapes[t] = slices.Clone(b)
	}
}

func (s *spool) size() (n int) {
	for _, b := range s.tapes {
		n += len(b)
	}
	return n
}

// store keeps the one record, and all that it ever was.
type store struct {
	record  []byte
	records [][]byte
}

func (s *store) Load() ([]byte, error) { return slices.Clone(s.record), nil }

func (s *store) Save(b []byte) error {
	s.record = slices.Clone(b)
	s.records = append(s.records, s.record)
	return nil
}

// side is what one party keeps across crashes.
type side struct {
	link  *link
	spool *spool
	store *store
	seed  [32]byte
}

func (s *side) session(p psi.Params) *psi.Session {
	return &psi.Session{Params: p, Link: s.link, Spool: s.spool, Store: s.store, Rand: rand.NewChaCha8(s.seed), Workers: 2}
}

// world is a sender and a receiver on two wires.
type world struct {
	params           psi.Params
	sender, receiver *side
	x, y             [][]byte
	matches          *psi.Matches
	deliveries       int
}

func newWorld(x, y [][]byte) *world {
	up, down := newWire(), newWire()
	return &world{x: x, y: y,
		params:   psi.Params{Session: [32]byte{1}, SenderMax: 1000, ReceiverMax: 1000, Padding: psi.Exact, FrameElements: 3},
		sender:   &side{&link{out: down, in: up}, newSpool(), &store{}, [32]byte{'s'}},
		receiver: &side{&link{out: up, in: down}, newSpool(), &store{}, [32]byte{'r'}},
	}
}

func list(ids [][]byte) psi.IDs {
	return func(yield func([]byte, error) bool) {
		for _, id := range ids {
			if !yield(slices.Clone(id), nil) {
				return
			}
		}
	}
}

func (w *world) send(ctx context.Context) (psi.Summary, error) {
	return w.sender.session(w.params).Send(ctx, list(w.y))
}

func (w *world) receive(ctx context.Context) (psi.Summary, error) {
	return w.receiver.session(w.params).Receive(ctx, list(w.x), func(m *psi.Matches) error {
		w.matches = m
		w.deliveries++
		return nil
	})
}

// run runs both sides at once, to the end of both.
func (w *world) run(ctx context.Context) (sent, received psi.Summary, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() {
		var err error
		if sent, err = w.send(ctx); err != nil {
			cancel(err)
		}
		done <- err
	}()
	if received, err = w.receive(ctx); err != nil {
		cancel(err)
	}
	return sent, received, errors.Join(err, <-done)
}

func ids(n, from int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, "9111000%010dX", i+from)
	}
	return out
}

// plain is the oracle: the places of x that are in y.
func plain(x, y [][]byte) (places []uint64) {
	have := map[string]bool{}
	for _, id := range y {
		have[string(id)] = true
	}
	for i, id := range x {
		if have[string(id)] {
			places = append(places, uint64(i))
		}
	}
	return places
}

func wantCode(t testing.TB, err error, code contracts.Code) {
	t.Helper()
	var r *contracts.Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("got %v, want refusal %s", err, code)
	}
}
