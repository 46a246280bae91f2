package publish

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// collectCosignatures runs one round: all witnesses at once, those that did not answer lately only if all is set. Of a
// witness that fails, the cosignature on an unchanged head is kept.
func (p *Publisher) collectCosignatures(ctx context.Context, c Checkpoint, signed []byte, all bool) ([]byte, error) {
	now := p.cfg.Now()
	p.lastRound = now
	sigs := make([]*note.Signature, len(p.witnesses))
	ctx, cancel := context.WithTimeout(ctx, p.cfg.WitnessTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i, w := range p.witnesses {
		if !all && !w.due(now) {
			continue
		}
		wg.Go(func() {
			s, err := w.cosign(ctx, c, signed, func(old uint64) ([][]byte, error) { return consistency(ctx, p.fs, old, c.Size) })
			var at time.Time
			if err == nil {
				sigs[i] = &s
				at, err = fnote.CoSigV1Timestamp(s)
			}
			w.done(now, at, err)
			if err != nil {
				p.cfg.Log.WarnContext(ctx, "witness did not cosign", "witness", w.v.Name(), "size", c.Size, "err", err)
			}
		})
	}
	wg.Wait()
	n, err := note.Open(signed, note.VerifierList(p.policy.Log))
	if err != nil {
		return nil, fmt.Errorf("couldn't verify the own signature: %w", err)
	}
	old, _ := p.Head()
	for i, w := range p.witnesses {
		if sigs[i] == nil && old.Checkpoint == c {
			for _, s := range old.sigs {
				if s.Name == w.v.Name() && s.Hash == w.v.KeyHash() {
					sigs[i] = &s
				}
			}
		}
		if sigs[i] != nil {
			n.Sigs = append(n.Sigs, *sigs[i])
		}
	}
	return note.Sign(n)
}

// round is one synchronous round that callers wait for.
type round struct {
	done chan struct{}
	head Head
	err  error
}

// Cosign publishes everything that the ledger has and gets it cosigned in a round that begins after the call. Callers
// that come while a round runs share the next one, so that any number of them cost two rounds at a time.
func (p *Publisher) Cosign(ctx context.Context) (Head, error) {
	p.roundMu.Lock()
	if p.stopped.Err() != nil {
		p.roundMu.Unlock()
		return Head{}, errors.New("publication is closed")
	}
	r := p.round
	if r == nil {
		r = &round{done: make(chan struct{})}
		p.round = r
		p.wg.Go(func() { p.runRound(r) })
	}
	p.roundMu.Unlock()
	select {
	case <-ctx.Done():
		return Head{}, ctx.Err()
	case <-r.done:
		return r.head, r.err
	}
}

func (p *Publisher) runRound(r *round) {
	defer close(r.done)
	p.mu.Lock() // wait for the step in progress, then take the round off, so that later callers get the next
	p.roundMu.Lock()
	p.round = nil
	p.roundMu.Unlock()
	p.mu.Unlock()
	if r.err = p.step(p.stopped, true); r.err != nil {
		return
	}
	h, ok := p.Head()
	if !ok {
		r.err = errors.New("nothing is published yet")
	}
	r.head = h
}
