package network

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Snapshot has a running peer write down the state of the market's channel at its present height, and gives the folder. A
// new peer can begin with it. It holds the state and the ids of transactions, not the blocks: it is no backup of the ledger,
// whose blocks every peer and orderer has.
func (n *Network) Snapshot(ctx context.Context, process string) (dir string, err error) {
	err = n.change(func() error {
		for _, p := range n.layout.Peers {
			if "peer."+p.name() == process {
				dir, err = n.snapshot(ctx, p)
				return err
			}
		}
		return fmt.Errorf("couldn't make a snapshot at %s: there is no such peer", process)
	})
	return dir, err
}

func (n *Network) snapshot(ctx context.Context, p peer) (string, error) {
	height, err := n.height(ctx, p)
	if err != nil {
		return "", fmt.Errorf("couldn't make a snapshot at peer.%s: %w", p.name(), err)
	}
	tls := []string{"--peerAddress", loopback(n.layout.peerPorts(p).listen), "--tlsRootCertFile", n.path(peerDir(p), "tls", "ca.crt")}
	_, err = n.as(ctx, p, append([]string{"snapshot", "submitrequest", "-c", mainChannel, "-b", "0"}, tls...)...)
	if err != nil && !strings.Contains(err.Error(), "duplicate snapshot request") && !strings.Contains(err.Error(), "already generated") {
		return "", fmt.Errorf("couldn't make a snapshot at peer.%s: %w", p.name(), err)
	}
	// The peer chooses the block, at or after the height that it had, and its folder appears whole.
	dir := ""
	all := n.path("peer."+p.name(), "data", "snapshots", "completed", mainChannel)
	err = n.until(ctx, func() (bool, error) {
		h, err := n.height(ctx, p)
		if err != nil {
			return false, err
		}
		for b := height - 1; b < h; b++ {
			dir = filepath.Join(all, fmt.Sprint(b))
			if _, err := os.Stat(dir); err == nil {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return "", fmt.Errorf("couldn't make a snapshot at peer.%s: %w", p.name(), err)
	}
	return dir, nil
}
