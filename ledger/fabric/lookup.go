package fabric

import (
	"context"
	"errors"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// twoSkewsMillis is by how much the clocks of the peer that endorsed last and of the one that endorsed an epoch may differ.
const twoSkewsMillis = 60_000

// Lookup says what became of a command, see ledger.Ledger. "Never" on wall time needs two epochs that began after the
// command's last moment: until then somebody may hold an endorsed transaction back.
func (l *Ledger) Lookup(ctx context.Context, id contracts.ID) (*ledger.Answer, error) {
	deadline, err := ledger.Deadline(id)
	if err != nil {
		return nil, err
	}
	if err := l.landed(ctx, id); err != nil {
		return nil, err
	}
	if a, err := l.find(id); a != nil || err != nil {
		return a, err
	}
	if err := l.catchUp(ctx); err != nil {
		return nil, err
	}
	if a, err := l.find(id); a != nil || err != nil {
		return a, err
	}
	a := &ledger.Answer{Status: ledger.NotFound}
	scripted := false
	err = l.store.view(func(m mark, v view) error {
		a.Height = m.Height
		s, err := contracts.Scripted(v)
		if err != nil || !s {
			return err
		}
		scripted = true
		now, err := contracts.NextTime(v, 0, 0)
		if now > deadline { // an endorsement of an earlier time has read a clock that has moved since
			a.Status = ledger.Never
		}
		return err
	})
	if err != nil || scripted {
		return a, err
	}
	over, err := l.store.over(deadline)
	if over {
		a.Status = ledger.Never
	}
	return a, err
}

// landed waits for the end of a submission of this process.
func (l *Ledger) landed(ctx context.Context, id contracts.ID) error {
	for {
		l.mu.Lock()
		c := l.flying[id]
		l.mu.Unlock()
		if c == nil {
			return nil
		}
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// find gives an accepted command as derived so far, nil when it isn't there.
func (l *Ledger) find(id contracts.ID) (a *ledger.Answer, err error) {
	err = l.store.view(func(m mark, v view) error {
		b, at := v.find(contracts.KeyCommand(id))
		if b == nil {
			return nil
		}
		out, err := contracts.Read[contracts.Outcome](b)
		if err != nil {
			return fmt.Errorf("couldn't read the recorded outcome: %w", err)
		}
		a = &ledger.Answer{Status: ledger.Accepted, Height: m.Height, Outcome: *out, Promise: ledger.Promise{Position: at}}
		return nil
	})
	if a == nil || err != nil {
		return nil, err
	}
	es, err := l.store.entries(a.Promise.Position, 1)
	if err != nil || len(es) == 0 {
		return nil, errors.Join(err, fmt.Errorf("no entry at %d", a.Promise.Position))
	}
	a.Promise.Hash, a.Promise.Time = es[0].Hash, es[0].Time
	return a, nil
}
