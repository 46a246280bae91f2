package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// RebuildPeer makes a peer whose data is lost take part again, on a running network: it reads the channel from its first
// block on, checking every one, and has the chaincode installed. Keys, certificates and configuration are not the peer's data. It
// returns when the peer has all blocks. Data that is there is removed only if discard says so. An interrupted rebuilding is
// finished, by this or by Start.
func (n *Network) RebuildPeer(ctx context.Context, process string, discard bool) error {
	return n.change(func() error {
		for _, p := range n.layout.Peers {
			if "peer."+p.name() == process {
				return n.rebuildPeer(ctx, p, discard)
			}
		}
		return fmt.Errorf("couldn't rebuild %s: there is no such peer", process)
	})
}

func (n *Network) rebuildPeer(ctx context.Context, p peer, discard bool) error {
	data, lost := n.path("peer."+p.name(), "data"), n.path("peer."+p.name(), "data.lost")
	left, err := os.ReadDir(filepath.Join(data, "ledgersData"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, begun := os.Stat(lost)
	if len(left) > 0 && begun != nil && !discard {
		return fmt.Errorf("couldn't rebuild peer.%s: it has data in %s; --discard removes that", p.name(), data)
	}
	if begun != nil {
		if err := n.peerProcess(p).Stop(ctx); err != nil {
			return err
		}
		// From here on the rebuilding is begun, and what comes to be in data is new.
		if err := os.Rename(data, lost); errors.Is(err, fs.ErrNotExist) {
			err = os.Mkdir(lost, 0o700)
			if err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	if err := n.up(ctx); err != nil {
		return err
	}
	for _, o := range n.layout.Peers {
		if o != p {
			if err := n.caughtUp(ctx, o, p); err != nil {
				return err
			}
			break
		}
	}
	n.say("peer.%s has all blocks", p.name())
	return os.RemoveAll(lost)
}
