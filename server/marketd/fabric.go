package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/fabric"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// FabricConfig puts the market on a Hyperledger Fabric network instead of an embedded ledger. Any number of marketd then
// share the network, one PostgreSQL and the folder of the published log.
type FabricConfig struct {
	// Network is the network's profile, network.yaml.
	Network string `yaml:"network"`
	// Organisation is whose identity the market speaks as: the venue's, a word of the profile.
	Organisation string `yaml:"organisation"`
	// Peers says which members have a peer of their own, by their credit codes, and its MSP: such a peer is asked to endorse
	// what its member takes part in and others may not see.
	Peers map[contracts.CreditCode]string `yaml:"peers"`
	// TLog is the folder of the published log, which all replicas share; empty: tlog in dir. Its file system must have
	// locks that hold between the replicas' hosts.
	TLog string `yaml:"tlog"`
}

func (f *FabricConfig) check() error {
	for _, m := range []struct{ name, value string }{{"network", f.Network}, {"organisation", f.Organisation}} {
		if m.value == "" {
			return fmt.Errorf("fabric: %s is missing", m.name)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(f.Peers)) {
		if err := code.Check(); err != nil {
			return fmt.Errorf("fabric: peers: member %q: %w", code, err)
		}
		if f.Peers[code] == "" {
			return fmt.Errorf("fabric: peers: member %s has no MSP", code)
		}
	}
	return nil
}

// openFabric joins the network. What it returns has the entries that the venue's peer had at that moment.
func (m *Market) openFabric(ctx context.Context) (Ledger, error) {
	n, err := profile.Read(m.cfg.Fabric.Network)
	if err != nil {
		return nil, err
	}
	if n.Ledger != m.cfg.Ledger {
		return nil, fmt.Errorf("the network is of ledger %s, the configuration of %s", n.Ledger, m.cfg.Ledger)
	}
	return joinNetwork(ctx, m, n)
}

// entriesDir is where this replica keeps the entries that it derives from blocks. It can be made again from the network.
func (c *Config) entriesDir() string { return filepath.Join(c.Dir, "entries") }

// joinNetwork is a variable so that tests put something in a network's place.
var joinNetwork = func(ctx context.Context, m *Market, n *profile.Network) (Ledger, error) {
	ctx, cancel := context.WithTimeout(ctx, joinWait)
	defer cancel()
	return fabric.Open(ctx, fabric.Config{Network: n, Organisation: m.cfg.Fabric.Organisation, Dir: m.cfg.entriesDir(), Openings: m.openings,
		Peers: m.cfg.Fabric.Peers, Now: m.now, Log: m.log})
}

// joinWait bounds how long the market waits for a network that is starting, or for blocks that it has not read yet.
const joinWait = 10 * time.Minute
