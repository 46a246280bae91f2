package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Leader waits until the orderers have a leader and gives the name of its process.
func (n *Network) Leader(ctx context.Context) (string, error) {
	t := time.NewTicker(5 * pollEvery)
	defer t.Stop()
	for {
		for i := 1; i <= n.layout.Orderers; i++ {
			if leads, err := n.leads(ctx, i); err == nil && leads {
				return fmt.Sprintf("orderer.%d", i), nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("couldn't find the orderers' leader: %w", ctx.Err())
		case <-t.C:
		}
	}
}

// leads asks an orderer's metrics.
func (n *Network) leads(ctx context.Context, i int) (bool, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+loopback(n.layout.ordererPorts(i).operations)+"/metrics", nil)
	if err != nil {
		return false, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, errors.New(resp.Status)
	}
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if strings.HasPrefix(s.Text(), "consensus_etcdraft_is_leader{") {
			return strings.HasSuffix(s.Text(), " 1"), nil
		}
	}
	return false, nil
}
