package blocks

import (
	"errors"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"
)

// CommitHash gives what the peer noted when it had committed a block: a hash over the validation flags and over all that
// valid transactions changed, of this block and of all before it. Nil for a block that has none, as the first.
func CommitHash(b *common.Block) ([]byte, error) {
	metadata := b.GetMetadata().GetMetadata()
	if len(metadata) <= int(common.BlockMetadataIndex_COMMIT_HASH) || len(metadata[common.BlockMetadataIndex_COMMIT_HASH]) == 0 {
		return nil, nil
	}
	var m common.Metadata
	if err := proto.Unmarshal(metadata[common.BlockMetadataIndex_COMMIT_HASH], &m); err != nil {
		return nil, errors.New("the peer's commit hash is malformed")
	}
	return m.Value, nil
}
