package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/privacy/stats"
)

// aggregating is one task in which this node aggregates.
type aggregating struct {
	id    contracts.ID
	task  *stats.Task
	role  int
	agg   *stats.Aggregator
	ready bool // the verify key is known: at the helper after the leader has sent it

	turn sync.Mutex // one exchange between leader and helper at a time
}

// verifyRecord is where an aggregator's store has the verify key. Prio3's own records begin otherwise.
const verifyRecord = "verify key"

// aggregating gives a task's aggregator, opened on what its store holds.
func (s *statistics) aggregating(id contracts.ID, t *contracts.StatisticsTask) (*aggregating, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.tasks[id]; x != nil && x.ready {
		return x, nil
	}
	if s.n.keys.HPKE == nil {
		return nil, &contracts.Refusal{Code: hpkeMissing, Detail: "the aggregator has no HPKE key"}
	}
	x := &aggregating{id: id, task: taskOf(id, t), role: s.role(t)}
	store := s.store.of(bucketAggregator, id)
	b, err := store.get(verifyRecord)
	if err != nil {
		return nil, err
	}
	var verify [32]byte
	switch {
	case len(b) == len(verify):
		verify, x.ready = [32]byte(b), true
	case x.role == stats.Leader:
		rand.Read(verify[:])
		if err := store.put(verifyRecord, verify[:]); err != nil {
			return nil, err
		}
		x.ready = true
	default:
		rand.Read(verify[:]) // takes reports until the leader has sent the one to prepare them with
	}
	if x.agg, err = stats.OpenAggregator(x.task, x.role, verify, s.n.keys.HPKE, store); err != nil {
		return nil, err
	}
	s.tasks[id] = x
	return x, nil
}

// serveKey tells which HPKE key halves for this node are sealed to. The ledger says whose it is.
func (s *statistics) serveKey(context.Context, contracts.ID, *contracts.StatisticsTask, peer.Identity, []byte) ([]byte, error) {
	if s.n.keys.HPKE == nil {
		return nil, &contracts.Refusal{Code: hpkeMissing, Detail: "the aggregator has no HPKE key"}
	}
	return canon.Marshal(recipient{s.n.keys.HPKE.ID()}), nil
}

// received is what became of an upload.
type received struct {
	Known int64 `json:"known"`
	New   int64 `json:"new"`
}

func (s *statistics) serveReports(ctx context.Context, id contracts.ID, t *contracts.StatisticsTask, who peer.Identity, upload []byte) ([]byte, error) {
	x, err := s.aggregating(id, t)
	if err != nil {
		return nil, err
	}
	got, err := x.agg.Receive(who.Member, upload)
	if err != nil {
		return nil, err
	}
	s.n.log.InfoContext(ctx, "took reports", "task", id, "from", who.Member, "new", got.New, "known", got.Known)
	if x.role == stats.Leader && got.New > 0 {
		s.runs.Go(func() { s.prepareSoon(x, t) })
	}
	return canon.Marshal(received{int64(got.Known), int64(got.New)}), nil
}

// prepareSoon prepares beside the uploads. What fails is tried again with the next upload or when the batch is closed.
func (s *statistics) prepareSoon(x *aggregating, t *contracts.StatisticsTask) {
	if !x.turn.TryLock() {
		return // somebody does
	}
	defer x.turn.Unlock()
	err := s.prepare(s.ctx, x, t)
	var no *contracts.Refusal
	if err != nil && s.ctx.Err() == nil && !(errors.As(err, &no) && no.Code == stats.BadOrder) {
		s.n.log.WarnContext(s.ctx, "couldn't prepare reports with the other aggregator", "task", x.id, "err", err)
	}
}

// prepare has the helper prepare what waits, until it lacks its halves of all that is left. Whoever calls has the turn.
func (s *statistics) prepare(ctx context.Context, x *aggregating, t *contracts.StatisticsTask) error {
	const reports = 1000 // of one job, some 70 ms for either side
	said := false
	for missing := int64(0); ; {
		job, err := x.agg.Begin(reports)
		if err != nil || job == nil {
			return err
		}
		if !said {
			if err := s.sayVerifyKey(ctx, x, t); err != nil {
				return err
			}
			said = true
		}
		a, err := s.tell(ctx, t.Aggregators[stats.Helper], x.id, "POST", "job", job)
		if err != nil {
			return err
		}
		f, err := x.agg.Finish(a)
		if err != nil {
			return err
		}
		s.n.log.InfoContext(ctx, "prepared reports", "task", x.id, "counted", f.Counted, "refused", f.Refused, "missing", f.Missing)
		if missing += int64(f.Missing); f.Counted+f.Refused > 0 {
			missing = 0
		}
		if p, err := x.agg.Progress(); err != nil || missing >= p.Waiting {
			return err
		}
	}
}

// sayVerifyKey makes sure that the helper has the task's verify key.
func (s *statistics) sayVerifyKey(ctx context.Context, x *aggregating, t *contracts.StatisticsTask) error {
	verify, err := s.store.of(bucketAggregator, x.id).get(verifyRecord)
	if err != nil {
		return err
	}
	helper, err := s.aggregatorKey(ctx, x.id, t.Aggregators[stats.Helper])
	if err != nil {
		return err
	}
	sealed, err := stats.SealVerifyKey(x.task, helper, [32]byte(verify))
	if err != nil {
		return err
	}
	_, err = s.tell(ctx, t.Aggregators[stats.Helper], x.id, "POST", "verify-key", sealed)
	return err
}

// aggregatorKey asks an aggregator's node which key it opens with, and takes it if the ledger holds it for its member.
func (s *statistics) aggregatorKey(ctx context.Context, task, node contracts.ID) (contracts.PublicKey, error) {
	x, err := s.nodeOnLedger(node)
	if err != nil {
		return "", err
	}
	b, err := s.tell(ctx, node, task, "GET", "key", nil)
	if err != nil {
		return "", err
	}
	var k recipient
	if err := canon.Unmarshal(b, &k); err != nil {
		return "", fmt.Errorf("couldn't read the aggregator's answer: %w", err)
	}
	return s.n.hpkeKey(k.Key, x.Member)
}

// fromLeader refuses messages that only the leader sends.
func (s *statistics) fromLeader(t *contracts.StatisticsTask, who peer.Identity) error {
	if who.Node != t.Aggregators[stats.Leader] || s.role(t) != stats.Helper {
		return &contracts.Refusal{Code: stats.BadOrder, Detail: "the leader tells the helper"}
	}
	return nil
}

func (s *statistics) serveVerifyKey(_ context.Context, id contracts.ID, t *contracts.StatisticsTask, who peer.Identity, sealed []byte) ([]byte, error) {
	if err := s.fromLeader(t, who); err != nil {
		return nil, err
	}
	x, err := s.aggregating(id, t)
	if err != nil {
		return nil, err
	}
	verify, err := stats.OpenVerifyKey(x.task, s.n.keys.HPKE, sealed)
	if err != nil {
		return nil, err
	}
	store := s.store.of(bucketAggregator, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch have, err := store.get(verifyRecord); {
	case err != nil:
		return nil, err
	case have != nil && [32]byte(have) != verify:
		return nil, &contracts.Refusal{Code: stats.BadOrder, Detail: "the task has another verify key: reports were prepared with it"}
	case have == nil:
		if err := store.put(verifyRecord, verify[:]); err != nil {
			return nil, err
		}
		delete(s.tasks, id) // opened again with it
	}
	return nil, nil
}

func (s *statistics) serveJob(_ context.Context, id contracts.ID, t *contracts.StatisticsTask, who peer.Identity, job []byte) ([]byte, error) {
	x, err := s.helping(id, t, who)
	if err != nil {
		return nil, err
	}
	return x.agg.Answer(job)
}

func (s *statistics) serveOrder(ctx context.Context, id contracts.ID, t *contracts.StatisticsTask, who peer.Identity, order []byte) ([]byte, error) {
	x, err := s.helping(id, t, who)
	if err != nil {
		return nil, err
	}
	a, err := x.agg.CloseAsOrdered(order)
	if err == nil {
		s.n.log.InfoContext(ctx, "closed a batch", "task", id)
	}
	return a, err
}

// helping gives the helper's side of a task, once it can prepare.
func (s *statistics) helping(id contracts.ID, t *contracts.StatisticsTask, who peer.Identity) (*aggregating, error) {
	if err := s.fromLeader(t, who); err != nil {
		return nil, err
	}
	x, err := s.aggregating(id, t)
	if err == nil && !x.ready {
		err = &contracts.Refusal{Code: stats.BadOrder, Detail: "the leader has sent no verify key yet"}
	}
	return x, err
}

// wanted is what a collector asks for.
type wanted struct {
	Batch int64        `json:"batch"`
	Key   contracts.ID `json:"key,omitempty"` // its HPKE key on the ledger, with a share
}

func readWanted(b []byte) (q wanted, err error) {
	if err := canon.Unmarshal(b, &q); err != nil || q.Batch < 1 {
		return q, &contracts.Refusal{Code: stats.BadForm, Detail: "want a batch from 1"}
	}
	return q, nil
}

// serveClose is the leader's: it prepares what waits and closes the batch with the helper. A batch that was closed
// before stays as it is.
func (s *statistics) serveClose(ctx context.Context, id contracts.ID, t *contracts.StatisticsTask, _ peer.Identity, body []byte) ([]byte, error) {
	q, err := readWanted(body)
	if err != nil {
		return nil, err
	}
	x, err := s.aggregating(id, t)
	if err != nil {
		return nil, err
	}
	if x.role != stats.Leader {
		return nil, &contracts.Refusal{Code: stats.BadOrder, Detail: "the leader closes"}
	}
	x.turn.Lock()
	defer x.turn.Unlock()
	p, err := x.agg.Progress()
	if err != nil || q.Batch < p.Batch {
		return nil, err
	}
	if q.Batch > p.Batch {
		return nil, &contracts.Refusal{Code: stats.BadOrder, Detail: fmt.Sprintf("batch %d takes reports", p.Batch)}
	}
	var no *contracts.Refusal
	if err := s.prepare(ctx, x, t); err != nil && !(errors.As(err, &no) && no.Code == stats.BadOrder) { // a close is under way
		return nil, err
	}
	order, err := x.agg.Close()
	if err != nil {
		return nil, err
	}
	a, err := s.tell(ctx, t.Aggregators[stats.Helper], id, "POST", "order", order)
	if err != nil {
		return nil, err
	}
	if _, err := x.agg.Closed(a); err != nil {
		return nil, err
	}
	s.n.log.InfoContext(ctx, "closed a batch", "task", id, "batch", q.Batch)
	return nil, nil
}

// serveShare seals this aggregator's share of a closed batch to the collector.
func (s *statistics) serveShare(_ context.Context, id contracts.ID, t *contracts.StatisticsTask, _ peer.Identity, body []byte) ([]byte, error) {
	q, err := readWanted(body)
	if err != nil {
		return nil, err
	}
	key, err := s.n.hpkeKey(q.Key, t.Collector)
	if err != nil {
		return nil, err
	}
	x, err := s.aggregating(id, t)
	if err != nil {
		return nil, err
	}
	return x.agg.Share(q.Batch, key)
}
