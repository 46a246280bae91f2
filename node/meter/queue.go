package meter

import (
	"sync"
	"time"

	"github.com/transparency-dev/merkle/compact"

	"github.com/bund-exchange/bund/contracts"
)

type jobKind uint8

const (
	jobCall jobKind = iota
	jobVoid
	jobClose
	jobAck
	jobOpen  // adopt a log
	jobEpoch // begin the next epoch
)

// job is one thing that the sequencer makes durable. Its maker reads the results after done is closed.
type job struct {
	log  *Log
	kind jobKind
	done chan struct{}

	// jobCall: the request, what it reserved, and what was answered.
	id       RequestID
	holds    bool // a reservation
	reserved contracts.MicroYuan
	units    int64 // asked for
	digest   Digest
	epoch    int64
	result   Result
	answered Digest  // of the answer's bytes
	sealer   *sealer // of the epoch
	sealed   []byte
	buf      *[]byte // under sealed

	ref     int64    // jobVoid: seq; jobClose: number of the period; jobEpoch: the new epoch
	opening *opening // jobOpen

	ack *Signed
	rng *compact.Range // at the ack's size, recomputed by this side

	leaf Leaf // what was written
	raw  []byte
	head []byte // encoded signed head that covers it
	err  error
}

type opening struct {
	agreement [16]byte
	schedule  Schedule
	backend   Backend
}

// jobQueue hands everything that has come since the last group to the sequencer at once.
type jobQueue struct {
	mu     sync.Mutex
	jobs   []*job
	closed bool
	wake   chan struct{} // holds one token when there are jobs again, or no more
}

// put reports false when the queue is closed.
func (q *jobQueue) put(j *job) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.jobs = append(q.jobs, j)
	first := len(q.jobs) == 1
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return true
}

// gather lets a group grow behind a crowd, until as many have come as the last two groups answered, or nobody for a
// quarter of wait, and no longer than wait: numbering, signing, verifying and syncing cost about the same for one leaf as
// for sixty. A lone caller never waits.
func (q *jobQueue) gather(wait time.Duration, last, before int) {
	if wait <= 0 || last < crowd {
		return
	}
	step, seen := wait/4, 0
	for waited := time.Duration(0); waited < wait; waited += step {
		q.mu.Lock()
		n, closed := len(q.jobs), q.closed
		q.mu.Unlock()
		if closed || n == seen || n >= min(last+before, maxGroupJobs) {
			return
		}
		seen = n
		time.Sleep(step)
	}
}

// crowd is the size of a group from which on the next one waits for company.
const crowd = 4

func (q *jobQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take gives the queued jobs, using reuse for the next ones, and whether more may come.
func (q *jobQueue) take(reuse []*job) (jobs []*job, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs, q.jobs = q.jobs, reuse[:0]
	return jobs, !q.closed
}

func (q *jobQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}
