package meter

import (
	"context"
	"errors"

	"github.com/transparency-dev/merkle/compact"

	"github.com/bund-exchange/bund/contracts"
)

// Acknowledge takes the consumer's signature over a prefix. When it returns nil the acknowledgement is durable, the
// window is open again, and the answers before it are gone. An old one is true and has no effect.
func (l *Log) Acknowledge(ctx context.Context, a Signed) error {
	rng, err := l.examine(&a)
	if err != nil || rng == nil {
		return l.p.standing(err)
	}
	return l.p.run(ctx, &job{log: l, kind: jobAck, ack: &a, rng: rng, done: make(chan struct{})})
}

// examine recomputes the root at the acknowledged size from the last acknowledged range: O(window), no tree is kept.
// It runs beside the sequencer, since the root at a size never changes within an epoch. A nil range means an old
// acknowledgement.
func (l *Log) examine(a *Signed) (*compact.Range, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return nil, l.p.failure()
	}
	acked := l.state.ackedSize()
	switch {
	case a.Agreement != l.terms.Agreement || !a.Verify(contracts.TagAck, l.terms.Consumer):
		return nil, l.refuseLocked(AckSignature, "not the consumer's signature")
	case a.Epoch != l.state.epoch:
		return nil, l.refuseLocked(EpochMismatch, "the log is in another epoch")
	case a.Size > l.sizeLocked():
		return nil, l.refuseLocked(LogBehindAck, "the log has fewer leaves")
	case a.Size < acked || a.Size == 0:
		return nil, nil
	case a.Size == acked:
		if a.Statement != l.state.ack.Statement {
			return nil, l.refuseLocked(AckMismatch, "another statement was acknowledged at this size")
		}
		return nil, nil
	}
	rng := cloneRange(l.state.rng)
	for _, e := range l.tail[:a.Size-acked] {
		extendRange(rng, e.hash)
	}
	last, err := DecodeLeaf(l.tail[a.Size-acked-1].raw)
	if err != nil {
		return nil, err
	}
	if a.Root != rootOf(rng) || a.Totals != last.Totals {
		return nil, l.refuseLocked(AckMismatch, "root or totals are not the log's")
	}
	return rng, nil
}

// Acknowledged gives the consumer's last acknowledgement of this epoch, or nil.
func (l *Log) Acknowledged() *Signed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.ack
}

// Report is the usage report of the period that a CLOSE with this number ended. It exists once the consumer
// has acknowledged exactly the CLOSE leaf's size. Number 0 asks for one at the last acknowledgement: what a
// provider reports when the consumer signs no more.
func (l *Log) Report(number int64) (*Report, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number == 0 {
		if l.state.ack == nil {
			return nil, errors.New("couldn't report: nothing is acknowledged")
		}
		return l.p.report(l.state.ack, 0), nil
	}
	for i := range l.state.periods {
		if p := &l.state.periods[i]; p.close == number {
			return l.p.report(&p.ack, number), nil
		}
	}
	return nil, errors.New("couldn't report: the period isn't acknowledged")
}

// Final gives the acknowledgement at which an earlier epoch ended, or nil where it ended without one.
func (l *Log) Final(epoch int64) (*Signed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch < 1 || epoch >= l.state.epoch {
		return nil, l.p.standing(l.refuseLocked(EpochMismatch, "the epoch hasn't ended"))
	}
	for i := range l.state.epochs {
		if l.state.epochs[i].Epoch == epoch {
			return &l.state.epochs[i], nil
		}
	}
	return nil, nil
}

// FinalReport is the usage report of an epoch that ended, at its last acknowledgement.
func (l *Log) FinalReport(epoch int64) (*Report, error) {
	s, err := l.Final(epoch)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, errors.New("couldn't report: the epoch acknowledged nothing")
	}
	return l.p.report(s, 0), nil
}

// report signs: ed25519 is deterministic, so a lost report is made again to the byte.
func (p *Provider) report(a *Signed, number int64) *Report {
	mine := sign(a.Statement, contracts.TagReport, p.cfg.Key)
	return &Report{Statement: a.Statement, Close: number, ConsumerSig: a.Sig, ProviderSig: mine.Sig}
}
