package meter

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
)

// pull asks for the leaves from the prefix on, and for the answers that this side doesn't have. It needs no window,
// no request id and no memory of what was sent: this is what makes every gap closable.
func (c *Consumer) pull(ctx context.Context) error {
	for {
		st := c.State()
		leaves, head, err := c.wire.leaves(ctx, st.Epoch, st.Size)
		if err != nil {
			return err
		}
		for i, raw := range leaves {
			if err := c.pulled(ctx, st.Size+int64(i), raw); err != nil {
				return err
			}
		}
		if err := c.checkHead(head); err != nil {
			return err
		}
		if len(leaves) < maxLeavesPage {
			return c.pullAnswers(ctx)
		}
	}
}

func (c *Consumer) pulled(ctx context.Context, seq int64, raw []byte) error {
	l, err := DecodeLeaf(raw)
	if err != nil {
		return err
	}
	if l.Seq != seq {
		return fmt.Errorf("couldn't pull leaf %d: provider gave %d", seq, l.Seq)
	}
	h := &held{leaf: l, raw: raw}
	if l.Op == OpCall && !c.holds(seq) {
		if err := c.pullAnswer(ctx, h); err != nil {
			return err
		}
	}
	return c.add(h)
}

// holds reports whether leaf seq and its answer are here already.
func (c *Consumer) holds(seq int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return seq < c.size || c.buf[seq] != nil && c.buf[seq].have
}

// pullAnswer fills in the answer of h. A provider that refuses it has billed what it doesn't give: the leaf stays
// without, and is objected to. A failure is tried again later.
func (c *Consumer) pullAnswer(ctx context.Context, h *held) error {
	a, err := c.wire.answer(ctx, h.leaf.Epoch, h.leaf.Seq)
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return nil
	case err != nil:
		return err
	case h.leaf.AnswerDigest != sha256.Sum256(a.Body):
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.breakLocked(&Breach{Seq: h.leaf.Seq, What: "leaf is for another answer", Leaf: h.raw})
	}
	h.answer, h.have = a.Body, true
	return nil
}

// pullAnswers asks again for what was withheld.
func (c *Consumer) pullAnswers(ctx context.Context) error {
	c.mu.Lock()
	var missing []*held
	for _, h := range c.pend {
		if h.leaf.Op == OpCall && !h.have {
			missing = append(missing, h)
		}
	}
	c.mu.Unlock()
	for _, m := range missing {
		h := &held{leaf: m.leaf, raw: m.raw}
		if err := c.pullAnswer(ctx, h); err != nil {
			return err
		}
		if h.have {
			if err := c.add(h); err != nil {
				return err
			}
		}
	}
	return nil
}
