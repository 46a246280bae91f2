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

// Cosign publishes everything that the ledger has and gets it cosigned in a round that begins after the call. Callers
// that come while a round runs share the next one, so that any number of them cost two rounds at a time.
func (p *Publisher) Cosign(ctx context.Context) (Head, error) {
	return p.rounds.join(ctx, p.stopped, func(ctx context.Context) (Head, error) {
		if err := p.step(ctx, true); err != nil {
			return Head{}, err
		}
		h, ok := p.Head()
		if !ok {
			return Head{}, errors.New("nothing is published yet")
		}
		return h, nil
	})
}

// rounds lets callers share what each of them needs to begin after its call: those that come while one runs get the next.
type rounds struct {
	running sync.Mutex // held by the one that runs
	mu      sync.Mutex
	next    *round // not yet begun
	wg      sync.WaitGroup
}

type round struct {
	done chan struct{}
	head Head
	err  error
}

// join waits for a round that begins after the call. It runs until it is done or owner, which bounds all of them, ends.
func (q *rounds) join(ctx, owner context.Context, run func(context.Context) (Head, error)) (Head, error) {
	q.mu.Lock()
	if owner.Err() != nil {
		q.mu.Unlock()
		return Head{}, errors.New("publication is closed")
	}
	r := q.next
	if r == nil {
		r = &round{done: make(chan struct{})}
		q.next = r
		q.wg.Go(func() {
			defer close(r.done)
			q.running.Lock()
			defer q.running.Unlock()
			q.mu.Lock() // taken off before it begins, so that later callers get another
			q.next = nil
			q.mu.Unlock()
			r.head, r.err = run(owner)
		})
	}
	q.mu.Unlock()
	select {
	case <-ctx.Done():
		return Head{}, ctx.Err()
	case <-r.done:
		return r.head, r.err
	}
}

// close lets no more begin and waits for those that have.
func (q *rounds) close(stop context.CancelFunc) {
	q.mu.Lock()
	stop()
	q.mu.Unlock()
	q.wg.Wait()
}
