package stats

import (
	"errors"
	"fmt"
	"sort"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// Refusals of this package.
const (
	BadTask      contracts.Code = "stats.task"      // the task is none, or the message belongs to another
	BadForm      contracts.Code = "stats.form"      // a message is not in its one form
	BadValue     contracts.Code = "stats.value"     // a value is outside of what the task measures
	Replayed     contracts.Code = "stats.replayed"  // a report id that is known with other bytes, or from somebody else
	BadShare     contracts.Code = "stats.share"     // a share doesn't open, or not to a share of this task
	BadOrder     contracts.Code = "stats.order"     // a message out of its turn
	SmallBatch   contracts.Code = "stats.batch"     // too few reports, or of too few contributors
	Spoiled      contracts.Code = "stats.spoiled"   // the aggregators disagree about the batch: nobody gets it
	BadSum       contracts.Code = "stats.sum"       // the shares don't add up to what honest aggregators give
	WasCollected contracts.Code = "stats.collected" // another result of the batch was collected
)

func refuse(code contracts.Code, format string, args ...any) error {
	return &contracts.Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// The two aggregators, as they number their shares.
const (
	Leader = 0
	Helper = 1
)

// Task is one joint statistic, as everybody in it reads it from the ledger.
type Task struct {
	ID           contracts.ID
	Measure      contracts.Measure
	MinBatch     int64           // reports below which nothing is collected
	EpsilonMicro int64           // privacy loss of one batch's result, in millionths
	Aggregators  [2]contracts.ID // nodes
	Collector    contracts.ID    // member
}

// MaxBatch bounds the reports of one batch: sums stay far below what the fields hold.
const MaxBatch = 1 << 24

// Check reports a task that nobody can run.
func (t *Task) Check() error {
	if err := errors.Join(t.ID.Check(), t.Measure.Check(), t.Collector.Check(), t.Aggregators[0].Check(), t.Aggregators[1].Check()); err != nil {
		return refuse(BadTask, "%v", err)
	}
	switch {
	case t.Aggregators[0] == t.Aggregators[1]:
		return refuse(BadTask, "the aggregators are two")
	case t.MinBatch < 2 || t.MinBatch > MaxBatch:
		return refuse(BadTask, "minBatch is 2 to %d", MaxBatch)
	case t.EpsilonMicro < 1:
		return refuse(BadTask, "epsilonMicro is 1 at least")
	}
	return nil
}

// digest names all that a share was made for. A share of one task is none of another.
func (t *Task) digest() [32]byte {
	return contracts.HashOf("bund/stats/task/v1", canon.Marshal(struct {
		Aggregators  []contracts.ID    `json:"aggregators"`
		Collector    contracts.ID      `json:"collector"`
		EpsilonMicro int64             `json:"epsilonMicro"`
		ID           contracts.ID      `json:"id"`
		Measure      contracts.Measure `json:"measure"`
		MinBatch     int64             `json:"minBatch"`
	}{t.Aggregators[:], t.Collector, t.EpsilonMicro, t.ID, t.Measure, t.MinBatch})).Bytes()
}

// measurement turns a value into what is split: of a histogram the number of its bucket.
func (t *Task) measurement(value int64) (uint64, error) {
	switch {
	case t.Measure.Kind == "histogram":
		return uint64(sort.Search(len(t.Measure.Buckets), func(i int) bool { return t.Measure.Buckets[i] > value })), nil
	case t.Measure.Kind == "count" && value >= 0 && value <= 1, t.Measure.Kind == "sum" && value >= 0 && value <= t.Measure.Max:
		return uint64(value), nil
	}
	return 0, refuse(BadValue, "a value is outside of what the task measures") // which one is nobody's to log
}

// buckets is how many numbers a result has.
func (t *Task) buckets() int { return len(t.Measure.Buckets) + 1 }
