package fabric

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// skewsMillis is by how much the time in an epoch's record may be ahead of the last moment of an endorsement: two proposers'
// clocks are within thirty seconds of two peers' clocks, and those within thirty of each other.
const skewsMillis = 90_000

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
	return l.verdict(id, deadline)
}

// verdict answers from what is derived, all of it at one height: a block that came between two looks would make "never"
// of a command that it holds.
func (l *Ledger) verdict(id contracts.ID, deadline contracts.Millis) (a *ledger.Answer, err error) {
	err = l.store.db.View(func(tx *bolt.Tx) error {
		m, err := markOf(tx)
		if err != nil {
			return err
		}
		v := view{tx.Bucket(stateBucket)}
		if a, err = found(m, v, id); a != nil || err != nil {
			return err
		}
		a = &ledger.Answer{Status: ledger.NotFound, Height: m.Height}
		scripted, err := contracts.Scripted(v)
		if err != nil {
			return err
		}
		never := overAt(tx, deadline)
		if scripted {
			now, err := contracts.NextTime(v, 0, 0)
			if err != nil {
				return err
			}
			never = now > deadline // an endorsement of an earlier time has read a clock that has moved since
		}
		if never {
			a.Status = ledger.Never
		}
		return nil
	})
	if err != nil || a.Status != ledger.Accepted {
		return a, err
	}
	return l.complete(a)
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
		a, err = found(m, v, id)
		return err
	})
	if a == nil || err != nil {
		return nil, err
	}
	return l.complete(a)
}

func found(m mark, v view, id contracts.ID) (*ledger.Answer, error) {
	b, at := v.find(contracts.KeyCommand(id))
	if b == nil {
		return nil, nil
	}
	out, err := contracts.Read[contracts.Outcome](b)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the recorded outcome: %w", err)
	}
	return &ledger.Answer{Status: ledger.Accepted, Height: m.Height, Outcome: *out, Promise: ledger.Promise{Position: at}}, nil
}

// complete adds what only the entry knows.
func (l *Ledger) complete(a *ledger.Answer) (*ledger.Answer, error) {
	es, err := l.store.entries(a.Promise.Position, 1)
	if err != nil || len(es) == 0 {
		return nil, errors.Join(err, fmt.Errorf("no entry at %d", a.Promise.Position))
	}
	a.Promise.Hash, a.Promise.Time = es[0].Hash, es[0].Time
	return a, nil
}
