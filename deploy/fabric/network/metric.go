package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// metric asks a process at its operations address for a figure: the sum of all series of that name whose labels hold each
// of those given. Without any it is 0.
func metric(ctx context.Context, at operations, name string, labels ...string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+loopback(at.port)+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	client, err := at.client()
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, errors.New(resp.Status)
	}
	sum := 0.0
	s := bufio.NewScanner(resp.Body)
lines:
	for s.Scan() {
		series, value, ok := strings.Cut(s.Text(), "} ")
		if !ok || !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("couldn't read metric %s: %w", name, err)
		}
		sum += v
	}
	return sum, s.Err()
}

// height is how many blocks of the market's channel a peer has, as it says itself.
func (n *Network) height(ctx context.Context, p peer) (int, error) {
	return n.heightOf(ctx, mainChannel, p)
}

func (n *Network) heightOf(ctx context.Context, channel string, p peer) (int, error) {
	v, err := metric(ctx, n.peerOperations(p), "ledger_blockchain_height", `channel="`+channel+`"`)
	return int(v), err
}

// caughtUp waits until peers have what one of them has now.
func (n *Network) caughtUp(ctx context.Context, with peer, ps ...peer) error {
	want, err := n.height(ctx, with)
	if err != nil {
		return fmt.Errorf("couldn't ask the peer of %s for its height: %w", with.name(), err)
	}
	for _, p := range ps {
		err := n.until(ctx, func() (bool, error) {
			h, err := n.height(ctx, p)
			return err == nil && h >= want, nil
		})
		if err != nil {
			return fmt.Errorf("the peer of %s hasn't all %d blocks: %w", p.name(), want, err)
		}
	}
	return nil
}
