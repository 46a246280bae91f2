package publish

import (
	"context"
	"fmt"

	"github.com/transparency-dev/tessera/client"
)

func consistency(ctx context.Context, f files, from, to uint64) ([][]byte, error) {
	if from > to {
		return nil, fmt.Errorf("no consistency proof from %d to %d", from, to)
	}
	if from == 0 || from == to {
		return nil, nil
	}
	pb, err := client.NewProofBuilder(ctx, to, tileFetcher(f))
	if err != nil {
		return nil, fmt.Errorf("couldn't build a consistency proof: %w", err)
	}
	h, err := pb.ConsistencyProof(ctx, from, to)
	if err != nil {
		return nil, fmt.Errorf("couldn't build a consistency proof: %w", err)
	}
	return h, nil
}

// Consistency proves that the tree of size from is a prefix of the tree of size to, which must be published.
func (f *face) Consistency(ctx context.Context, from, to uint64) ([][]byte, error) {
	if h, _ := f.newest(ctx, to); to > h.Size {
		return nil, fmt.Errorf("size %d isn't published, only %d", to, h.Size)
	}
	return consistency(ctx, f.fs, from, to)
}

// Inclusion proves that the leaf at index is in the tree of a published size.
func (f *face) Inclusion(ctx context.Context, index, size uint64) ([][]byte, error) {
	h, _ := f.newest(ctx, size)
	return f.inclusion(ctx, h, index, size)
}

func (f *face) inclusion(ctx context.Context, h Head, index, size uint64) ([][]byte, error) {
	if size > h.Size || index >= size {
		return nil, fmt.Errorf("leaf %d in size %d isn't published, only %d", index, size, h.Size)
	}
	pb, err := client.NewProofBuilder(ctx, size, tileFetcher(f.fs))
	if err != nil {
		return nil, fmt.Errorf("couldn't build an inclusion proof: %w", err)
	}
	hashes, err := pb.InclusionProof(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("couldn't build an inclusion proof: %w", err)
	}
	return hashes, nil
}

// Proof gives a proof file of the leaf at index against the published checkpoint, with the cosignatures that it has.
func (f *face) Proof(ctx context.Context, index uint64) (Proof, error) {
	h, _ := f.newest(ctx, index+1)
	hashes, err := f.inclusion(ctx, h, index, h.Size)
	if err != nil {
		return Proof{}, err
	}
	pr := Proof{Index: index, Checkpoint: h.Signed}
	for _, x := range hashes {
		pr.Hashes = append(pr.Hashes, [32]byte(x))
	}
	return pr, nil
}
