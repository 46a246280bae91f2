package network

import (
	"context"
	"fmt"
	"time"
)

// Leader waits until the orderers have a leader and gives the name of its process.
func (n *Network) Leader(ctx context.Context) (string, error) {
	leader := ""
	err := n.until(ctx, func() (bool, error) {
		for i := 1; i <= n.layout.Orderers; i++ {
			v, err := metric(ctx, n.ordererOperations(i), "consensus_etcdraft_is_leader", `channel="`+mainChannel+`"`)
			if err == nil && v == 1 {
				leader = fmt.Sprintf("orderer.%d", i)
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return "", fmt.Errorf("couldn't find the orderers' leader: %w", err)
	}
	return leader, nil
}

// until polls a condition.
func (n *Network) until(ctx context.Context, ok func() (bool, error)) error {
	t := time.NewTicker(5 * pollEvery)
	defer t.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}
