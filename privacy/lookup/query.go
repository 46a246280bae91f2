package lookup

import (
	"context"
	"crypto/rand"
	"encoding/binary"

	"github.com/cloudflare/circl/group"
)

// Query is a bank's question and its secret: the ids, and what hides each of them. Without it the answer, which is paid
// for, says nothing; with it and the request the ids are known.
type Query struct {
	commitment *Commitment
	ids        [][]byte
	blinds     []group.Scalar
	blinded    []group.Element
	request    Request
}

// NewQuery asks about ids, each once, in this order.
func NewQuery(c *Commitment, ids [][]byte) (*Query, error) {
	blinds := make([]group.Scalar, len(ids))
	for i := range blinds {
		blinds[i] = r255.RandomNonZeroScalar(rand.Reader)
	}
	return newQuery(c, ids, blinds)
}

func newQuery(c *Commitment, ids [][]byte, blinds []group.Scalar) (*Query, error) {
	if len(ids) > MaxIDs {
		return nil, refuse(TooMany, "a request asks about %d ids at most", MaxIDs)
	}
	if len(ids) == 0 {
		return nil, refuse(Malformed, "no ids are asked about")
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if seen[string(id)] {
			return nil, refuse(Twice, "an id is asked about twice")
		}
		seen[string(id)] = true
	}
	points := make([]group.Element, len(ids))
	if err := spread(context.Background(), len(ids), turnRows, 0, func(lo, hi int) (err error) {
		for i := lo; i < hi && err == nil; i++ {
			points[i], err = Point(ids[i])
		}
		return err
	}); err != nil {
		return nil, err
	}
	q := &Query{commitment: c, ids: ids, blinds: blinds}
	return q, q.blind(points)
}

// blind makes the request of the ids' points.
func (q *Query) blind(points []group.Element) error {
	q.blinded = make([]group.Element, len(points))
	q.request = Request{Commitment: q.commitment.digest(), elements: make([]byte, len(points)*ElementBytes)}
	return spread(context.Background(), len(points), turnRows, 0, func(lo, hi int) error {
		for i := lo; i < hi; i++ {
			q.blinded[i] = r255.NewElement().Mul(points[i], q.blinds[i])
			copy(element(q.request.elements, i), appendElement(nil, q.blinded[i]))
		}
		return nil
	})
}

// Request is what the provider gets.
func (q *Query) Request() *Request { return &q.request }

// Len is how many ids are asked about.
func (q *Query) Len() int { return len(q.ids) }

// Secret gives what one element of the request is made of, for package consent to prove.
func (q *Query) Secret(i int) (id []byte, blind group.Scalar, blinded group.Element) {
	return q.ids[i], q.blinds[i], q.blinded[i]
}

// Finalize takes the provider's answer: every element evaluated with the committed key, in the order of the request, or
// nothing.
func (q *Query) Finalize(ctx context.Context, answer []byte) (*Evaluated, error) {
	a, err := parseResponse(answer)
	if err != nil {
		return nil, err
	}
	n := len(q.ids)
	if len(a.elements) != n*ElementBytes {
		return nil, refuse(BadProof, "not as many evaluations as elements")
	}
	key, err := q.commitment.key()
	if err != nil {
		return nil, err
	}
	evaluated := make([]group.Element, n)
	if err := spread(ctx, n, turnRows, 0, func(lo, hi int) error { return decode(evaluated, a.elements, lo, hi) }); err != nil {
		return nil, err
	}
	if err := spread(ctx, n, ProofIDs, 0, func(lo, hi int) error {
		p, err := a.proof(lo / ProofIDs)
		if err != nil {
			return err
		}
		c := &chunk{q.blinded[lo:hi], evaluated[lo:hi], q.request.elements[lo*ElementBytes : hi*ElementBytes], a.elements[lo*ElementBytes : hi*ElementBytes]}
		if !p.proves(c, key) {
			return refuse(BadProof, "evaluated by another key than the committed one, in another order, or for another request")
		}
		return nil
	}); err != nil {
		return nil, err
	}
	e := &Evaluated{commitment: q.commitment, ids: q.ids, outputs: make([][outputBytes]byte, n), derived: make([]derived, n)}
	unblind := invert(q.blinds)
	return e, spread(ctx, n, turnRows, 0, func(lo, hi int) error {
		for i := lo; i < hi; i++ {
			e.outputs[i] = output(q.ids[i], evaluated[i].Mul(evaluated[i], unblind[i]))
			e.derived[i] = derive(e.outputs[i][:])
		}
		return nil
	})
}

const queryMagic = "bund lookup query 1\n"

// Bytes gives the query to be kept until its answer has come: a paid answer is worthless without it. Its owner seals it.
func (q *Query) Bytes() []byte {
	digest := q.commitment.digest()
	b := append([]byte(queryMagic), digest[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(q.ids)))
	for i, id := range q.ids {
		b = append(append(b, byte(len(id))), id...)
		b = appendScalar(b, q.blinds[i])
	}
	return b
}

// ParseQuery reads what Bytes gave, of a query under the same commitment.
func ParseQuery(b []byte, c *Commitment) (*Query, error) {
	r := reader{b: b}
	if string(r.take(len(queryMagic))) != queryMagic {
		return nil, refuse(Malformed, "this is no lookup query")
	}
	digest := c.digest()
	if string(r.take(len(digest))) != string(digest[:]) {
		return nil, refuse(OtherTable, "the query is for another table or epoch")
	}
	n := r.uint(4)
	if r.short || n > MaxIDs {
		return nil, refuse(Malformed, "the query is short or too long")
	}
	ids, blinds := make([][]byte, n), make([]group.Scalar, n)
	for i := range ids {
		ids[i] = r.take(int(r.uint(1)))
		var ok bool
		if blinds[i], ok = decodeScalar(r.take(ScalarBytes)); !ok {
			return nil, refuse(Malformed, "a blind is not a scalar's one form")
		}
	}
	if r.short || len(r.b) != 0 {
		return nil, refuse(Malformed, "the query has not the length that it states")
	}
	return newQuery(c, ids, blinds)
}
