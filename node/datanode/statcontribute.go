package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/privacy/stats"
)

// statContribution is the refusal of a contribution under an id that other values were contributed under.
const statContribution contracts.Code = "statistics.contribution"

func (s *statistics) local(m *http.ServeMux) {
	m.HandleFunc("GET /v1/statistics/{task}", s.localTask)
	m.HandleFunc("POST /v1/statistics/{task}/contributions", s.localContribute)
	m.HandleFunc("POST /v1/statistics/{task}/collect", s.localCollect)
	m.HandleFunc("POST /v1/statistics/results", s.localResult)
}

// maxContributed bounds the values of one contribution.
const maxContributed = 2000

type localContribution struct {
	ID     contracts.ID `json:"id"` // the same id and values again go on where it was, and count once
	Values []int64      `json:"values"`
}

func (s *statistics) localContribute(w http.ResponseWriter, r *http.Request) {
	id, ok := pathTask(w, r)
	if !ok {
		return
	}
	var q localContribution
	if !decode(w, r, &q) {
		return
	}
	if q.ID.Check() != nil || len(q.Values) < 1 || len(q.Values) > maxContributed {
		malformed(w, fmt.Sprintf("id is 32 hex digits, values are 1 to %d whole numbers", maxContributed))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*requestTimeout)
	defer cancel()
	known, err := s.contribute(ctx, id, &q)
	if err != nil {
		s.n.localError(w, r, err)
		return
	}
	answer(w, map[string]any{"reports": len(q.Values), "known": known})
}

// A contribution's records in the contributor's store. Values are in none: what is kept until both aggregators have it is
// sealed to them.
//
//	v/<id>                     digest of the values, from when they are split
//	u/<id><aggregator><number> an upload that the aggregator hasn't confirmed
func contributionKey(id contracts.ID) []byte { return append([]byte("v/"), id...) }

func uploadKey(id contracts.ID, role, number int) []byte {
	return binary.BigEndian.AppendUint32(append(append([]byte("u/"), id...), byte('0'+role)), uint32(number))
}

// contribute splits values, keeps what it split, and brings both aggregators their halves. known: all of it was there.
func (s *statistics) contribute(ctx context.Context, task contracts.ID, q *localContribution) (known bool, err error) {
	t, err := s.takesPart(ctx, task, "contributor")
	if err != nil {
		return false, err
	}
	store := s.store.of(bucketContributor, task)
	digest := s.valuesDigest(task, q)
	have, err := store.get(string(contributionKey(q.ID)))
	switch {
	case err != nil:
		return false, err
	case have == nil:
		if err := s.split(ctx, task, t, store, q, digest); err != nil {
			return false, err
		}
	case string(have) != string(digest):
		return false, &contracts.Refusal{Code: statContribution, Detail: "other values were contributed under this id"}
	}
	sent := 0
	g, ctx := errgroup.WithContext(ctx)
	counts := make([]int, len(t.Aggregators))
	for role, node := range t.Aggregators {
		g.Go(func() (err error) {
			counts[role], err = s.bring(ctx, task, node, store, q.ID, role)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	for _, n := range counts {
		sent += n
	}
	return sent == 0, nil
}

// valuesDigest tells two contributions apart. It is keyed: values are few, and the store is on disk.
func (s *statistics) valuesDigest(task contracts.ID, q *localContribution) []byte {
	b := append(s.n.keys.Seal[:len(s.n.keys.Seal):len(s.n.keys.Seal)], task...)
	for _, v := range q.Values {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return []byte(contracts.HashOf("bund/statistics/values/v1", b))
}

func (s *statistics) split(ctx context.Context, task contracts.ID, t *contracts.StatisticsTask, store roleStore, q *localContribution, digest []byte) error {
	var keys [2]contracts.PublicKey
	for i, node := range t.Aggregators {
		var err error
		if keys[i], err = s.aggregatorKey(ctx, task, node); err != nil {
			return err
		}
	}
	to, err := stats.Uploads(taskOf(task, t), keys, q.Values)
	if err != nil {
		return err
	}
	return store.Update(func(tx stats.Tx) error {
		if tx.Get(contributionKey(q.ID)) != nil {
			return errors.New("couldn't split values: another request is at it")
		}
		for role, uploads := range to {
			for i, b := range uploads {
				if err := tx.Put(uploadKey(q.ID, role, i), b); err != nil {
					return err
				}
			}
		}
		return tx.Put(contributionKey(q.ID), digest)
	})
}

// bring sends what an aggregator hasn't confirmed yet. One that it has and whose confirmation was lost it takes once.
func (s *statistics) bring(ctx context.Context, task, node contracts.ID, store roleStore, id contracts.ID, role int) (sent int, err error) {
	for {
		var key, upload []byte
		prefix := append(append([]byte("u/"), id...), byte('0'+role))
		if err := store.View(func(tx stats.Tx) error {
			return tx.Scan(prefix, func(k, v []byte) bool {
				key, upload = append([]byte(nil), k...), append([]byte(nil), v...)
				return false
			})
		}); err != nil || key == nil {
			return sent, err
		}
		b, err := s.tell(ctx, node, task, "POST", "reports", upload)
		if err != nil {
			return sent, err
		}
		var got received
		if err := canon.Unmarshal(b, &got); err != nil {
			return sent, fmt.Errorf("couldn't read the aggregator's answer: %w", err)
		}
		if err := store.Update(func(tx stats.Tx) error { return tx.Delete(key) }); err != nil {
			return sent, err
		}
		sent++
	}
}

// localTask says what this node is in a task, and how far it is.
func (s *statistics) localTask(w http.ResponseWriter, r *http.Request) {
	id, ok := pathTask(w, r)
	if !ok {
		return
	}
	t, err := s.onLedger(id)
	if err != nil {
		s.n.localError(w, r, err)
		return
	}
	out := map[string]any{"measure": t.Measure, "minBatch": t.MinBatch, "epsilonMicro": t.EpsilonMicro, "aggregators": t.Aggregators, "contributors": t.Contributors,
		"collector": t.Collector, "joined": t.Joined}
	if role := s.role(t); role >= 0 {
		x, err := s.aggregating(id, t)
		var p stats.Progress
		if err == nil {
			p, err = x.agg.Progress()
		}
		if err != nil {
			s.n.localError(w, r, err)
			return
		}
		out["aggregator"] = map[string]any{"leads": role == stats.Leader, "batch": p.Batch, "counted": p.Counted, "waiting": p.Waiting, "refused": p.Refused}
	}
	if t.Collector == s.n.cfg.Member {
		store := s.store.of(bucketCollector, id)
		next, err := store.get(nextRecord)
		spent, err2 := store.get(spentRecord)
		if err = errors.Join(err, err2); err != nil {
			s.n.localError(w, r, err)
			return
		}
		out["collected"] = map[string]any{"next": max(1, number(next)), "spentMicro": number(spent), "budgetMicro": s.n.cfg.StatisticsEpsilonMicro}
	}
	answer(w, out)
}
