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
func (p *Publisher) Consistency(ctx context.Context, from, to uint64) ([][]byte, error) {
	if h, _ := p.Head(); to > h.Size {
		return nil, fmt.Errorf("size %d isn't published, only %d", to, h.Size)
	}
	return consistency(ctx, p.fs, from, to)
}

// Inclusion proves that the leaf at index is in the tree of a published size.
func (p *Publisher) Inclusion(ctx context.Context, index, size uint64) ([][]byte, error) {
	if h, _ := p.Head(); size > h.Size || index >= size {
		return nil, fmt.Errorf("leaf %d in size %d isn't published, only %d", index, size, h.Size)
	}
	pb, err := client.NewProofBuilder(ctx, size, tileFetcher(p.fs))
	if err != nil {
		return nil, fmt.Errorf("couldn't build an inclusion proof: %w", err)
	}
	h, err := pb.InclusionProof(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("couldn't build an inclusion proof: %w", err)
	}
	return h, nil
}

// Proof gives a proof file of the leaf at index against the published checkpoint, with the cosignatures that it has.
func (p *Publisher) Proof(ctx context.Context, index uint64) (Proof, error) {
	h, _ := p.Head()
	hashes, err := p.Inclusion(ctx, index, h.Size)
	if err != nil {
		return Proof{}, err
	}
	pr := Proof{Index: index, Checkpoint: h.Signed}
	for _, x := range hashes {
		pr.Hashes = append(pr.Hashes, [32]byte(x))
	}
	return pr, nil
}
