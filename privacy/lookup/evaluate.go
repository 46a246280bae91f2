package lookup

import (
	"context"
	"crypto/rand"

	"github.com/cloudflare/circl/group"
)

// Evaluator is the provider's side of one committed epoch. It is safe for concurrent use.
type Evaluator struct {
	// Workers is how many processors one request may use; 0: all.
	Workers int

	key    *EpochKey
	digest [32]byte
	nonce  func() group.Scalar // of a proof

	busy func() (idle func()) // told when a worker begins a piece; for the benchmark
}

// NewEvaluator refuses a key that is not the committed one: each answer would be refused by whoever asks.
func NewEvaluator(key *EpochKey, c *Commitment) (*Evaluator, error) {
	if !key.committed(c) {
		return nil, refuse(WrongKey, "the key is not the committed one of epoch %d", c.Epoch)
	}
	return &Evaluator{key: key, digest: c.digest(), nonce: func() group.Scalar { return r255.RandomNonZeroScalar(rand.Reader) }}, nil
}

// Evaluate answers a request. Whoever calls it has metered the request's Len before. The same request may be answered
// again: the elements will be the same, the proofs as good.
func (e *Evaluator) Evaluate(ctx context.Context, q *Request) ([]byte, error) {
	if q.Commitment != e.digest {
		return nil, refuse(OtherTable, "the request is for another table or epoch")
	}
	n := q.Len()
	in, out, a := make([]group.Element, n), make([]group.Element, n), &response{elements: make([]byte, n*ElementBytes)}
	if err := e.spread(ctx, n, turnRows, func(lo, hi int) error {
		if err := decode(in, q.elements, lo, hi); err != nil {
			return err
		}
		for i := lo; i < hi; i++ {
			out[i] = r255.NewElement().Mul(in[i], e.key.k)
			copy(element(a.elements, i), appendElement(nil, out[i]))
		}
		return nil
	}); err != nil {
		return nil, err
	}
	chunks := proofsFor(n)
	a.proofs = make([]byte, chunks*proofBytes)
	nonces := make([]group.Scalar, chunks)
	for i := range nonces {
		nonces[i] = e.nonce()
	}
	err := e.spread(ctx, n, ProofIDs, func(lo, hi int) error {
		c := &chunk{in[lo:hi], out[lo:hi], q.elements[lo*ElementBytes : hi*ElementBytes], a.elements[lo*ElementBytes : hi*ElementBytes]}
		c.prove(e.key, nonces[lo/ProofIDs]).append(a.proofs[lo/ProofIDs*proofBytes:][:0])
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.bytes(), nil
}

func (e *Evaluator) spread(ctx context.Context, n, step int, f func(lo, hi int) error) error {
	if e.busy == nil {
		return spread(ctx, n, step, e.Workers, f)
	}
	return spread(ctx, n, step, e.Workers, func(lo, hi int) error {
		defer e.busy()()
		return f(lo, hi)
	})
}
