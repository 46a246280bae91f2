package network

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// peersOfOrganisation is what the ports of an organisation have room for.
const peersOfOrganisation = 5

// AddPeer adds a peer to an organisation, with chaincode processes of its own if the organisation endorses, and starts all
// that doesn't run. It returns when the peer has all blocks and gives its name among the processes. The peer reads the
// channel from its first block on, or begins with a snapshot that another peer made; then it has no block before it, and no
// client may read there that needs them. An interrupted addition is continued, by this or by Start.
func (n *Network) AddPeer(ctx context.Context, organisation, snapshot string) (process string, err error) {
	err = n.change(func() error {
		last := n.layout.Adding
		if last != nil {
			p := n.layout.Peers[len(n.layout.Peers)-1]
			if err := n.up(ctx); err != nil {
				return err
			}
			if last.Organisation == organisation {
				process = "peer." + p.name()
				return nil
			}
		}
		if _, _, ok := n.layout.organisation(organisation); !ok {
			return fmt.Errorf("couldn't add a peer to %q: no such organisation; the network's are %s", organisation, n.layout.names())
		}
		p := peer{organisation, 1}
		for _, o := range n.layout.Peers {
			if o.Organisation == organisation {
				p.Number = max(p.Number, o.Number+1)
			}
		}
		if p.Number > peersOfOrganisation {
			return fmt.Errorf("couldn't add a peer to %s: it has %d, and there are no ports for more", organisation, peersOfOrganisation)
		}
		if snapshot != "" {
			if snapshot, err = filepath.Abs(snapshot); err != nil {
				return err
			}
			if err := wholeSnapshot(snapshot); err != nil {
				return fmt.Errorf("couldn't begin with the snapshot: %w", err)
			}
		}
		n.layout.Peers = append(n.layout.Peers, p)
		n.layout.Adding = &adding{organisation, snapshot}
		if err := n.writeLayout(); err != nil {
			return err
		}
		process = "peer." + p.name()
		return n.up(ctx)
	})
	return process, err
}

func (n *Network) finishAdding(ctx context.Context) error {
	p := n.layout.Peers[len(n.layout.Peers)-1]
	if err := n.caughtUp(ctx, n.layout.Peers[0], p); err != nil {
		return err
	}
	n.layout.Adding = nil
	if err := n.writeLayout(); err != nil {
		return err
	}
	n.say("peer.%s has all blocks", p.name())
	return nil
}

// issuePeers makes keys and certificates for peers that have none, after the pattern of their organisation's first peer.
func (n *Network) issuePeers() error {
	for _, p := range n.layout.Peers {
		if _, err := os.Stat(n.path(peerDir(p))); err == nil {
			continue
		}
		first := peer{p.Organisation, 1}
		if err := n.issue(p.Organisation, n.path(peerDir(first)), n.path(peerDir(p)), first.host(), p.host()); err != nil {
			return fmt.Errorf("couldn't make keys and certificates for peer.%s: %w", p.name(), err)
		}
	}
	return nil
}

// wholeSnapshot holds a snapshot's files against the digests in it. A peer that was given a damaged one says so in its log
// alone, and whoever waits for it waits in vain.
func wholeSnapshot(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "_snapshot_signable_metadata.json"))
	if err != nil {
		return err
	}
	var m struct {
		Files map[string]string `json:"snapshot_files_raw_hashes"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("couldn't read what it consists of: %w", err)
	}
	for name, want := range m.Files {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("it names a file %q", name)
		}
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return err
		}
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != want {
			return fmt.Errorf("%s is not what the peer wrote", name)
		}
	}
	return nil
}
