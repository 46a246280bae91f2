package meter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/transparency-dev/merkle/compact"

	"github.com/bund-exchange/bund/contracts"
)

// add takes a leaf in any order and extends the contiguous prefix as far as it goes.
func (c *Consumer) add(h *held) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addLocked(h)
}

// take is add behind checkHead. The callers of one group come together and all but one find its head verified: they
// take the lock once.
func (c *Consumer) take(h *held, head []byte) error {
	c.mu.Lock()
	if c.knownLocked(head) {
		defer c.mu.Unlock()
		return c.addLocked(h)
	}
	c.mu.Unlock()
	if err := c.checkHead(head); err != nil {
		return err
	}
	return c.add(h)
}

func (c *Consumer) addLocked(h *held) error {
	if c.breach != nil {
		return c.breach
	}
	l := &h.leaf
	switch {
	case l.Epoch < c.state.epoch:
		return fmt.Errorf("couldn't take leaf %d: its epoch has ended", l.Seq)
	case l.Agreement != c.agreement || l.Epoch != c.state.epoch:
		return c.breakLocked(&Breach{Seq: l.Seq, What: "leaf of another agreement or epoch", Leaf: h.raw})
	case l.Seq < c.size:
		return c.againLocked(h)
	case l.Seq-c.state.ackedSize() > 2*maxWindowCalls:
		return c.breakLocked(&Breach{Seq: l.Seq, What: "leaf far past the window", Leaf: h.raw})
	}
	switch o := c.buf[l.Seq]; {
	case o == nil, bytes.Equal(o.raw, h.raw) && h.have && !o.have:
		c.buf[l.Seq] = h
	case bytes.Equal(o.raw, h.raw):
	case l.Fence > o.leaf.Fence:
		// A takeover may have lost what was not acknowledged. The higher fence holds, the loss is the provider's.
		c.buf[l.Seq] = h
	case l.Fence == o.leaf.Fence:
		return c.breakLocked(&Breach{Seq: l.Seq, What: "two leaves at one place", Leaf: o.raw, Other: h.raw})
	}
	return c.extendLocked()
}

// againLocked compares a leaf with the one that was given before at its place.
func (c *Consumer) againLocked(h *held) error {
	raw, err := c.leafLocked(h.leaf.Seq)
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, h.raw) {
		return c.breakLocked(&Breach{Seq: h.leaf.Seq, What: "another leaf was given before at this place", Leaf: raw, Other: h.raw})
	}
	i := h.leaf.Seq - c.state.ackedSize()
	if i < 0 || !h.have || c.pend[i].have {
		return nil
	}
	h.hash = c.pend[i].hash
	c.pend[i] = h // the answer came after all
	if o, ok := c.objections[h.leaf.Seq]; ok && o.What == withheld {
		delete(c.objections, h.leaf.Seq)
		c.ids.put(h.leaf.Request.Nonce(), place{h.leaf.Epoch, h.leaf.Seq}, h.leaf.Time)
	}
	return nil
}

// extendLocked moves buffered leaves to the prefix while they follow it.
func (c *Consumer) extendLocked() error {
	for h := c.buf[c.size]; h != nil; h = c.buf[c.size] {
		if h.leaf.Op == OpClose {
			if _, ok := c.cfg.Schedule(h.leaf.Ref); !ok {
				c.waiting = h.leaf.Ref // the ledger will tell, or nothing past it is ever signed
				break
			}
		}
		c.waiting = 0
		if err := c.takeLocked(h); err != nil {
			return err
		}
		delete(c.buf, h.leaf.Seq)
	}
	switch {
	case len(c.buf) == 0 || c.waiting != 0:
		c.gapSince = time.Time{}
	case c.gapSince.IsZero():
		c.gapSince = c.cfg.Now()
	}
	if c.dueLocked() {
		c.kickLocked()
	}
	return nil
}

// takeLocked checks what only the order can show: totals, time, fence, one leaf for each id, and the signed head at
// this size.
func (c *Consumer) takeLocked(h *held) error {
	l := &h.leaf
	bad := func(what string) error { return c.breakLocked(&Breach{Seq: l.Seq, What: what, Leaf: h.raw}) }
	var object string
	var want contracts.Totals
	switch l.Op {
	case OpCall:
		want, object = c.rules.bill(c.totals, l.Units), c.objectTo(h)
	case OpVoid:
		billed, err := c.billedBy(l.Ref)
		if err != nil {
			return err
		}
		if billed.Units != -l.Units || c.marks.voided(l.Ref) {
			return bad("a VOID takes back what its leaf didn't bill")
		}
		want = minus(c.totals, billed)
	case OpClose:
		if !c.marks.opens(c.state.lastClose, l.Ref) {
			return bad("a period is closed twice or out of order")
		}
		want = c.totals
	}
	switch {
	case l.Totals != want:
		return bad("totals do not add up")
	case l.Time < c.lastTime:
		return bad("time goes back")
	case l.Fence < c.fence:
		return bad("a fenced writer")
	case l.Time > contracts.Millis(c.cfg.Now().UnixMilli())+c.rules.skew():
		return bad("leaf is from the future")
	}
	h.hash = hashLeaf(h.raw)
	extendRange(c.rng, h.hash)
	c.size, c.totals, c.lastTime, c.fence = l.Seq+1, l.Totals, l.Time, l.Fence
	c.pend = append(c.pend, h)
	c.marks.note(l)
	switch {
	case object != "":
		c.objections[l.Seq] = Objection{Seq: l.Seq, What: object, Leaf: h.raw}
	case l.Op == OpCall:
		c.ids.put(l.Request.Nonce(), place{l.Epoch, l.Seq}, l.Time)
	case l.Op == OpVoid:
		delete(c.objections, l.Ref)
	case l.Op == OpClose:
		if err := c.closeLocked(l.Ref); err != nil {
			return err
		}
	}
	if raw, ok := c.heads[c.size]; ok {
		return c.compareLocked(raw, c.rng)
	}
	return nil
}

// objectTo gives why a CALL leaf can't be signed, or "".
func (c *Consumer) objectTo(h *held) string {
	l := &h.leaf
	issued := l.Request.Nonce().issued()
	_, twice := c.ids.get(l.Request.Nonce())
	switch {
	case !h.asked && !c.requests.mine(l):
		return "not my request"
	case twice:
		return "my request, billed twice"
	case l.Time < issued-c.rules.skew() || l.Time > issued+c.rules.ttl()+c.rules.skew():
		return "time is not the time of my request"
	case l.Units != c.rules.Units(l.Outcome, l.Asked()):
		return "units are not by the terms"
	case !h.have:
		return withheld
	}
	return ""
}

// billedBy is what leaf seq of the prefix added to the totals.
func (c *Consumer) billedBy(seq int64) (contracts.Totals, error) {
	after, err := c.totalsAt(seq + 1)
	if err != nil {
		return after, err
	}
	before, err := c.totalsAt(seq)
	return minus(after, before), err
}

// totalsAt are those of the prefix at a size.
func (c *Consumer) totalsAt(size int64) (contracts.Totals, error) {
	if size == 0 {
		return c.state.base, nil
	}
	raw, err := c.leafLocked(size - 1)
	if err != nil {
		return contracts.Totals{}, err
	}
	l, err := DecodeLeaf(raw)
	return l.Totals, err
}

// closeLocked takes the terms in force behind a CLOSE. Receipt keys stay for the epoch.
func (c *Consumer) closeLocked(position int64) error {
	next, err := c.cfg.Schedule.at(position)
	if err != nil {
		return err
	}
	next.Provider, next.Consumer = c.rules.Provider, c.rules.Consumer
	c.rules = next
	return nil
}

// breakLocked stops the log, durably. If the evidence can't be stored it is found again after a restart, since
// nothing of it was signed.
func (c *Consumer) breakLocked(b *Breach) error {
	if c.breach != nil {
		return c.breach
	}
	c.breach = b
	c.cfg.Log.Error("receipts of a provider broke", "agreement", c.rules.Agreement, "seq", b.Seq, "what", b.What)
	if err := c.cfg.Journal.stopAt(c.agreement, b); err != nil {
		c.cfg.Log.Error("evidence of a breach isn't stored", "err", err)
	}
	return b
}

// checkHead verifies each signed head once, whatever number of answers bring it, and compares it with the leaves.
func (c *Consumer) checkHead(raw []byte) error {
	if c.knownHead(raw) {
		return nil
	}
	c.headMu.Lock()
	defer c.headMu.Unlock()
	if c.knownHead(raw) {
		return nil
	}
	s, err := DecodeSigned(raw)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.Agreement != c.rules.Agreement || s.Epoch != c.state.epoch:
		return fmt.Errorf("couldn't verify head: it is of another agreement or epoch")
	case s.Size < c.state.ackedSize():
		return nil // settled by both signatures
	}
	key := c.rules.Provider
	c.mu.Unlock()
	ok := c.verifier.Verify(key, s.SignedBytes(contracts.TagHead), s.Sig[:])
	c.mu.Lock()
	if s.Epoch != c.state.epoch {
		return fmt.Errorf("couldn't verify head: its epoch has ended")
	}
	if !ok {
		return fmt.Errorf("couldn't verify head: not the provider's signature")
	}
	if o, seen := c.heads[s.Size]; seen && !sameStatement(o, raw) {
		return c.breakLocked(&Breach{Seq: s.Size, What: "two signed heads of one size", Head: o, Other: raw})
	}
	c.heads[s.Size] = raw
	if acked := c.state.ackedSize(); s.Size <= c.size && s.Size >= acked {
		r := cloneRange(c.state.rng)
		for _, h := range c.pend[:s.Size-acked] {
			extendRange(r, h.hash)
		}
		return c.compareLocked(raw, r)
	}
	return nil
}

func (c *Consumer) knownHead(raw []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.knownLocked(raw)
}

func (c *Consumer) knownLocked(raw []byte) bool {
	o, ok := c.heads[int64(binary.BigEndian.Uint64(raw[24:]))]
	return ok && sameStatement(o, raw)
}

func sameStatement(a, b []byte) bool { return bytes.Equal(a[:SignedSize-64], b[:SignedSize-64]) }

// compareLocked compares a verified head with the leaves given to us up to its size.
func (c *Consumer) compareLocked(raw []byte, r *compact.Range) error {
	s, err := DecodeSigned(raw)
	if err != nil {
		return err
	}
	totals := c.state.ackedTotals()
	if i := s.Size - c.state.ackedSize(); i > 0 {
		totals = c.pend[i-1].leaf.Totals
	}
	if s.Root != rootOf(r) || s.Totals != totals {
		b := &Breach{Seq: s.Size, What: "signed head is not that of the leaves given to us", Head: raw}
		if i := s.Size - c.state.ackedSize(); i > 0 {
			b.Leaf = c.pend[i-1].raw
		}
		return c.breakLocked(b)
	}
	return nil
}
