package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Session is one side of a session on its shelf.
type Session struct {
	Terms  Terms
	Tapes  *Tapes
	Record *Record

	shelf *Shelf
	dir   string

	putting, sending sync.Mutex // one writer a direction; taken before mu

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at every change below
	in, out   *frameLog     // nil once they are gone
	outcome   *Outcome      // nil while the session is open
	peerDone  bool          // the other side needs nothing more of this one
	allIn     bool          // the other side is done, and all its frames are here
	delivered uint64        // own frames that the other side has, as far as a client knows
	running   context.CancelCauseFunc
	closed    error
}

const (
	termsFile   = "terms"
	outcomeFile = "outcome"
	inFile      = "in"
	outFile     = "out"
)

// openSession reads a session's directory.
func (s *Shelf) openSession(dir string) (*Session, error) {
	x := &Session{shelf: s, dir: dir, changed: make(chan struct{}), Tapes: &Tapes{dir: dir, open: s.open}, Record: &Record{dir: dir}}
	b, err := os.ReadFile(filepath.Join(dir, termsFile))
	if err != nil {
		return nil, fmt.Errorf("couldn't read session: %w", err)
	}
	if x.Terms, err = parseTerms(b); err != nil {
		return nil, fmt.Errorf("couldn't read session's terms: %w", err)
	}
	switch b, err = os.ReadFile(filepath.Join(dir, outcomeFile)); {
	case err == nil:
		o, err := parseOutcome(b)
		if err != nil {
			return nil, fmt.Errorf("couldn't read session's outcome: %w", err)
		}
		x.outcome = &o
		return x, x.clear(o.Code != "")
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("couldn't read session's outcome: %w", err)
	}
	if err := x.Record.tidy(); err != nil {
		return nil, fmt.Errorf("couldn't tidy session: %w", err)
	}
	return x, x.openLogs()
}

func (x *Session) openLogs() (err error) {
	if x.in, err = openFrameLog(x.shelf.open, filepath.Join(x.dir, inFile), x.Terms.MaxReceived); err != nil {
		return err
	}
	if x.out, err = openFrameLog(x.shelf.open, filepath.Join(x.dir, outFile), x.Terms.MaxSent); err != nil {
		x.in.f.Close()
		x.in = nil
		return err
	}
	return syncDir(x.dir)
}

// change wakes all who wait; mu is held.
func (x *Session) change() {
	close(x.changed)
	x.changed = make(chan struct{})
}

// gone says why nothing more can be done; mu is held. Nil while the session is open.
func (x *Session) gone() error {
	switch {
	case x.closed != nil:
		return x.closed
	case x.outcome == nil:
		return nil
	case x.outcome.ByPeer:
		return &PeerRefused{x.outcome.Code}
	case x.outcome.Code == Expired:
		return refuse(Expired, "the session's time is over")
	}
	return refuse(Ended, "the session has ended")
}

// Outcome tells how the session ended, if it has.
func (x *Session) Outcome() (Outcome, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.outcome == nil {
		return Outcome{}, false
	}
	return *x.outcome, true
}

// put keeps the peer's frame n. The same frame again is the same as once.
func (x *Session) put(n uint64, b []byte) error {
	x.putting.Lock()
	defer x.putting.Unlock()
	x.mu.Lock()
	in, err := x.in, x.gone()
	if err != nil && x.outcome != nil && x.outcome.Code == "" && n < uint64(x.outcome.Received) {
		x.mu.Unlock()
		return nil // the answer to it was lost; the frame was here when the protocol ended
	}
	x.mu.Unlock()
	if err != nil {
		return err
	}
	switch count := in.count(); {
	case n > count:
		return refuse(Gap, fmt.Sprintf("frame %d came where %d is due", n, count))
	case n < count:
		at, end := in.span(n)
		have, err := in.read(n, at, end)
		if err != nil {
			return err
		}
		if string(have) != string(b) {
			return refuse(Changed, fmt.Sprintf("frame %d is here with other bytes", n))
		}
		return nil
	}
	end, err := in.write(b)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	in.add(end)
	x.change()
	return x.gone()
}

// frame gives a frame of a direction, waiting for it until ctx ends.
func (x *Session) frame(ctx context.Context, n uint64, of func() *frameLog) ([]byte, error) {
	for {
		x.mu.Lock()
		l := of()
		if l != nil && n < l.count() && x.closed == nil {
			at, end := l.span(n)
			x.mu.Unlock()
			return l.read(n, at, end)
		}
		err, changed := x.gone(), x.changed
		if err == nil && x.allIn && l == x.in {
			err = refuse(Ended, "the other side is done and sends no such frame")
		}
		x.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Frames is the session as its protocol sees it: own frames go out, the peer's come in, each once.
type Frames struct{ x *Session }

// Frames gives the protocol's view.
func (x *Session) Frames() Frames { return Frames{x} }

// Sent is how many own frames are kept.
func (f Frames) Sent() uint64 {
	f.x.mu.Lock()
	defer f.x.mu.Unlock()
	if f.x.out == nil {
		return 0
	}
	return f.x.out.count()
}

// Send keeps own frame n, which is Sent(), durably; it goes to the peer by itself.
func (f Frames) Send(ctx context.Context, n uint64, b []byte) error {
	x := f.x
	x.sending.Lock()
	defer x.sending.Unlock()
	x.mu.Lock()
	out, err := x.out, x.gone()
	x.mu.Unlock()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if n != out.count() {
		return fmt.Errorf("frame %d was sent where %d is due", n, out.count())
	}
	end, err := out.write(b)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	out.add(end)
	x.change()
	return nil
}

// Own gives own frame n, which was sent.
func (f Frames) Own(n uint64) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(fmt.Errorf("frame %d was not sent", n))
	return f.x.frame(ctx, n, func() *frameLog { return f.x.out })
}

// Receive gives the peer's frame n, waiting until it is here. Any may be asked for again.
func (f Frames) Receive(ctx context.Context, n uint64) ([]byte, error) {
	return f.x.frame(ctx, n, func() *frameLog { return f.x.in })
}

// Run runs the session's protocol to its end, or until it fails: then it may be run again, in this process or the next.
// What the protocol returns decides: nil, it is done; a *contracts.Refusal, the session has ended and the other side is
// told; anything else is a failure. The protocol's context ends when the session does.
func (x *Session) Run(ctx context.Context, protocol func(context.Context) error) error {
	ctx, stop, err := x.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	return x.finish(ctx, protocol(ctx))
}

// start claims the session for one run.
func (x *Session) start(ctx context.Context) (context.Context, func(), error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.gone(); err != nil {
		return nil, nil, err
	}
	if x.running != nil {
		return nil, nil, ErrBusy
	}
	ctx, cancel := context.WithCancelCause(ctx)
	x.running = cancel
	return ctx, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.running = nil
		cancel(nil)
	}, nil
}

// finish turns what a protocol returned into the session's outcome.
func (x *Session) finish(ctx context.Context, err error) error {
	var r *contracts.Refusal
	switch {
	case err == nil:
		return x.end(Outcome{})
	case errors.As(err, &r) && context.Cause(ctx) == nil:
		return errors.Join(err, x.end(Outcome{Code: r.Code}))
	case context.Cause(ctx) != nil:
		// The session ended under the protocol, or its owner stopped it: that is the reason, not what the protocol made of it.
		return context.Cause(ctx)
	}
	return err
}

// end writes the outcome down, for good, and destroys what the protocol kept. Frames of a protocol that is done stay
// until the other side has them.
func (x *Session) end(o Outcome) error {
	x.putting.Lock()
	defer x.putting.Unlock()
	x.sending.Lock()
	defer x.sending.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed != nil {
		return x.closed
	}
	if x.outcome != nil {
		return nil
	}
	o.Received, o.Sent = int64(x.in.count()), int64(x.out.count())
	if err := replaceFile(filepath.Join(x.dir, outcomeFile), canon.Marshal(o)); err != nil {
		return fmt.Errorf("couldn't keep session's outcome: %w", err)
	}
	x.outcome = &o
	if x.running != nil && (o.ByPeer || o.Code == Expired) {
		x.running(x.gone())
	}
	x.change()
	return x.clear(o.Code != "" || x.peerDone)
}

// clear destroys what an ended session needs no more: record and tapes, and with all its frames too. mu is held, or
// nobody else has the session.
func (x *Session) clear(all bool) error {
	errs := []error{x.Record.destroy(), x.Tapes.close()}
	names, err := os.ReadDir(x.dir)
	errs = append(errs, err)
	for _, n := range names {
		name := n.Name()
		if len(name) > len(tapePrefix) && name[:len(tapePrefix)] == tapePrefix {
			errs = append(errs, os.Remove(filepath.Join(x.dir, name)))
		}
	}
	if !all {
		if x.out == nil {
			errs = append(errs, x.openLogs())
		}
		return errors.Join(errs...)
	}
	errs = append(errs, x.closeLogs())
	for _, name := range []string{inFile, outFile} {
		if err := os.Remove(filepath.Join(x.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (x *Session) closeLogs() (err error) {
	for _, l := range []**frameLog{&x.in, &x.out} {
		if *l != nil {
			err = errors.Join(err, (*l).f.Close())
			*l = nil
		}
	}
	return err
}

// release says that the other side needs nothing more.
func (x *Session) release() error {
	x.putting.Lock()
	defer x.putting.Unlock()
	x.sending.Lock()
	defer x.sending.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.peerDone = true
	if x.outcome == nil || x.closed != nil {
		return nil
	}
	return x.clear(true)
}

// close ends the session's use in this process.
func (x *Session) close() error {
	x.putting.Lock()
	defer x.putting.Unlock()
	x.sending.Lock()
	defer x.sending.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = ErrClosed
	if x.running != nil {
		x.running(ErrClosed)
	}
	x.change()
	x.Record.close()
	return errors.Join(x.closeLogs(), x.Tapes.close())
}
