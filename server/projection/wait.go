package projection

import (
	"context"
	"time"
)

// pollEvery is how often a wait looks at the database, for entries that another process projects.
const pollEvery = 25 * time.Millisecond

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
