package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/vault"
	"github.com/bund-exchange/bund/privacy/score"
)

// scoring is joint scoring, both sides: as a provider the models that were sent here and the counts of evaluations, as
// a bank its own cards with their secrets. All stands in <dir>/score.
type scoring struct {
	n   *Node
	dir string

	counts *gate.Counter // evaluations of companies, by agreement
	turn   chan struct{} // one model is read or evaluated at a time: each takes tens of megabytes

	mu    sync.Mutex
	held  map[contracts.ID]contracts.Hash // models that this node holds, by their id on the ledger
	ready struct {                        // the model used last; the turn's
		id    contracts.ID
		model *score.Model
	}
	taking map[contracts.ID]bool // models that are arriving

	sending chan struct{}
	sent    map[contracts.ID]bool // own models that a provider is known to hold; of who is sending
}

func scoreMode(n *Node) (*mode, error) {
	s := &scoring{n: n, dir: filepath.Join(n.cfg.Dir, "score"), turn: make(chan struct{}, 1), held: map[contracts.ID]contracts.Hash{}, taking: map[contracts.ID]bool{}, sending: make(chan struct{}, 1),
		sent: map[contracts.ID]bool{}}
	if err := errors.Join(os.MkdirAll(s.cards(), 0o700), os.MkdirAll(s.models(), 0o700)); err != nil {
		return nil, fmt.Errorf("couldn't make the folder of models: %w", err)
	}
	if err := s.findModels(); err != nil {
		return nil, err
	}
	var err error
	if s.counts, err = gate.OpenCounter(s.dir); err != nil {
		return nil, fmt.Errorf("couldn't open the counts of evaluations: %w", err)
	}
	n.gate.Model = s.digest
	return &mode{
		answers: map[policy.Operation]operation{policy.JointScore: s.answer},
		beside:  map[string]besideHandler{"model": s.serveModel},
		local:   s.local,
		close:   s.counts.Close,
	}, nil
}

// scoreTimeout bounds one evaluation, the lookups of its companies included.
const scoreTimeout = 45 * time.Second

// answer scores the companies of one call. What is refused, and a lookup that fails, uses up no consent. The count of
// evaluations is durable before anything is computed: after a failure behind it, a company may be scored fewer times.
func (s *scoring) answer(ctx context.Context, pass *gate.Pass, _ *meter.Call) (meter.Result, error) {
	req := pass.Request
	ds, ok := s.n.find(pass.Grant.Product)
	if !ok {
		return meter.Result{}, refused(noDataset, "this node has no dataset for the product")
	}
	ctx, cancel := context.WithTimeout(ctx, scoreTimeout)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return meter.Result{}, ctx.Err()
	}
	m, err := s.model(req.Model)
	if err != nil {
		return meter.Result{}, err
	}
	if !slices.Equal(req.Fields, m.Spec.Names()) {
		return meter.Result{}, refused(score.CodeArity, "the fields are those of the model, in its order")
	}
	uses, err := pass.Hold()
	if err != nil {
		return meter.Result{}, err
	}
	res, err := s.evaluate(ctx, ds, m, pass)
	if err != nil || res.Outcome != meter.Found && res.Outcome != meter.NotFound {
		uses.Release()
		return res, err
	}
	res.Before = uses.Count()
	return res, nil
}

func (s *scoring) evaluate(ctx context.Context, ds looker, m *score.Model, pass *gate.Pass) (meter.Result, error) {
	x, err := lookUp(ctx, ds, m, pass.Request)
	if err != nil {
		return meter.Result{}, err
	}
	res := meter.Result{Outcome: outcomes[x.outcome], Snapshot: x.snapshot.Bytes()}
	body := Body{Outcome: string(x.outcome), Detail: x.detail}
	if x.err != nil {
		s.n.log.ErrorContext(ctx, "a lookup failed", "product", pass.Grant.Product, "err", x.err)
	}
	if x.outcome != vault.Found && x.outcome != vault.NotFound {
		res.Body = canon.Marshal(body)
		return res, nil
	}
	names := make([]string, len(pass.Request.Subjects))
	for i, subject := range pass.Request.Subjects {
		names[i] = string(subject.Code)
	}
	batch, err := score.PrepareFeatures(&m.Spec, names, x.rows)
	if err != nil {
		return meter.Result{}, err
	}
	reg, err := s.registered(pass.Request.Model)
	if err == nil && reg == nil {
		err = errors.New("couldn't find the model: its registration is gone since the call was admitted")
	}
	if err != nil {
		return meter.Result{}, err
	}
	p := &score.Provider{Agreement: reg.Agreement, Counter: s} // the gate found it to be the call's
	if p.Max, err = s.evaluations(); err != nil {
		return meter.Result{}, err
	}
	if body.Payload, err = p.Evaluate(ctx, m, batch); err != nil {
		return meter.Result{}, err
	}
	res.Body = canon.Marshal(body)
	return res, nil
}

// looked is what the dataset knows of the companies of a call.
type looked struct {
	rows     [][]int64 // nil: not there, or with a value that the model has no place for
	snapshot contracts.Hash
	outcome  vault.Outcome // FOUND when one of them is there
	detail   string
	err      error
}

// lookUp looks every company up, several at a time, in one snapshot of the dataset.
func lookUp(ctx context.Context, ds looker, m *score.Model, req *gate.Request) (*looked, error) {
	answers := make([]vault.Answer, len(req.Subjects))
	x := &looked{rows: make([][]int64, len(req.Subjects)), outcome: vault.NotFound}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, subject := range req.Subjects {
		g.Go(func() error {
			a := ds.Lookup(ctx, vault.Query{Key: string(subject.Code), Fields: req.Fields, AsOf: req.AsOf, KnownAt: req.KnownAt})
			answers[i] = a
			if a.Outcome != vault.Found {
				return nil
			}
			values := make([]string, len(a.Values))
			for k, v := range a.Values {
				values[k] = v.Text
			}
			row, err := m.Spec.Encode(values)
			var r *contracts.Refusal
			if errors.As(err, &r) && r.Code == score.CodeValue {
				return nil
			}
			x.rows[i] = row
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, a := range answers {
		switch {
		case a.Outcome != vault.Found && a.Outcome != vault.NotFound:
			return &looked{outcome: a.Outcome, snapshot: a.Snapshot, detail: a.Detail, err: a.Err}, nil
		case i > 0 && a.Snapshot != x.snapshot:
			return nil, errors.New("couldn't look the companies up: the dataset was replaced in between")
		case x.rows[i] != nil:
			x.outcome = vault.Found
		}
		x.snapshot = a.Snapshot
	}
	return x, nil
}

// evaluations is how often a company may be scored under an agreement now, by all models together.
func (s *scoring) evaluations() (n int64, err error) {
	err = s.n.readBoth(func(st contracts.State) error {
		rules, err := contracts.RulesOf(st)
		if err == nil && rules != nil {
			n = rules.EvaluationsPerSubject
		}
		return err
	})
	return n, err
}

// Count implements score.Counter, in the same kind of file that keeps consents' uses.
func (s *scoring) Count(_ context.Context, agreement contracts.ID, companies []string, max int64) (int, error) {
	ids := make([]contracts.ID, len(companies))
	for i, c := range companies {
		ids[i] = contracts.ID(contracts.HashOf("bund/score/evaluations/v1", []byte(agreement), []byte(c))[:32])
	}
	uses, full, err := s.counts.HoldAll(ids, max)
	if err != nil || full >= 0 {
		return full, err
	}
	return -1, uses.Keep()
}
