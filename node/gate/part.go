package gate

import (
	"context"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// partStale is how old the state may be on which somebody is let take part in a joint statistic.
const partStale = time.Minute

// TakesPart decides whether a node may take part in a joint statistic now, as Admit decides a call: by the verified state
// and by it with what was announced since. Its error is a *contracts.Refusal, or a failure.
func (g *Gate) TakesPart(ctx context.Context, p contracts.Part) (task *contracts.StatisticsTask, err error) {
	for {
		now := contracts.Millis(g.Now().UnixMilli())
		position, err := g.Follower.Read(func(st contracts.State) error {
			return g.Early.Both(st, func(st contracts.State) (err error) {
				task, err = contracts.MayTakePart(g.Records.Over(st), now, p)
				return err
			})
		})
		if err == nil {
			err = g.Follower.Fresh(ctx, partStale)
		}
		if err != nil {
			return nil, err
		}
		if g.Follower.Position() == position {
			return task, nil
		}
	}
}
