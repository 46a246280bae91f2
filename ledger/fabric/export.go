package fabric

import (
	"context"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-protos-go/common"

	"github.com/bund-exchange/bund/ledger/fabric/blocks"
	"github.com/bund-exchange/bund/ledger/fabric/profile"
)

// Export writes the blocks that a peer of organisation has at this moment to a folder, for bundaudit blocks; it gives how
// many there are in all and how many were new. It goes on where an earlier run stopped.
func Export(ctx context.Context, net *profile.Network, organisation, dir string) (height, written uint64, err error) {
	user, err := net.User(organisation, "client")
	if err != nil {
		return 0, 0, err
	}
	g, err := openGateway(net, organisation)
	if err != nil {
		return 0, 0, err
	}
	defer g.close()
	err = fmt.Errorf("couldn't export blocks: the network has no peer of %s", organisation)
	for _, p := range g.peers {
		if p.info.MSP != user.MSP {
			continue
		}
		var failed error
		if height, failed = g.height(ctx, p); failed == nil {
			written, failed = blocks.Export(ctx, dir, height, func(ctx context.Context, from uint64, take func(*common.Block) error) error {
				return g.blocks(ctx, p, from, take)
			})
		}
		if failed == nil {
			return height, written, nil
		}
		err = errors.Join(err, failed)
	}
	return 0, 0, err
}
