package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/bund-exchange/bund/deploy/fabric/network"
)

// What an operator does to a network beside starting and stopping it.

func addPeer(ctx context.Context, o options) error {
	if o.organisation == "" {
		return &usageError{"add-peer", "add-peer needs --org"}
	}
	n, err := network.Open(o.Config)
	if err != nil {
		return err
	}
	name, err := n.AddPeer(ctx, o.organisation, o.snapshot)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s takes part; %s names it, clients read that when they start\n", name, n.ProfileFile())
	return nil
}

func upgrade(ctx context.Context, o options) error {
	if o.program == "" {
		o.program = o.Chaincode
	}
	n, err := network.Open(o.Config)
	if err != nil {
		return err
	}
	return n.Upgrade(ctx, o.program)
}

func rotate(ctx context.Context, o options) error {
	if o.organisation == "" {
		return &usageError{"rotate", "rotate needs --org"}
	}
	n, err := network.Open(o.Config)
	if err != nil {
		return err
	}
	if err := n.Rotate(ctx, o.organisation); err != nil {
		return err
	}
	fmt.Println("\nclients of it read their new keys when they start; what the old certificates need: fabricnet rotate --help")
	return nil
}

func rebuildPeer(ctx context.Context, o options) error {
	n, err := network.Open(o.Config)
	if err != nil {
		return err
	}
	return n.RebuildPeer(ctx, o.arg, o.discard)
}

func snapshot(ctx context.Context, o options) error {
	n, err := network.Open(o.Config)
	if err != nil {
		return err
	}
	dir, err := n.Snapshot(ctx, o.arg)
	if err != nil {
		return err
	}
	fmt.Println(dir)
	return nil
}

func backup(_ context.Context, o options) error {
	if o.out == "" {
		return &usageError{"backup", "backup needs --out"}
	}
	n, err := network.Open(o.Config)
	if err != nil {
		return err
	}
	if err := n.Backup(o.out); err != nil {
		return err
	}
	fmt.Printf("%s holds the network, CAs' keys included; fabricnet restore --from %s --dir FOLDER puts it in place\n", o.out, o.out)
	return nil
}

func restore(_ context.Context, o options) error {
	if o.from == "" {
		return &usageError{"restore", "restore needs --from"}
	}
	if err := network.Restore(o.from, o.Dir); err != nil {
		return err
	}
	fmt.Printf("restored; fabricnet up --dir %s starts it\n", filepath.Clean(o.Dir))
	return nil
}
