package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Client is the side of a session that connects.
type Client struct {
	Session *Session
	HTTP    *http.Client
	// URL is the session at the other node, …/agreements/{id}/sessions/{sid}, without a slash at its end.
	URL string
	Log *slog.Logger
	// Pause is the first wait before a broken connection is tried again; it doubles up to 32 times it. 200 ms where it is 0.
	Pause time.Duration
	// Wait is how long the other side may hold a request for a frame; 20 s where it is 0.
	Wait time.Duration
}

// Run runs the session's protocol and carries its frames, through broken connections and restarts of the other side,
// until both sides have what they need. Its results are those of Session.Run. A refusal that is not the session's own,
// of one who decides who may speak at all, leaves the session as it is.
func (c *Client) Run(ctx context.Context, protocol func(context.Context) error) error {
	x := c.Session
	ctx, stop, err := x.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	pumps, done := context.WithCancelCause(gctx)
	defer done(nil)
	g.Go(func() error { return c.up(pumps) })
	g.Go(func() error { return c.down(pumps) })
	g.Go(func() error {
		err := protocol(gctx)
		if err == nil {
			err = x.awaitDelivery(gctx)
		}
		if err == nil {
			done(errDone)
		}
		return err
	})
	err = g.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return c.settle(ctx, err)
}

var errDone = errors.New("protocol is done")

// settle ends the session, where it has come to an end, and tells the other side.
func (c *Client) settle(ctx context.Context, err error) error {
	var r *contracts.Refusal
	var peer *PeerRefused
	switch {
	case err == nil:
		// The other side keeps frames until it is told, or until the session's time is over.
		if err := c.Session.end(Outcome{}); err != nil {
			return err
		}
		return errors.Join(c.Session.release(), c.tell(ctx, ""))
	case errors.As(err, &peer):
		return errors.Join(err, c.Session.end(Outcome{Code: peer.Code, ByPeer: true}))
	case errors.As(err, &foreign{}):
		return err
	case errors.As(err, &r) && context.Cause(ctx) == nil:
		return errors.Join(err, c.Session.end(Outcome{Code: r.Code}), c.tell(ctx, r.Code))
	}
	return err
}

// foreign is a refusal that the other node gave before it looked at the session.
type foreign struct{ error }

func (f foreign) Unwrap() error { return f.error }

// tell reports an end, for as long as one frame may take. A side that can't be told finds out by itself.
func (c *Client) tell(ctx context.Context, code contracts.Code) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if _, _, err := c.do(ctx, http.MethodPost, "/end", canon.Marshal(ending{code})); err != nil {
		c.Log.Info("couldn't tell the other side that a session has ended", "session", c.Session.Terms.ID, "err", err)
	}
	return nil
}

// awaitDelivery waits until the other side has all own frames.
func (x *Session) awaitDelivery(ctx context.Context) error {
	for {
		x.mu.Lock()
		err, changed := x.gone(), x.changed
		all := err == nil && x.delivered >= x.out.count()
		x.mu.Unlock()
		if err != nil || all {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// up carries own frames.
func (c *Client) up(ctx context.Context) error {
	return c.persist(ctx, func(ctx context.Context) error {
		st, err := c.status(ctx)
		if err != nil {
			return err
		}
		for n := uint64(st.Received); ; n++ {
			c.Session.deliver(n)
			b, err := c.Session.frame(ctx, n, func() *frameLog { return c.Session.out })
			if err != nil {
				return err
			}
			if _, _, err := c.do(ctx, http.MethodPut, "/frames/"+strconv.FormatUint(n, 10), b); err != nil {
				return err
			}
		}
	})
}

// deliver notes that the other side has the first n own frames.
func (x *Session) deliver(n uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.delivered = max(x.delivered, n)
	x.change()
}

// down carries the other side's frames.
func (c *Client) down(ctx context.Context) error {
	query := "?wait=" + strconv.Itoa(int(c.wait()/time.Second))
	return c.persist(ctx, func(ctx context.Context) error {
		for {
			n := c.Session.received()
			code, b, err := c.do(ctx, http.MethodGet, "/frames/"+strconv.FormatUint(n, 10)+query, nil)
			if isRefusal(err, Ended) {
				return c.heardAll(ctx, n, err)
			}
			if err != nil {
				return err
			}
			if code == http.StatusNoContent {
				continue
			}
			if err := c.Session.put(n, b); err != nil {
				return err
			}
		}
	})
}

// heardAll judges the other side's word that it has ended, when its frame n was asked for. A side that is done before
// this one is no trouble: its frames are here, and this side's protocol goes on with them in its own time.
func (c *Client) heardAll(ctx context.Context, n uint64, ended error) error {
	st, err := c.status(ctx)
	switch {
	case err != nil:
		return err
	case !st.Ended || n < uint64(st.Sent):
		return ended
	}
	x := c.Session
	x.mu.Lock()
	x.allIn = true
	x.change()
	x.mu.Unlock()
	<-ctx.Done()
	return context.Cause(ctx)
}

func (x *Session) received() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.in == nil {
		return 0
	}
	return x.in.count()
}

// persist repeats what a broken connection ended, with growing pauses, until it is done or refused.
func (c *Client) persist(ctx context.Context, carry func(context.Context) error) error {
	first := c.Pause
	if first == 0 {
		first = 200 * time.Millisecond
	}
	pause := first
	for {
		begin := c.Session.progress()
		err := carry(ctx)
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errDone):
			return nil
		case cause != nil:
			return cause
		case !retryable(err):
			return c.refusal(ctx, err)
		}
		if c.Session.progress() != begin {
			pause = first
		}
		c.Log.Info("a session's connection broke, trying again", "session", c.Session.Terms.ID, "err", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, 32*first)
	}
}

// progress changes with every frame that comes or is delivered.
func (x *Session) progress() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.in == nil {
		return x.delivered
	}
	return x.delivered + x.in.count()
}

// retryable reports whether err is a broken connection or a failure of the other side; a gap means that it has lost
// nothing but we have miscounted, which asking again mends.
func retryable(err error) bool {
	var r *contracts.Refusal
	var p *PeerRefused
	return !errors.As(err, &r) && !errors.As(err, &p) && !errors.Is(err, ErrStopped) && !errors.Is(err, ErrClosed) || isRefusal(err, Gap)
}

// refusal finds out what stands behind a refusal of the other side.
func (c *Client) refusal(ctx context.Context, err error) error {
	var r *contracts.Refusal
	if !errors.As(err, &r) {
		return err
	}
	switch r.Code {
	case Ended, Expired:
		var p *PeerRefused
		if _, err := c.status(ctx); errors.As(err, &p) {
			return p
		}
		return err
	case Unknown, Changed, TooLarge, Differs, Malformed:
		return err
	}
	return foreign{err}
}

// status asks how far the other side is. A session that it has refused is an error.
func (c *Client) status(ctx context.Context) (st status, err error) {
	_, b, err := c.do(ctx, http.MethodGet, "/frames", nil)
	if err == nil {
		err = canon.Unmarshal(b, &st)
	}
	if err == nil && st.Code != "" {
		err = &PeerRefused{st.Code}
	}
	return st, err
}

// within bounds one request with its answer, beside what the other side may wait.
const within = time.Minute

// do sends one request; an answer that is no success is an error.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (code int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, within+c.wait())
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if method == http.MethodPut {
		rq.Header.Set("Content-Type", "application/octet-stream")
	}
	rs, err := c.HTTP.Do(rq)
	if err != nil {
		return 0, nil, fmt.Errorf("couldn't reach the other side: %w", err)
	}
	defer rs.Body.Close()
	if rs.StatusCode != http.StatusOK && rs.StatusCode != http.StatusNoContent {
		return 0, nil, readProblem(rs)
	}
	if answer, err = readAll(rs.Body, MaxFrameBytes); err != nil {
		return 0, nil, fmt.Errorf("couldn't read the other side's answer: %w", err)
	}
	return rs.StatusCode, answer, nil
}

func (c *Client) wait() time.Duration {
	if c.Wait == 0 {
		return 20 * time.Second
	}
	return c.Wait
}
