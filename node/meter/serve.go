package meter

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/bund-exchange/bund/contracts"
)

// Limits of one call.
const (
	MaxRequestBytes = 1 << 20
	MaxAnswerBytes  = 8 << 20
)

// Serve executes a request once: admit, reserve quota, escrow and window, execute, write the leaf with the sealed
// answer, and only then answer. The same id again gets the same answer and the same leaf, at no charge, until it is
// acknowledged. Errors that are a *Refusal are answers; after any other error nothing was served, and the same id may
// be sent again.
func (l *Log) Serve(ctx context.Context, c *Call) (*Answer, error) {
	a, err := l.serve(ctx, c)
	return a, l.p.standing(err)
}

func (l *Log) serve(ctx context.Context, c *Call) (*Answer, error) {
	digest := Digest(sha256.Sum256(c.Body))
	l.mu.Lock()
	j, a, err := l.againLocked(c, digest)
	own := j == nil && a == nil && err == nil
	if own {
		j, err = l.arriveLocked(c, digest)
	}
	l.mu.Unlock()
	if a != nil || err != nil {
		return a, err
	}
	if own {
		if err := l.execute(ctx, j, c); err != nil {
			return nil, err
		}
	}
	return l.await(ctx, j)
}

// arriveLocked takes a request that wasn't seen before. Whoever sends the same id from now on waits for its outcome.
func (l *Log) arriveLocked(c *Call, digest Digest) (*job, error) {
	now, issued := contracts.Millis(l.p.cfg.Now().UnixMilli()), c.ID.Nonce().issued()
	switch {
	case issued < now-l.terms.ttl() || issued > now+l.terms.skew():
		return nil, l.refuseLocked(RequestExpired, "the request id is not of this time")
	case len(c.Body) > MaxRequestBytes:
		return nil, errors.New("couldn't serve call: request is too long")
	}
	j := &job{log: l, kind: jobCall, done: make(chan struct{}), id: c.ID, digest: digest, epoch: l.state.epoch}
	l.inflight[c.ID.Nonce()] = j
	return j, nil
}

// againLocked finds a request that has been seen: its job, if it is being executed, or its answer.
func (l *Log) againLocked(c *Call, digest Digest) (*job, *Answer, error) {
	switch {
	case !l.open:
		return nil, nil, l.p.failure()
	case c.Epoch != l.state.epoch:
		return nil, nil, l.refuseLocked(EpochMismatch, "the log is in another epoch")
	}
	n := c.ID.Nonce()
	if j := l.inflight[n]; j != nil {
		if j.id != c.ID || j.digest != digest {
			return nil, nil, l.refuseLocked(IDReused, "the id was used for another request")
		}
		return j, nil, nil
	}
	at, ok := l.ids.get(n)
	if !ok {
		return nil, nil, nil
	}
	if at.epoch != l.state.epoch {
		return nil, nil, l.refuseLocked(AlreadyAcknowledged, "the answer was acknowledged in an earlier epoch")
	}
	raw, err := l.leafLocked(at.seq)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := DecodeLeaf(raw)
	switch {
	case err != nil:
		return nil, nil, err
	case leaf.Request != c.ID || leaf.RequestDigest != digest:
		return nil, nil, l.refuseLocked(IDReused, "the id was used for another request")
	case at.seq < l.state.ackedSize():
		return nil, nil, l.refuseLocked(AlreadyAcknowledged, "the answer was acknowledged")
	}
	a, err := l.answerLocked(at.seq)
	return nil, a, err
}

// reserve holds quota, escrow and window for one call before it is executed, so that 64 calls at once can't pass a
// window of 20.
func (l *Log) reserve(j *job) error {
	if err := l.p.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	acked := l.state.ackedTotals()
	cost, ok := l.terms.cost(j.units)
	if !ok {
		return l.refuseLocked(TooManyUnits, "the request asks for more units than one call may")
	}
	accrued := l.totals.Micro + l.resMicro + cost
	switch {
	case cost > l.terms.windowMicro():
		return l.refuseLocked(TooManyUnits, "the request costs more than the window holds: ask for less at once")
	case j.epoch != l.state.epoch:
		return l.refuseLocked(EpochMismatch, "the log moved to another epoch")
	case l.totals.Units+l.resUnits+j.units > l.terms.QuotaCalls:
		return l.refuseLocked(QuotaExceeded, "the grant's quota is used up")
	case accrued > l.terms.stopMicro():
		return l.refuseLocked(EscrowExhausted, "the accrued amount would pass escrow and grace")
	case l.closing:
		return l.refuseLocked(WindowFull, "the price changes at a CLOSE that is not acknowledged")
	case accrued-acked.Micro > l.terms.windowMicro(), int64(len(l.tail))+l.resCalls+1 > l.terms.WindowCalls:
		return l.refuseLocked(WindowFull, "too much is served and not acknowledged")
	}
	l.resCalls++
	l.resUnits += j.units
	l.resMicro += cost
	j.holds, j.reserved, j.sealer = true, cost, l.sealer
	return nil
}

// releaseLocked gives back what a call held, when it has become a leaf or will not.
func (l *Log) releaseLocked(j *job) {
	if j.holds {
		l.resCalls--
		l.resUnits -= j.units
		l.resMicro -= j.reserved
		j.holds = false
	}
	if l.inflight[j.id.Nonce()] == j {
		delete(l.inflight, j.id.Nonce())
	}
}

// execute admits, reserves, runs the call, and queues its leaf. Whatever goes wrong before that, what was held is
// given back and all who wait for this id are told.
func (l *Log) execute(ctx context.Context, j *job, c *Call) (err error) {
	ready := false
	defer func() {
		if ready && l.p.queue.put(j) {
			return
		}
		if err == nil {
			err = l.p.failure()
		}
		l.mu.Lock()
		l.releaseLocked(j)
		l.mu.Unlock()
		j.err = err
		close(j.done)
	}()
	c.Units = 1
	if r := l.backend.Admit(ctx, c); r != nil {
		return l.placed(r)
	}
	j.units = c.Units
	if err := l.reserve(j); err != nil {
		return err
	}
	if err := l.p.cfg.faults.at("provider.reserved"); err != nil {
		return err
	}
	j.result, err = l.backend.Execute(context.WithoutCancel(ctx), c)
	var r *Refusal
	switch {
	case err == nil:
	case errors.As(err, &r):
		return l.placed(r)
	default:
		return fmt.Errorf("couldn't execute call: %w", err)
	}
	if !j.result.Outcome.valid() || j.result.AsOf.Check() != nil || j.result.KnownAt.Check() != nil || len(j.result.Body) > MaxAnswerBytes {
		return errors.New("couldn't execute call: result is out of range")
	}
	if err := l.p.cfg.faults.at("provider.executed"); err != nil {
		return err
	}
	j.answered = sha256.Sum256(j.result.Body)
	j.buf = sealBuffers.Get().(*[]byte)
	*j.buf = j.sealer.sealInto(*j.buf, j.result.Body, j.id[:])
	j.sealed = *j.buf
	ready = true
	return nil
}

// sealBuffers are free again when a group is written.
var sealBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// placed fills in where the log stands.
func (l *Log) placed(r *Refusal) *Refusal {
	c := *r
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Epoch, c.Size, c.Acked = l.state.epoch, l.sizeLocked(), l.state.ackedSize()
	return &c
}

// await waits for the group commit. If the caller goes away, the leaf is written all the same and the answer waits.
func (l *Log) await(ctx context.Context, j *job) (*Answer, error) {
	select {
	case <-j.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if j.err != nil {
		return nil, j.err
	}
	if err := l.p.cfg.faults.at("provider.before-answer"); err != nil {
		return nil, err
	}
	return &Answer{Body: j.result.Body, Receipt: Receipt{Leaf: j.raw, Head: j.head}}, nil
}
