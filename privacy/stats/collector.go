package stats

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/google/differential-privacy/go/v3/noise"

	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// Collector adds up the aggregators' shares and lets out the sum with noise.
type Collector struct {
	Task *Task
	Key  *envelope.Key
	// Store keeps results: a batch gives one, and asking again gives it again with the same noise.
	Store Store
	// Debit takes the result's privacy loss, in millionths of epsilon, from a budget, durably before it returns nil, and
	// once for each batch however often it is asked. A *contracts.Refusal says that the budget is spent.
	Debit func(batch, epsilonMicro int64) error

	mu sync.Mutex
}

// Result is what leaves the collector, in canonical JSON.
type Result struct {
	Batch        int64   `json:"batch"`
	EpsilonMicro int64   `json:"epsilonMicro"`
	Margin95     int64   `json:"margin95"` // with 95 % probability each value is this close to the sum that was shared
	Reports      int64   `json:"reports"`  // exact, and no secret
	Values       []int64 `json:"values"`   // with noise: of a histogram one for each bucket, which may be below zero
}

// EncodeResult gives a result's one form.
func EncodeResult(r Result) []byte { return canon.Marshal(r) }

// DecodeResult reads exactly what EncodeResult writes.
func DecodeResult(b []byte) (r Result, err error) {
	if err := canon.Unmarshal(b, &r); err != nil {
		return Result{}, refuse(BadForm, "the result: %v", err)
	}
	return r, nil
}

// opened is an aggregate share.
type opened struct {
	batch int64
	role  int
	census
	total []byte
}

func (c *Collector) open(b []byte) (o opened, err error) {
	n, zero, rest, err := readHeader(b, shareMessage, c.Task.digest())
	if err != nil {
		return o, err
	}
	const fixed = 1 + censusBytes
	if zero != 0 || len(rest) < fixed || rest[0] > Helper {
		return o, refuse(BadForm, "an aggregate share holds role, count, digest and total")
	}
	o = opened{batch: n, role: int(rest[0]), census: readCensus(rest[1:])}
	if o.total, err = c.Key.OpenMessage(shareInfo(o.role), b[:headerBytes+fixed], rest[fixed:]); err != nil {
		return o, refuse(BadShare, "an aggregate share was altered, or is not sealed to this collector")
	}
	return o, nil
}

const resultRecord recordKind = 'x'

// Collect makes a batch's result of both aggregators' shares, in any order. What it can tell of a lying aggregator it
// refuses: shares of different batches or sets of reports, sums that no reports give. A total that was shifted within
// what reports could give is not detectable; see the package's doc.
func (c *Collector) Collect(share, other []byte) (Result, error) {
	var os [2]opened
	for i, b := range [][]byte{share, other} {
		o, err := c.open(b)
		if err != nil {
			return Result{}, err
		}
		if i == 1 && o.role == os[0].role {
			return Result{}, refuse(BadShare, "both shares are one aggregator's")
		}
		os[i] = o
	}
	if os[0].role == Helper {
		os[0], os[1] = os[1], os[0]
	}
	l, h := os[Leader], os[Helper]
	switch {
	case l.batch != h.batch:
		return Result{}, refuse(BadShare, "the shares are of two batches")
	case l.census != h.census:
		return Result{}, refuse(Spoiled, "the aggregators count different reports in batch %d", l.batch)
	case l.count < c.Task.MinBatch || l.count > MaxBatch:
		return Result{}, refuse(SmallBatch, "the batch has %d reports of at least %d", l.count, c.Task.MinBatch)
	}
	sums, err := c.sums([2][]byte{l.total, h.total}, l.count)
	if err != nil {
		return Result{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.release(l.batch, l.count, sha256.Sum256(append(append(l.total[:len(l.total):len(l.total)], h.total...), l.set[:]...)), sums)
}

// sums adds up and checks what holds of every honest sum.
func (c *Collector) sums(totals [2][]byte, count int64) ([]int64, error) {
	s, err := newScheme(c.Task)
	if err != nil {
		return nil, err
	}
	us, err := s.unshard(totals, uint(count))
	if err != nil {
		return nil, err
	}
	most, all := uint64(count), uint64(0)
	if c.Task.Measure.Kind == "sum" {
		most *= uint64(c.Task.Measure.Max)
	}
	sums := make([]int64, len(us))
	for i, u := range us {
		if u > most {
			return nil, refuse(BadSum, "a sum is larger than any that %d reports give: an aggregator altered its share", count)
		}
		sums[i], all = int64(u), all+u
	}
	if c.Task.Measure.Kind == "histogram" && all != uint64(count) {
		return nil, refuse(BadSum, "the buckets don't hold %d reports: an aggregator altered its share", count)
	}
	return sums, nil
}

// release debits, adds noise and keeps the result. Nothing leaves before it is kept, so that there is one noise.
func (c *Collector) release(n, count int64, digest [sha256.Size]byte, sums []int64) (r Result, err error) {
	key := record(resultRecord, number(n))
	var kept []byte
	if err := c.Store.View(func(tx Tx) error {
		kept = append(kept, tx.Get(key)...)
		return nil
	}); err != nil {
		return r, err
	}
	if kept != nil {
		if len(kept) < len(digest) || [sha256.Size]byte(kept[:len(digest)]) != digest {
			return r, refuse(WasCollected, "batch %d was collected with other shares", n)
		}
		return DecodeResult(kept[len(digest):])
	}
	if err := c.Debit(n, c.Task.EpsilonMicro); err != nil {
		return r, err
	}
	r = Result{Batch: n, EpsilonMicro: c.Task.EpsilonMicro, Reports: count}
	if r.Values, r.Margin95, err = c.noisy(sums); err != nil {
		return Result{}, err
	}
	if err := c.Store.Update(func(tx Tx) error { return tx.Put(key, append(digest[:], EncodeResult(r)...)) }); err != nil {
		return Result{}, fmt.Errorf("couldn't keep result: %w", err)
	}
	return r, nil
}

// sensitivity is by how much one report can move a result. The number of reports is known, so two neighbours differ in
// one report's value, not in one report more: in a histogram two buckets move by one.
func (t *Task) sensitivity() (buckets, each int64) {
	switch t.Measure.Kind {
	case "histogram":
		return 2, 1
	case "sum":
		return 1, t.Measure.Max
	}
	return 1, 1
}

// noisy adds Laplace noise by the library, whose sampling is secure against the artefacts of floating point.
func (c *Collector) noisy(sums []int64) (values []int64, margin int64, err error) {
	l0, lInf := c.Task.sensitivity()
	epsilon := float64(c.Task.EpsilonMicro) / 1e6
	for _, s := range sums {
		v, err := noise.Laplace().AddNoiseInt64(s, l0, lInf, epsilon, 0)
		if err != nil {
			return nil, 0, fmt.Errorf("couldn't add noise: %w", err)
		}
		values = append(values, v)
	}
	i, err := noise.Laplace().ComputeConfidenceIntervalInt64(0, l0, lInf, epsilon, 0, 0.05)
	if err != nil {
		return nil, 0, fmt.Errorf("couldn't compute margin: %w", err)
	}
	return values, int64(i.UpperBound), nil
}

// Result gives a batch's result, if it was collected.
func (c *Collector) Result(n int64) (r Result, known bool, err error) {
	var kept []byte
	if err := c.Store.View(func(tx Tx) error {
		kept = append(kept, tx.Get(record(resultRecord, number(n)))...)
		return nil
	}); err != nil || kept == nil {
		return r, false, err
	}
	if len(kept) < sha256.Size {
		return r, false, errDamaged(resultRecord)
	}
	r, err = DecodeResult(kept[sha256.Size:])
	return r, err == nil, err
}
