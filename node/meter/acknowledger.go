package meter

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// Run pulls and acknowledges until ctx ends. It acknowledges at half a window, when the provider says that the window
// is full, at a CLOSE, and at least every Idle; it pulls when a place stays missing, when nothing could be
// acknowledged, and when nothing has come for Idle.
func (c *Consumer) Run(ctx context.Context) error {
	err := c.RunOnce(ctx)
	for ctx.Err() == nil {
		c.report(err)
		err = nil
		wait := c.cfg.Idle
		if c.gap() > 0 {
			wait = min(wait, c.cfg.OnGap)
		}
		before := c.State()
		kicked := false
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-c.kick:
			kicked = true
		case <-t.C:
		}
		t.Stop()
		if kicked && !c.due() {
			continue
		}
		err = c.acknowledge(ctx, !kicked)
		after := c.State()
		stuck := after.Acked == before.Acked && (kicked || after.Size == before.Size)
		if err != nil || stuck || after.Waiting != 0 || c.gap() >= c.cfg.OnGap || len(c.Objections()) > 0 {
			err = errors.Join(err, c.RunOnce(ctx))
		}
	}
	return ctx.Err()
}

func (c *Consumer) report(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		c.cfg.Log.Warn("receipts aren't acknowledged", "agreement", hex.EncodeToString(c.agreement[:]), "err", err)
	}
}

// RunOnce pulls what is missing and acknowledges what may be, as far as it goes.
func (c *Consumer) RunOnce(ctx context.Context) error {
	if b := c.Breach(); b != nil {
		return b
	}
	pulled := c.pull(ctx)
	return errors.Join(pulled, c.acknowledge(ctx, true))
}

func (c *Consumer) gap() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gapSince.IsZero() {
		return 0
	}
	return c.cfg.Now().Sub(c.gapSince)
}

// Wake asks for an acknowledgement, however small, and for what may have come: the window was full, or the node has
// followed a command that closes a period.
func (c *Consumer) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.urgent = true
	c.kickLocked()
}

// due reports whether to acknowledge now, and takes the urgency.
func (c *Consumer) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	urgent := c.urgent
	c.urgent = false
	return urgent || c.dueLocked()
}

// dueLocked: at half a window, in fen or in calls, and at each CLOSE.
func (c *Consumer) dueLocked() bool {
	return 2*(c.totals.Micro-c.state.ackedTotals().Micro) >= c.rules.windowMicro() ||
		2*(c.size-c.state.ackedSize()) >= c.rules.WindowCalls || len(c.marks.closes) > 0
}

func (c *Consumer) kickLocked() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// acknowledge signs and sends until nothing more may be signed: it stops at each CLOSE on the way. resend sends the
// last acknowledgement even if there is no new one: whether the provider got it is known only from its confirmation.
func (c *Consumer) acknowledge(ctx context.Context, resend bool) error {
	c.ackMu.Lock()
	defer c.ackMu.Unlock()
	for {
		more, err := c.sign()
		if err != nil {
			return err
		}
		c.mu.Lock()
		ack, confirmed, breach := c.state.ack, c.confirmed, c.breach
		c.mu.Unlock()
		if ack == nil || breach != nil || !more && (!resend || confirmed == ack.Size) {
			return nil
		}
		if err := c.send(ctx, ack); err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
}

// sign makes the next acknowledgement durable together with all that it covers, in one transaction. It covers
// nothing at or past an objection. Caller holds ackMu.
func (c *Consumer) sign() (more bool, err error) {
	c.mu.Lock()
	if c.breach == nil && c.waiting != 0 {
		if err := c.extendLocked(); err != nil { // the ledger may have told in the meantime
			c.mu.Unlock()
			return false, err
		}
	}
	from, to := c.state.ackedSize(), c.size
	for seq := range c.objections {
		to = min(to, seq)
	}
	to = c.marks.target(from, to)
	if c.breach != nil || to == from {
		c.mu.Unlock()
		return false, nil
	}
	covered := append([]*held(nil), c.pend[:to-from]...)
	a := &ackRecord{close: c.marks.closeAt(to)}
	whole := to == c.size
	if whole {
		a.rng = cloneRange(c.rng)
	} else {
		a.rng = cloneRange(c.state.rng)
	}
	next := *c.state
	next.periods = append([]period(nil), c.state.periods...)
	seal, agreement := c.sealer, c.rules.Agreement
	c.mu.Unlock()

	if !whole {
		for _, h := range covered {
			extendRange(a.rng, h.hash)
		}
	}
	st := contracts.Statement{Agreement: agreement, Epoch: next.epoch, Size: to, Root: rootOf(a.rng), Totals: covered[len(covered)-1].leaf.Totals}
	a.ack = sign(st, contracts.TagAck, c.cfg.Key)
	next.acknowledge(a)
	if err := c.cfg.faults.at("consumer.before-persist"); err != nil {
		return false, err
	}
	if err := c.cfg.Journal.acknowledge(&next, covered, seal, c.keepFrom()); err != nil {
		return false, err
	}
	if err := c.cfg.faults.at("consumer.persisted"); err != nil {
		return false, err
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = &next
	c.pend = append([]*held(nil), c.pend[to-from:]...)
	c.marks.drop(to)
	for size := range c.heads {
		if size < to {
			delete(c.heads, size)
		}
	}
	return true, nil
}

func (c *Consumer) keepFrom() contracts.Millis {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := max(contracts.Millis(c.cfg.KeepAnswers.Milliseconds()), c.ids.lifeMs)
	return contracts.Millis(c.cfg.Now().UnixMilli()) - keep
}

func (c *Consumer) send(ctx context.Context, ack *Signed) error {
	err := c.wire.ack(ctx, ack)
	if e := c.cfg.faults.at("consumer.ack-sent"); e != nil {
		return e
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.confirmed = ack.Size
		close(c.ackd)
		c.ackd = make(chan struct{})
	case refused(err, AckMismatch, LogBehindAck):
		return c.breakLocked(&Breach{Seq: ack.Size, What: "provider denies an acknowledged prefix: " + err.Error(), Other: ack.Encode()})
	case refused(err, AckOutOfPlace):
		// Leaves have come that move the place: they are pulled, and the next acknowledgement is made behind them.
		return nil
	}
	return err
}
