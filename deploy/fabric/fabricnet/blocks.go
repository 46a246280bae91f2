package main

import (
	"context"
	"fmt"

	"github.com/bund-exchange/bund/deploy/fabric/network"
	"github.com/bund-exchange/bund/ledger/fabric"
)

// blocks exports what an organisation's peer has.
func blocks(ctx context.Context, o options) error {
	n, err := network.Open(o.Config)
	if err != nil {
		return err
	}
	height, added, err := fabric.Export(ctx, n.Profile(), o.blocksOf, o.arg)
	if err != nil {
		return err
	}
	fmt.Printf("%s holds %d blocks of %s's peer, %d of them new\nbundaudit blocks --dir %s verifies them\n", o.arg, height, o.blocksOf, added, o.arg)
	return nil
}
