package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/vault"
	"github.com/bund-exchange/bund/privacy/stats"
)

// statBudget is the refusal of a result that would cost more than what is left.
const statBudget contracts.Code = "statistics.budget"

// The collector's records in its store, beside the protocol's results.
const (
	nextRecord  = "next"   // the batch that is collected next
	spentRecord = "spent"  // privacy loss of all results, in millionths
	debitRecord = "debit/" // batch → its privacy loss
)

// collector gives the collector's side of a task.
func (s *statistics) collector(id contracts.ID, t *contracts.StatisticsTask) *stats.Collector {
	store := s.store.of(bucketCollector, id)
	return &stats.Collector{Task: taskOf(id, t), Key: s.n.keys.HPKE, Store: store, Debit: func(batch, epsilonMicro int64) error {
		return store.Update(func(tx stats.Tx) error {
			key := fmt.Appendf(nil, "%s%d", debitRecord, batch)
			if tx.Get(key) != nil {
				return nil
			}
			spent := number(tx.Get([]byte(spentRecord)))
			if spent+epsilonMicro > s.n.cfg.StatisticsEpsilonMicro {
				return &contracts.Refusal{Code: statBudget, Detail: "the task's privacy budget at this node is spent"}
			}
			return errors.Join(tx.Put([]byte(spentRecord), numberBytes(spent+epsilonMicro)), tx.Put(key, numberBytes(epsilonMicro)))
		})
	}}
}

func number(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

func numberBytes(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// collect has the aggregators close the next batch, and makes its result. Where it was interrupted it goes on; a batch
// that the aggregators spoiled is left behind.
func (s *statistics) collect(ctx context.Context, id contracts.ID) (r stats.Result, err error) {
	t, err := s.takesPart(ctx, id, "collector")
	if err != nil {
		return r, err
	}
	if s.n.keys.HPKE == nil {
		return r, &contracts.Refusal{Code: hpkeMissing, Detail: "this node has no HPKE key: make one by datanode keygen and add it to the member"}
	}
	store := s.store.of(bucketCollector, id)
	b, err := store.get(nextRecord)
	if err != nil {
		return r, err
	}
	batch := max(1, number(b))
	_, err = s.tell(ctx, t.Aggregators[stats.Leader], id, "POST", "close", canon.Marshal(wanted{Batch: batch}))
	var no *contracts.Refusal
	spoiled := errors.As(err, &no) && no.Code == stats.Spoiled
	if err != nil && !spoiled {
		return r, err
	}
	if !spoiled {
		r, err = s.gather(ctx, id, t, batch)
		spoiled = errors.As(err, &no) && no.Code == stats.Spoiled
	}
	if err == nil || spoiled {
		err = errors.Join(err, store.put(nextRecord, numberBytes(batch+1)))
	}
	return r, err
}

// gather fetches both shares of a closed batch and adds them up.
func (s *statistics) gather(ctx context.Context, id contracts.ID, t *contracts.StatisticsTask, batch int64) (r stats.Result, err error) {
	var shares [2][]byte
	for i, node := range t.Aggregators {
		if shares[i], err = s.tell(ctx, node, id, "POST", "share", canon.Marshal(wanted{Batch: batch, Key: s.n.keys.HPKE.ID()})); err != nil {
			return r, err
		}
	}
	return s.collector(id, t).Collect(shares[0], shares[1])
}

// resultWanted is a metered call's payload, in canonical JSON.
type resultWanted struct {
	Batch int64        `json:"batch"`
	Task  contracts.ID `json:"task"`
}

// answer sells a result that was collected. It is the same for every buyer: what noise hides, many copies don't show.
func (s *statistics) answer(_ context.Context, pass *gate.Pass, _ *meter.Call) (meter.Result, error) {
	var q resultWanted
	if err := canon.Unmarshal(pass.Request.Payload, &q); err != nil || q.Batch < 1 || q.Task.Check() != nil {
		return meter.Result{}, refused("request.malformed", "the payload names a task and a batch of it")
	}
	t, err := s.onLedger(q.Task)
	if err != nil {
		return meter.Result{}, err
	}
	if t.Collector != s.n.cfg.Member || t.Version != pass.Grant.Version {
		return meter.Result{}, &contracts.Refusal{Code: "statistics.unknown", Detail: "the product has no such task"}
	}
	r, known, err := s.collector(q.Task, t).Result(q.Batch)
	if err != nil {
		return meter.Result{}, err
	}
	if !known {
		return meter.Result{Outcome: meter.NotFound, Body: canon.Marshal(Body{Outcome: string(vault.NotFound)})}, nil
	}
	if r.Reports < pass.Grant.Policy.MinimumCohort {
		return meter.Result{}, refused("policy.cohort", "the batch has fewer reports than the policy's minimum cohort")
	}
	b := stats.EncodeResult(r)
	return meter.Result{Body: canon.Marshal(Body{Outcome: string(vault.Found), Payload: b}), Outcome: meter.Found, Snapshot: sha256.Sum256(b)}, nil
}

type localResultRequest struct {
	Agreement contracts.ID   `json:"agreement"`
	Task      contracts.ID   `json:"task"`
	Batch     int64          `json:"batch"`
	Fields    []string       `json:"fields"`
	Purpose   policy.Purpose `json:"purpose"`
	Nonce     string         `json:"nonce"` // as in a call
}

// localResult buys a result: one metered call.
func (s *statistics) localResult(w http.ResponseWriter, r *http.Request) {
	var q localResultRequest
	if !decode(w, r, &q) {
		return
	}
	req := gate.Request{Fields: q.Fields, Operation: policy.JointStatistics, Purpose: q.Purpose, Payload: canon.Marshal(resultWanted{q.Batch, q.Task})}
	if _, err := gate.ParseRequest(req.Bytes()); err != nil {
		malformed(w, err.Error())
		return
	}
	nonce, ok := s.n.nonce(w, q.Nonce)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.n.patience)
	defer cancel()
	u, err := s.n.use(ctx, q.Agreement, nonce, req)
	more := extra{"nonce": hex.EncodeToString(nonce[:])}
	if err != nil {
		s.n.localError(w, r, err, more)
		return
	}
	out := map[string]any{"outcome": u.Outcome, "nonce": more["nonce"], "receipt": u.receipt()}
	if len(u.Payload) > 0 {
		res, err := stats.DecodeResult(u.Payload)
		if err != nil {
			s.n.localError(w, r, fmt.Errorf("couldn't read the provider's answer: %w", err), more)
			return
		}
		out["result"] = shownResult(res)
	}
	answer(w, out)
}

// shownResult is a result for this member's own systems.
func shownResult(r stats.Result) map[string]any {
	return map[string]any{"batch": r.Batch, "reports": r.Reports, "values": r.Values, "margin95": r.Margin95, "epsilonMicro": r.EpsilonMicro}
}

// localCollect closes and collects the next batch.
func (s *statistics) localCollect(w http.ResponseWriter, r *http.Request) {
	id, ok := pathTask(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*requestTimeout)
	defer cancel()
	res, err := s.collect(ctx, id)
	if err != nil {
		s.n.localError(w, r, err)
		return
	}
	answer(w, shownResult(res))
}

func pathTask(w http.ResponseWriter, r *http.Request) (contracts.ID, bool) {
	id := contracts.ID(r.PathValue("task"))
	if err := id.Check(); err != nil {
		malformed(w, "the task in the path: "+err.Error())
		return "", false
	}
	return id, true
}
