package stats

import (
	"fmt"

	"github.com/cloudflare/circl/vdaf/prio3/count"
	"github.com/cloudflare/circl/vdaf/prio3/histogram"
	"github.com/cloudflare/circl/vdaf/prio3/sum"
)

// The types that all kinds share, whichever of circl's packages names them.
type (
	nonce       = count.Nonce
	publicShare = count.PublicShare
	verifyKey   = count.VerifyKey
	prepMessage = count.PrepMessage
)

// scheme is Prio3 for one task, bytes in and out. What it is given is decoded strictly: circl takes the field's elements
// in their one encoding and nothing behind them.
type scheme struct {
	size  sizes
	shard func(measurement uint64, id *nonce, random []byte) (public []byte, inputs [2][]byte, err error)
	// begin checks one input share as far as one aggregator can, and makes the share of its proof.
	begin   func(verify *verifyKey, id *nonce, role uint8, public, input []byte) (*preparation, error)
	total   func(share []byte) (*total, error) // nil begins at zero
	unshard func(shares [2][]byte, reports uint) ([]uint64, error)
}

// preparation is one report on its way into a total.
type preparation struct {
	own []byte // prep share for the other aggregator
	// finish decides with the other's prep share whether the report is valid. Each aggregator decides from both shares
	// itself: neither takes the other's word, which PrepNext alone would.
	finish func(other []byte) (output any, err error)
}

// total is one aggregator's share of a batch's sum.
type total struct {
	add   func(output any)
	bytes func() ([]byte, error)
}

// sizes of encodings in bytes; those of a kind are always the same.
type sizes struct {
	random, public, prep, total int
	input                       [2]int
}

// newScheme gives a task's scheme. Its context is the task's digest, so that Prio3 itself tells tasks apart.
func newScheme(t *Task) (*scheme, error) {
	d := t.digest()
	switch t.Measure.Kind {
	case "count":
		return newCount(d[:])
	case "sum":
		return newSum(uint64(t.Measure.Max), d[:])
	case "histogram":
		n := uint(t.buckets())
		return newHistogram(n, chunkLength(n), d[:])
	}
	return nil, refuse(BadTask, "unknown kind")
}

// chunkLength is the smallest power of two not below the root of length: 16 for 100 buckets, where it was measured to be
// quicker than the root itself.
func chunkLength(length uint) uint {
	c := uint(1)
	for c*c < length {
		c *= 2
	}
	return c
}

func newCount(context []byte) (*scheme, error) {
	p, err := count.New(2, context)
	if err != nil {
		return nil, fmt.Errorf("couldn't set up Prio3: %w", err)
	}
	encode := func(m uint64) (bool, error) {
		if m > 1 {
			return false, refuse(BadValue, "a count's value is 0 or 1")
		}
		return m == 1, nil
	}
	return adapt(p, p.Params(), encode, func(a uint64) []uint64 { return []uint64{a} })
}

func newSum(most uint64, context []byte) (*scheme, error) {
	p, err := sum.New(2, most, context)
	if err != nil {
		return nil, fmt.Errorf("couldn't set up Prio3: %w", err)
	}
	return adapt(p, p.Params(), same, func(a uint64) []uint64 { return []uint64{a} })
}

func newHistogram(length, chunk uint, context []byte) (*scheme, error) {
	p, err := histogram.New(2, length, chunk, context)
	if err != nil {
		return nil, fmt.Errorf("couldn't set up Prio3: %w", err)
	}
	return adapt(p, p.Params(), same, func(a []uint64) []uint64 { return a })
}

func same(m uint64) (uint64, error) { return m, nil }
