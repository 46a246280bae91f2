package meter

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// Call asks for one answer. The nonce is the application's idempotency key: asking again with it gives the same
// answer and is billed once, across failures, restarts of either side, and a takeover. Nothing is written before or
// during a call. It retries failures and a full window until ctx ends; a *Refusal is an answer, a *Breach stops the
// agreement, and ErrOutcomeUnknown says that the call may have been executed.
func (c *Consumer) Call(ctx context.Context, nonce Nonce, body []byte) (*Answer, error) {
	return c.CallFor(ctx, nonce, body, 1)
}

// CallFor is Call with a request whose body asks for several units, as the provider's node reads it. The same nonce
// comes with the same units.
func (c *Consumer) CallFor(ctx context.Context, nonce Nonce, body []byte, units int64) (*Answer, error) {
	if units < 1 || units > MaxUnits {
		return nil, fmt.Errorf("couldn't call provider: want 1 to %d units", MaxUnits)
	}
	digest := Digest(sha256.Sum256(body))
	id := c.requests.make(nonce, digest, units)
	unknown := false
	for try := 1; ; try++ {
		c.mu.Lock()
		breach, epoch, ackd, skew := c.breach, c.state.epoch, c.ackd, c.rules.skew()
		at, seen := c.ids.get(nonce)
		c.mu.Unlock()
		if seen {
			return c.remembered(at, id, digest)
		}
		if breach != nil {
			return nil, breach
		}
		if err := c.cfg.faults.at("consumer.before-send"); err != nil {
			return nil, err
		}
		a, err := c.once(ctx, id, digest, units, epoch, skew, body)
		var r *Refusal
		var b *Breach
		switch {
		case err == nil:
			return a, c.cfg.faults.at("consumer.received")
		case errors.As(err, &b):
			return nil, b
		case refused(err, WindowFull):
			// Acknowledge whatever there is: half a window may never come when one price is more than half of it.
			c.Wake()
			pause(ctx, ackd, 20*time.Millisecond)
		case errors.As(err, &r):
			c.mu.Lock()
			at, seen := c.ids.get(nonce)
			c.mu.Unlock()
			if seen { // pulled and acknowledged in the meantime
				return c.remembered(at, id, digest)
			}
			return nil, r
		default:
			unknown = true
			pause(ctx, nil, time.Duration(min(try, 10))*5*time.Millisecond)
		}
		if ctx.Err() != nil {
			if unknown {
				return nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
			}
			return nil, err
		}
	}
}

func pause(ctx context.Context, on <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-on:
	case <-t.C:
	}
}

// remembered answers a repeated nonce from memory or journal.
func (c *Consumer) remembered(at place, id RequestID, digest Digest) (*Answer, error) {
	c.mu.Lock()
	epoch, acked := c.state.epoch, c.state.ackedSize()
	var h *held
	if at.epoch == epoch && at.seq >= acked {
		h = c.pend[at.seq-acked]
	}
	seal := c.sealer
	c.mu.Unlock()
	if h == nil {
		var err error
		if at.epoch != epoch {
			if seal, err = newSealer(c.cfg.Journal.sealKey, "consumer", c.agreement, at.epoch); err != nil {
				return nil, err
			}
		}
		h = &held{}
		if h.raw, h.answer, err = c.cfg.Journal.answer(c.agreement, at.epoch, at.seq, seal); err != nil {
			return nil, err
		}
		if h.leaf, err = DecodeLeaf(h.raw); err != nil {
			return nil, err
		}
	}
	if h.leaf.Request != id || h.leaf.RequestDigest != digest {
		return nil, &Refusal{Code: IDReused, Detail: "the nonce was used for another request", Epoch: epoch, Acked: acked}
	}
	return &Answer{Body: h.answer, Receipt: Receipt{Leaf: h.raw}}, nil
}

// once sends a request and checks at once what this answer alone can show: that it is ours, these bytes, in this log,
// not from the future, under a head that the provider signed.
func (c *Consumer) once(ctx context.Context, id RequestID, digest Digest, units, epoch int64, skew contracts.Millis, body []byte) (*Answer, error) {
	a, err := c.wire.call(ctx, id, epoch, body)
	if err != nil {
		return nil, err
	}
	l, err := DecodeLeaf(a.Receipt.Leaf)
	if err != nil {
		return nil, err
	}
	bad := func(what string) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.breakLocked(&Breach{Seq: l.Seq, What: what, Leaf: a.Receipt.Leaf, Head: a.Receipt.Head})
	}
	switch {
	case l.Op != OpCall || l.Request != id || l.RequestDigest != digest:
		return nil, bad("leaf is for another request")
	case l.Asked() != units:
		return nil, bad("leaf is for another number of units")
	case l.AnswerDigest != sha256.Sum256(a.Body):
		return nil, bad("leaf is for another answer")
	case l.Time > contracts.Millis(c.cfg.Now().UnixMilli())+skew:
		return nil, bad("leaf is from the future")
	}
	h := &held{leaf: l, raw: a.Receipt.Leaf, answer: a.Body, have: true, asked: true}
	if err := c.take(h, a.Receipt.Head); err != nil {
		return nil, err
	}
	return a, nil
}
