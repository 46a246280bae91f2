package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Rotate gives an organisation's peers, their chaincode, client and administrator new keys and certificates under the same
// CAs, and restarts its peers with their chaincode one after the other. Files keep their places, so network.yaml stays as
// it is; clients read them when they start. Old ones are kept in retired/ with the date. They stay valid until they are
// revoked. An interrupted rotation is finished, by this or by Start, and is not begun anew.
func (n *Network) Rotate(ctx context.Context, organisation string) error {
	return n.change(func() error {
		if _, _, ok := n.layout.organisation(organisation); !ok {
			return fmt.Errorf("couldn't rotate the keys of %q: no such organisation; the network's are %s", organisation, n.layout.names())
		}
		begun, err := n.rotations()
		if err != nil {
			return err
		}
		for _, r := range begun {
			if err := n.rotate(ctx, r); err != nil {
				return err
			}
			if r.organisation == organisation {
				return nil
			}
		}
		r, err := n.beginRotation(organisation, time.Now())
		if err != nil {
			return err
		}
		return n.rotate(ctx, r)
	})
}

// rotation is one that is under way: what is still in its folder has not been put in place.
type rotation struct{ organisation, date string }

func (r rotation) dir() string { return "rotation." + r.organisation + "." + r.date }

func (n *Network) rotations() (rs []rotation, err error) {
	dirs, err := filepath.Glob(n.path("rotation.*"))
	for _, d := range dirs {
		f := strings.Split(filepath.Base(d), ".")
		if len(f) == 3 {
			rs = append(rs, rotation{f[1], f[2]})
		}
	}
	return rs, err
}

// beginRotation makes all that is new. The rotation is begun when its folder has its name.
func (n *Network) beginRotation(organisation string, now time.Time) (rotation, error) {
	r := rotation{organisation, now.UTC().Format("20060102T150405Z")}
	half := n.path("half." + r.dir())
	if err := os.RemoveAll(half); err != nil {
		return r, err
	}
	for _, kind := range []string{"peers", "users"} {
		if err := os.MkdirAll(filepath.Join(half, kind), 0o700); err != nil {
			return r, err
		}
		old := n.path(peerOrgDir(organisation), kind)
		names, err := os.ReadDir(old)
		if err != nil {
			return r, err
		}
		for _, e := range names {
			if err := n.issue(organisation, filepath.Join(old, e.Name()), filepath.Join(half, kind, e.Name()), e.Name(), e.Name()); err != nil {
				return r, fmt.Errorf("couldn't make new keys and certificates for %s: %w", e.Name(), err)
			}
		}
	}
	return r, os.Rename(half, n.path(r.dir()))
}

// rotate puts what is new in place. A peer stops for that, and the next one stops when it has caught up again.
func (n *Network) rotate(ctx context.Context, r rotation) error {
	for _, p := range n.layout.Peers {
		if p.Organisation != r.organisation {
			continue
		}
		ps, err := n.chaincodeProcesses(p)
		if err != nil {
			return err
		}
		ps = append(ps, n.peerProcess(p))
		if _, err := os.Stat(n.path(r.dir(), "peers", p.host())); err == nil {
			for _, process := range slices.Backward(ps) {
				if err := process.Stop(ctx); err != nil {
					return err
				}
			}
			if err := n.swap(r, "peers", p.host()); err != nil {
				return err
			}
		}
		if err := n.issueChaincode(ctx, p); err != nil {
			return err
		}
		for _, process := range ps {
			if err := process.Start(ctx); err != nil {
				return err
			}
		}
		for _, o := range n.layout.Peers {
			if o != p && n.peerProcess(o).Alive() {
				if err := n.caughtUp(ctx, o, p); err != nil {
					return err
				}
				break
			}
		}
		n.say("peer.%s runs with its new keys", p.name())
	}
	users, err := os.ReadDir(n.path(r.dir(), "users"))
	if err != nil {
		return err
	}
	for _, u := range users {
		if err := n.swap(r, "users", u.Name()); err != nil {
			return err
		}
	}
	n.say("client and administrator of %s have new keys; what was before is in %s", r.organisation, n.retired(r))
	return os.RemoveAll(n.path(r.dir()))
}

func (n *Network) retired(r rotation) string { return n.path("retired", r.organisation+"."+r.date) }

// swap moves a folder of keys and certificates aside and the new one to its place.
func (n *Network) swap(r rotation, kind, name string) error {
	place, kept := n.path(peerOrgDir(r.organisation), kind, name), filepath.Join(n.retired(r), kind, name)
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return err
	}
	if err := os.Rename(place, kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(n.path(r.dir(), kind, name), place)
}

func (n *Network) finishRotations(ctx context.Context) error {
	rs, err := n.rotations()
	for _, r := range rs {
		err = errors.Join(err, n.rotate(ctx, r))
	}
	return err
}
