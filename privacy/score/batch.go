package score

import (
	"github.com/tuneinsight/lattigo/v6/ring"

	"github.com/bund-exchange/bund/contracts"
)

// MaxBatch is how many companies a batch may have: an answer of 32 blocks is 3.4 MB.
const MaxBatch = 32 * Slots

// Batch is the provider's features of a list of companies, encoded once and good for every model over the same
// specification. It never leaves the provider, and is read only once it is made.
type Batch struct {
	Companies []string // in the order asked
	Absent    []bool   // no features here: its slot holds zeros
	spec      contracts.Hash
	blocks    [][]ring.Poly // by block of Slots companies and by column, transformed and in Montgomery form
}

// PrepareFeatures packs rows (Spec.Encode) in the order of companies; a nil row is a company that the provider hasn't
// got. Slots of absent companies and slots past the end hold zeros, so that they score zero whatever the weights.
//
// A company that is there twice is refused: under one count it would be scored, and its noise drawn, twice.
func PrepareFeatures(spec *Spec, companies []string, rows [][]int64) (*Batch, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	if len(companies) == 0 || len(companies) > MaxBatch || len(rows) != len(companies) {
		return nil, refuse(CodeArity, "%d companies and %d rows, want as many of both, 1 to %d", len(companies), len(rows), MaxBatch)
	}
	b := &Batch{Companies: companies, Absent: make([]bool, len(rows)), spec: spec.Digest()}
	seen := make(map[string]struct{}, len(companies))
	for i, c := range companies {
		if _, twice := seen[c]; twice {
			return nil, refuse(CodeRepeat, "company %d of the batch is there twice", i)
		}
		seen[c] = struct{}{}
		b.Absent[i] = rows[i] == nil
	}
	bounds := spec.bounds()
	for i, row := range rows {
		if row == nil {
			continue
		}
		if len(row) != len(bounds) {
			return nil, refuse(CodeArity, "company %d has %d columns, want %d", i, len(row), len(bounds))
		}
		for j, v := range row {
			if v < 0 || v > bounds[j] {
				return nil, refuse(CodeValue, "company %d, column %d is out of range", i, j)
			}
		}
	}
	slots := make([]uint64, Slots)
	for at := 0; at < len(rows); at += Slots {
		part := rows[at:min(at+Slots, len(rows))]
		block := make([]ring.Poly, len(bounds))
		for j := range block {
			clear(slots) // of the column before
			for k, row := range part {
				if row != nil {
					slots[k] = uint64(row[j])
				}
			}
			block[j] = encode(slots)
		}
		b.blocks = append(b.blocks, block)
	}
	return b, nil
}

func (s *Spec) bounds() []int64 {
	var out []int64
	for i := range s.Features {
		for c := range s.Features[i].columns() {
			out = append(out, s.Features[i].bound(c))
		}
	}
	return out
}

// encode packs values modulo T into a polynomial with centred coefficients: halves of T keep the noise down.
func encode(slots []uint64) ring.Poly {
	c, p := make([]uint64, Slots), ringQ.NewPoly()
	ringT.SubRings[0].INTT(slots, c)
	signed := make([]int64, Slots)
	for k, v := range c {
		signed[k] = int64(v) - T&-int64((MaxScore-v)>>63)
	}
	lift(signed, p)
	ringQ.NTT(p, p)
	ringQ.MForm(p, p)
	return p
}
