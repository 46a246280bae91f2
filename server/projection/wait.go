package projection

import (
	"context"
	"time"
)

// pollEvery is how often a wait looks at the database, for entries that another process projects.
const pollEvery = 25 * time.Millisecond

// Watch keeps Projected up with what another process projects, until ctx ends. A database that is away is tried again.
func (p *Projector) Watch(ctx context.Context) error {
	for {
		wait := pollEvery
		pos, err := readPosition(ctx, p.DB)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			p.Log.WarnContext(ctx, "couldn't look how much is projected, trying again", "err", err)
			wait = retryEvery
		case pos.Schema == p.mark:
			p.seen(uint64(pos.Next))
			if err := p.Source.Wait(ctx, p.Projected()); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// seen is reached for what was read a moment ago: by now there may be more.
func (p *Projector) seen(next uint64) {
	if next > p.Projected() {
		p.reached(next)
	}
}

// WaitFor returns once the entry at a position is projected: what a write answered can be read then. It gives ctx's
// error when that comes first.
func (p *Projector) WaitFor(ctx context.Context, at uint64) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		p.mu.Lock()
		next, grew := p.next, p.grew
		p.mu.Unlock()
		if next > at {
			return nil
		}
		pos, err := readPosition(ctx, p.DB)
		if err != nil {
			return err
		}
		if uint64(pos.Next) > at && pos.Schema == p.mark {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grew:
		case <-tick.C:
		}
	}
}
