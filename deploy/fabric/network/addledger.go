package network

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// Fabric's rule for names of channels.
var channelName = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,248}$`)

// AddLedger makes another channel on a running network, for tests that each want a ledger of their own: it takes a
// second where a network takes ten. Only venue and custodian take part; their running chaincode processes serve it too,
// as a ledger of its own if the network's ledger id holds {channel}. The result describes it to clients. Asked again, or
// after an interruption, it does what is still to be done. Several may be added at once. An upgrade leaves such a channel
// behind without chaincode.
func (n *Network) AddLedger(ctx context.Context, name string) (*profile.Network, error) {
	unlock, err := share(n.dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if !channelName.MatchString(name) || name == mainChannel {
		return nil, fmt.Errorf("couldn't add channel %q: want a name of a-z, 0-9, dot and hyphen, and not %s", name, mainChannel)
	}
	ch := channel{name: name, dir: n.path("config", "channel."+name), batchTimeout: "10ms", lifecycle: both} // tests wait for one block after another
	for _, o := range n.layout.Organisations {
		if o.MSP == venueMSP || o.MSP == custodianMSP {
			ch.organisations = append(ch.organisations, o)
			ch.peers = append(ch.peers, peer{o.Name, 1})
		}
	}
	if err := n.makeGenesis(ctx, ch); err != nil {
		return nil, err
	}
	if err := n.joinAll(ctx, ch); err != nil {
		return nil, err
	}
	var cs []definition
	var approvals, commits errgroup.Group
	for _, d := range n.layout.Definitions {
		id, _, err := ccPackage(ccLabel(d))
		if err != nil {
			return nil, err
		}
		c := d
		c.Policy, c.Sequence = both, 1
		for _, p := range ch.peers {
			approvals.Go(func() error { return n.approve(ctx, ch, p, c, id) })
		}
		cs = append(cs, c)
	}
	if err := approvals.Wait(); err != nil {
		return nil, err
	}
	for _, c := range cs {
		commits.Go(func() error { return unlessCommitted(n.commit(ctx, ch, ch.peers, c)) })
	}
	return n.profileOf(ch), commits.Wait()
}

// unlessCommitted takes for done what fails because the definition's first sequence is on the channel.
func unlessCommitted(err error) error {
	if err != nil && strings.Contains(err.Error(), "new definition must be sequence 2") {
		return nil
	}
	return err
}
