package meter

import (
	"context"
	"fmt"
	"sync"

	"github.com/transparency-dev/merkle/compact"

	"github.com/bund-exchange/bund/contracts"
)

// Call is one request as it arrived.
type Call struct {
	ID    RequestID
	Epoch int64 // of the log that the consumer is in
	Body  []byte

	// Units is how many units the request asks for: one, unless Admit reads more from the body. A request after 100
	// companies asks for 100.
	Units int64
}

// Result is what the node found out for a call. Its body goes to the consumer as it is.
type Result struct {
	Body     []byte
	Outcome  Outcome
	AsOf     contracts.Millis
	KnownAt  contracts.Millis
	Snapshot Digest

	// Before, when set, makes durable what must not be forgotten once the answer has left. The writer of all logs runs it
	// before the leaf gets its place, for the calls of a group one after another, so that the first can do it for all.
	// After an error the call fails and there is no leaf of it.
	Before func() error
}

// Answer is a result with its receipt.
type Answer struct {
	Body    []byte
	Receipt Receipt
}

// Backend is what the node does about a call. Both are called from many goroutines.
type Backend struct {
	// Admit says whether the call may be made now, and sets its Units. It is asked before anything is reserved.
	Admit func(context.Context, *Call) *Refusal

	// Execute runs an admitted call once. Its context isn't cancelled when the caller goes away, since the answer can
	// still be asked for: Execute bounds its own time. An error that is a *Refusal is handed to the consumer, any
	// other is a failure and is logged, so it holds no private value; neither is billed or leaves a leaf.
	Execute func(context.Context, *Call) (Result, error)
}

// Log is one agreement's receipt log at its provider.
type Log struct {
	p         *Provider
	agreement [16]byte

	// The sequencer's own: the log with everything that is staged.
	rng      *compact.Range
	next     int64 // size
	acked    int64
	sum      contracts.Totals
	lastTime contracts.Millis
	marks    marks
	schedule Schedule
	rules    Terms // in force for the next leaf
	barred   bool  // behind a CLOSE that changes the price, until it is acknowledged
	draft    draft
	stateAt  *segment // that holds the last state record

	mu       sync.Mutex
	open     bool // terms and backend are set
	closing  bool // as barred
	terms    Terms
	backend  Backend
	sealer   *sealer   // of this epoch
	state    *logState // replaced, never changed
	tail     []entry   // leaves from the acknowledged size on
	totals   contracts.Totals
	head     []byte // encoded, signed; covers all of tail
	flat     *leafFile
	inflight map[Nonce]*job
	ids      *idIndex
	resCalls int64 // reserved, not yet a leaf: a crash forgets reservations, never leaves
	resUnits int64
	resMicro contracts.MicroYuan

	// tamper is what a dishonest provider would write instead; set by tests.
	tamper func(*Leaf)
}

// entry is a leaf that is not acknowledged, and where its sealed answer is.
type entry struct {
	raw, hash []byte
	seg       *segment
	off       int64
	n         int // 0: no answer
}

// LogState is where a log stands.
type LogState struct {
	Epoch       int64            `json:"epoch"`
	Size        int64            `json:"size"`
	Acked       int64            `json:"acked"`
	Totals      contracts.Totals `json:"totals"`
	AckedTotals contracts.Totals `json:"ackedTotals"`
	Fence       int64            `json:"fence"`
}

// State gives where the log stands.
func (l *Log) State() LogState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LogState{Epoch: l.state.epoch, Size: l.sizeLocked(), Acked: l.state.ackedSize(), Totals: l.totals, AckedTotals: l.state.ackedTotals(),
		Fence: l.p.cfg.Fence}
}

func (l *Log) sizeLocked() int64 { return l.state.ackedSize() + int64(len(l.tail)) }

func (l *Log) refuseLocked(code contracts.Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...), Epoch: l.state.epoch, Size: l.sizeLocked(), Acked: l.state.ackedSize()}
}

func (l *Log) refuse(code contracts.Code, format string, args ...any) *Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refuseLocked(code, format, args...)
}

// Amend takes terms that differ in funds, window or quota only: a top-up, an amended grant. The price changes at a
// CLOSE and the keys with an epoch, both by the schedule.
func (l *Log) Amend(t Terms) error {
	if err := t.Check(); err != nil {
		return fmt.Errorf("couldn't amend receipt log: terms: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.terms.fundsOnly(&t) {
		return fmt.Errorf("couldn't amend receipt log: price, keys or times differ")
	}
	l.terms = t
	return nil
}

// Leaf gives an encoded leaf of this epoch.
func (l *Log) Leaf(seq int64) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leafLocked(seq)
}

func (l *Log) leafLocked(seq int64) ([]byte, error) {
	acked := l.state.ackedSize()
	switch {
	case seq < 0 || seq >= l.sizeLocked():
		return nil, fmt.Errorf("couldn't read leaf %d: the log has %d", seq, l.sizeLocked())
	case seq >= acked:
		return l.tail[seq-acked].raw, nil
	}
	return l.flat.read(seq)
}

// Leaves gives up to limit leaves from a place on, one after another, and the signed head that covers them. It needs
// no window and no request id: it is how a consumer closes its gaps and gets back what it forgot.
func (l *Log) Leaves(epoch, from int64, limit int) (leaves, head []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.state.epoch {
		return nil, nil, l.p.standing(l.refuseLocked(EpochMismatch, "the log is in another epoch"))
	}
	for size := l.sizeLocked(); from >= 0 && from < size && limit > 0; from, limit = from+1, limit-1 {
		raw, err := l.leafLocked(from)
		if err != nil {
			return nil, nil, err
		}
		leaves = append(leaves, raw...)
	}
	return leaves, l.head, nil
}

// AnswerAt gives the answer of a leaf that is not acknowledged, at no charge, outside the window.
func (l *Log) AnswerAt(epoch, seq int64) (*Answer, error) {
	a, err := l.answerAt(epoch, seq)
	return a, l.p.standing(err)
}

func (l *Log) answerAt(epoch, seq int64) (*Answer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case epoch != l.state.epoch:
		return nil, l.refuseLocked(EpochMismatch, "the log is in another epoch")
	case seq < 0 || seq >= l.sizeLocked():
		return nil, l.refuseLocked(NoAnswer, "no such leaf")
	case seq < l.state.ackedSize():
		return nil, l.refuseLocked(AlreadyAcknowledged, "the answer was acknowledged")
	}
	return l.answerLocked(seq)
}

func (l *Log) answerLocked(seq int64) (*Answer, error) {
	e := &l.tail[seq-l.state.ackedSize()]
	if e.n == 0 {
		return nil, l.refuseLocked(NoAnswer, "no answer belongs to this leaf")
	}
	leaf, err := DecodeLeaf(e.raw)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, e.n)
	if _, err := e.seg.file.ReadAt(sealed, e.off); err != nil {
		return nil, fmt.Errorf("couldn't read answer: %w", err)
	}
	body, err := l.sealer.open(sealed, leaf.Request[:])
	if err != nil {
		return nil, err
	}
	return &Answer{Body: body, Receipt: Receipt{Leaf: e.raw, Head: l.head}}, nil
}

func (l *Log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flat.file.Close()
}
