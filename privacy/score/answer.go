package score

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/tuneinsight/lattigo/v6/ring"

	"github.com/bund-exchange/bund/contracts"
)

// Score is one company's.
type Score struct {
	Value  int64 // exact, in the card's own fixed point; 0 when absent
	Absent bool  // the provider hasn't got the company
}

// Key opens the answers to one model. It holds the bank's secret key.
type Key struct {
	secret    ring.Poly // modulo Q0
	constant  int64
	low, high int64 // of the sum over the columns
}

// NewKey derives the key again from what the bank keeps.
func NewKey(card *Card, secret Secret) (*Key, error) {
	if err := errors.Join(card.Spec.Check(), card.Check()); err != nil {
		return nil, err
	}
	k := &Key{secret: derive(secret, card).secret}
	k.secret.Resize(0)
	_, k.constant = card.fold()
	k.low, k.high = card.span()
	return k, nil
}

// Open decrypts an answer to the model of this digest, for as many companies as were asked about.
func (k *Key) Open(answer []byte, model contracts.Hash, companies int) ([]Score, error) {
	absent, blocks, err := splitAnswer(answer, model)
	if err != nil {
		return nil, err
	}
	if len(absent) != companies {
		return nil, refuse(CodeAnswer, "scores of %d companies, asked for %d", len(absent), companies)
	}
	out := make([]Score, len(absent))
	for b := range (len(out) + Slots - 1) / Slots {
		slots, err := k.decrypt(blocks[b*2*polyBytes(0) : (b+1)*2*polyBytes(0)])
		if err != nil {
			return nil, err
		}
		for i, v := range slots {
			at := b*Slots + i
			empty := at >= len(out) || absent[at]
			// A slot that should be empty and isn't, or a sum that no features give, is another key's, or damage.
			if empty && v != 0 || v < k.low || v > k.high {
				return nil, refuse(CodeAnswer, "slot %d holds what the model can't give", at)
			}
			if at < len(out) {
				if out[at] = (Score{Absent: absent[at]}); !empty {
					out[at].Value = v + k.constant
				}
			}
		}
	}
	return out, nil
}

// decrypt gives the slots of a block, centred modulo T.
func (k *Key) decrypt(b []byte) ([]int64, error) {
	var c [2]ring.Poly
	for half := range c {
		p, err := readPoly(b[half*polyBytes(0):(half+1)*polyBytes(0)], 0)
		if err != nil {
			return nil, refuse(CodeAnswer, "%v", err)
		}
		c[half] = p
	}
	ring0.NTT(c[1], c[1])
	ring0.MulCoeffsMontgomery(c[1], k.secret, c[1])
	ring0.INTT(c[1], c[1])
	ring0.Add(c[0], c[1], c[0])
	ring0.MulScalar(c[0], T, c[0]) // m + t·E, divided by Q1·Q2
	return slotsOf(c[0].Coeffs[0]), nil
}

func slotsOf(z []uint64) []int64 {
	t := ringT.SubRings[0]
	m := make([]uint64, Slots)
	for i, v := range z {
		centred := int64(v) - q0&-int64((q0/2-v)>>63)
		r := centred % T
		m[i] = uint64(r) + T&uint64(r>>63)
	}
	t.MulScalarMontgomery(m, ring.MForm(unscale, T, t.BRedConstant), m)
	t.NTT(m, m)
	out := make([]int64, Slots)
	for i, v := range m {
		out[i] = int64(v) - T&-int64((MaxScore-v)>>63)
	}
	return out
}

// splitAnswer checks everything about an answer's form before anything is made of it.
func splitAnswer(b []byte, model contracts.Hash) (absent []bool, blocks []byte, err error) {
	empty := answerHead(model, nil)
	head := empty[:len(empty)-4]
	suiteEnd := len(head) - 32
	switch {
	case len(b) < len(empty) || string(b[:len(answerMagic)]) != answerMagic:
		return nil, nil, refuse(CodeAnswer, "not an answer")
	case string(b[:suiteEnd]) != string(head[:suiteEnd]):
		return nil, nil, refuse(CodeSuite, "not of the suite %s", Suite)
	case string(b[:len(head)]) != string(head):
		return nil, nil, refuse(CodeAnswer, "an answer to another model")
	}
	n := int64(binary.BigEndian.Uint32(b[len(head):]))
	bits, count := (n+7)/8, (n+Slots-1)/Slots
	if n == 0 || n > MaxBatch || int64(len(b)) != int64(len(empty))+bits+count*2*int64(polyBytes(0)) {
		return nil, nil, refuse(CodeAnswer, "%d bytes for %d companies", len(b), n)
	}
	mask := b[len(empty) : int64(len(empty))+bits]
	if n%8 != 0 && mask[bits-1]>>(n%8) != 0 {
		return nil, nil, refuse(CodeAnswer, "marks for companies past the end")
	}
	absent = make([]bool, n)
	for i := range absent {
		absent[i] = mask[i/8]>>(i%8)&1 == 1
	}
	return absent, b[int64(len(empty))+bits:], nil
}

// AnswerBytes is the size of an answer about n companies.
func AnswerBytes(n int) int {
	if n < 1 || n > MaxBatch {
		return math.MaxInt
	}
	return len(answerHead("", nil)) + (n+7)/8 + (n+Slots-1)/Slots*2*polyBytes(0)
}
