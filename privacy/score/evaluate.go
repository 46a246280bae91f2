package score

import (
	"context"
	"encoding/binary"
	"io"

	"github.com/tuneinsight/lattigo/v6/ring"

	"github.com/bund-exchange/bund/contracts"
)

// Counter holds how often each company was evaluated under an agreement, whatever the model: with another model for
// each evaluation a bank would collect equations until it could solve them.
type Counter interface {
	// Count adds one evaluation to each of the companies, durably before it returns, and gives −1. When one of them has
	// max already, it adds nothing and gives that one's index. It is safe for concurrent use: two batches never pass max
	// together. An evaluation that fails afterwards stays counted.
	Count(ctx context.Context, agreement contracts.ID, companies []string, max int64) (full int, err error)
}

// Provider evaluates models under one agreement.
type Provider struct {
	Agreement contracts.ID
	Max       int64 // evaluations of one company, by all models of the agreement together
	Counter   Counter
}

// Evaluate scores the batch and gives the answer's bytes. Companies that are absent aren't counted.
func (p *Provider) Evaluate(ctx context.Context, m *Model, b *Batch) ([]byte, error) {
	if b.spec != m.Spec.Digest() || len(b.blocks[0]) != len(m.column) {
		return nil, refuse(CodeArity, "the batch was prepared for another specification")
	}
	var present []string
	var at []int // their places
	for i, c := range b.Companies {
		if !b.Absent[i] {
			present, at = append(present, c), append(at, i)
		}
	}
	if len(present) > 0 {
		full, err := p.Counter.Count(ctx, p.Agreement, present, p.Max)
		if err != nil {
			return nil, err
		}
		if full >= 0 {
			return nil, refuse(CodeCap, "company %d of the batch has been evaluated %d times under the agreement", at[full], p.Max)
		}
	}
	out := answerHead(m.Digest, b.Absent)
	for _, block := range b.blocks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c := m.sum(block)
		m.hide(&c, fresh)
		out = shrink(&c, out)
	}
	return out, nil
}

// sum is Σⱼ xⱼ·cⱼ, transformed. As it stands it gives features away: see hide.
func (m *Model) sum(block []ring.Poly) (c [2]ring.Poly) {
	c = [2]ring.Poly{ringQ.NewPoly(), ringQ.NewPoly()}
	for j, x := range block {
		for half := range c {
			ringQ.MulCoeffsMontgomeryThenAdd(x, m.column[j][half], c[half])
		}
	}
	return c
}

// hide takes from a ciphertext what its key's owner could learn beside the score: from the second half, by adding a
// fresh encryption of zero under the public key, and from the noise, by the flood. It leaves c out of the transformed
// domain.
func (m *Model) hide(c *[2]ring.Poly, random io.Reader) {
	u, e := make([]int64, Slots), make([]int64, Slots)
	p := ringQ.NewPoly()
	ternary(random, u)
	lift(u, p)
	ringQ.NTT(p, p)
	for half := range c {
		ringQ.MulCoeffsMontgomeryThenAdd(p, m.public[half], c[half])
		ringQ.INTT(c[half], c[half])
	}
	for half := range c {
		binomial(random, e)
		lift(e, p)
		ringQ.Add(c[half], p, c[half])
	}
	flood(random, c[0])
}

// shrink drops the ciphertext to Q0, rounding, and appends both halves.
func shrink(c *[2]ring.Poly, dst []byte) []byte {
	for half := range c {
		small := ringQ.NewPoly()
		ringQ.DivRoundByLastModulusMany(2, c[half], small, small)
		small.Resize(0)
		dst = appendPoly(dst, small)
	}
	return dst
}

const answerMagic = "bund-score-answer"

// answerHead is "bund-score-answer" ‖ len ‖ suite ‖ digest of the model (32) ‖ companies (4) ‖ a bit for each company,
// low bits first, set where it is absent. The blocks follow, each both halves modulo Q0.
func answerHead(model contracts.Hash, absent []bool) []byte {
	head := append([]byte(answerMagic), byte(len(Suite)))
	head = append(head, Suite...)
	digest := model.Bytes()
	head = append(head, digest[:]...)
	head = binary.BigEndian.AppendUint32(head, uint32(len(absent)))
	bits := make([]byte, (len(absent)+7)/8)
	for i, a := range absent {
		if a {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return append(head, bits...)
}
