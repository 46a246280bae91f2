package publication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bund-exchange/bund/ledger/publish"
)

const (
	answerEvery = 50 * time.Millisecond // the replica that publishes looks for requests
	pollEvery   = 25 * time.Millisecond // one that has asked looks for the answer
	askWithin   = 10 * time.Second      // it gives up: nobody publishes
)

// ask has the replica that publishes begin a round, which may be this one.
func (l *Log) ask(ctx context.Context) (signed []byte, err error) {
	if p := l.publisher(); p != nil {
		h, err := p.Cosign(ctx)
		return h.Signed, err
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	const request = `INSERT INTO app.cosign_rounds AS r (id, asked, done) VALUES (1, 1, 0) ON CONFLICT (id) DO UPDATE SET asked = r.asked + 1 RETURNING asked`
	var number int64
	if err := l.db.GetContext(ctx, &number, request); err != nil {
		return nil, fmt.Errorf("couldn't ask for a round of cosignatures: %w", err)
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := l.db.GetContext(ctx, &signed, `SELECT coalesce(signed, '') FROM app.cosign_rounds WHERE id = 1 AND done >= $1`, number)
		switch {
		case err == nil && len(signed) > 0:
			return signed, nil
		case err == nil:
			return nil, errors.New("the round of cosignatures has failed")
		case !errors.Is(err, sql.ErrNoRows):
			return nil, fmt.Errorf("couldn't wait for cosignatures: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("no replica has answered: none publishes now")
		case <-tick.C:
		}
	}
}

// answer runs rounds for the replicas that ask, until ctx ends.
func (l *Log) answer(ctx context.Context, p *publish.Publisher) error {
	tick := time.NewTicker(answerEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := l.answerOnce(ctx, p); err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "couldn't answer replicas that ask for cosignatures", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(retryEvery):
			}
		}
	}
}

func (l *Log) answerOnce(ctx context.Context, p *publish.Publisher) error {
	var asked int64
	err := l.db.GetContext(ctx, &asked, `SELECT asked FROM app.cosign_rounds WHERE id = 1 AND asked > done`)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	h, err := p.Cosign(ctx) // begins after everything that was asked until now
	if ctx.Err() != nil {
		return ctx.Err() // the next publisher answers
	}
	if err != nil {
		l.log.ErrorContext(ctx, "couldn't cosign for another replica", "err", err)
	}
	_, err = l.db.ExecContext(ctx, `UPDATE app.cosign_rounds SET done = $1, signed = $2 WHERE id = 1 AND done < $1`, asked, h.Signed)
	return err
}
