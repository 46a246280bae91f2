package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/compute"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/vault"
)

// computing lets queries run on this node's datasets, and asks them of others'. What a provider keeps stands in
// <dir>/compute: budgets, answers and cohorts, which must not be lost.
type computing struct {
	n       *Node
	runner  *compute.Runner
	desk    *compute.Desk // nil where no dataset has a budget
	offered []string

	stop context.CancelFunc // of preparing
	wg   sync.WaitGroup
}

// answerStep is the least time that an answer takes; see compute.DeskConfig.
const answerStep = 250 * time.Millisecond

// computeTimeout bounds one query, the wait for others included.
const computeTimeout = 3 * time.Minute

func computeMode(n *Node) (*mode, error) {
	c := &computing{n: n, runner: &compute.Runner{Log: n.log}, stop: func() {}}
	m := &mode{local: c.local, close: c.close}
	for _, d := range n.cfg.Datasets {
		if d.Compute == nil {
			continue
		}
		if err := c.offer(d.Dataset, d.Compute); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	if c.desk == nil {
		return m, nil
	}
	m.answers = map[policy.Operation]operation{policy.Compute: c.answer}
	n.computing = c
	c.prepare()
	return m, nil
}

func (c *computing) offer(dataset string, cfg *ComputeConfig) (err error) {
	if c.desk == nil {
		if c.desk, err = compute.OpenDesk(compute.DeskConfig{Dir: filepath.Join(c.n.cfg.Dir, "compute"), Runner: c.runner, Log: c.n.log, Step: answerStep, Now: time.Now}); err != nil {
			return fmt.Errorf("couldn't open computing: %w", err)
		}
	}
	c.offered = append(c.offered, dataset)
	return c.desk.Offer(dataset, compute.Budget(*cfg))
}

// prepare tells how children are held here and makes working tables ahead of the first question, beside what else the
// node does at its start.
func (c *computing) prepare() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.wg.Go(func() {
		held, err := c.runner.Probe(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.n.log.Error("a computing process doesn't start", "err", err)
			c.n.trouble("computing", "a computing process doesn't start: queries fail")
		case held.Missing() != 0:
			c.n.trouble("computing", fmt.Sprintf("computing processes are held by %s; this machine lacks %s", held, held.Missing()))
		}
		for _, name := range c.offered {
			ds, ok := c.n.vault.Dataset(name)
			if !ok {
				continue
			}
			begun := time.Now()
			if err := c.desk.Prepare(ctx, name, ds.Snapshot); err != nil {
				if ctx.Err() == nil {
					c.n.log.Error("couldn't prepare a dataset for queries", "dataset", name, "err", err)
				}
				continue
			}
			c.n.log.Info("a dataset is ready for queries", "dataset", name, "took", time.Since(begun).Round(time.Millisecond))
		}
	})
}

// close must not be called while a query runs.
func (c *computing) close() error {
	c.stop()
	c.wg.Wait()
	if c.desk == nil {
		return nil
	}
	return c.desk.Close()
}

// answer computes one query. What is refused bills nothing, though it may have cost some of the budget; a child that
// fails is a failure, and the same question later is answered for what was debited.
func (c *computing) answer(ctx context.Context, pass *gate.Pass, _ *meter.Call) (meter.Result, error) {
	req := pass.Request
	if req.AsOf != 0 || req.KnownAt != 0 || req.Units > 1 {
		return meter.Result{}, refused(compute.Malformed, "a query has no asOf and one unit: filter by the dataset's dates")
	}
	name, ds := c.dataset(pass)
	if ds == nil {
		return meter.Result{}, refused(noDataset, "this node has no dataset for the product")
	}
	ctx, cancel := context.WithTimeout(ctx, computeTimeout)
	defer cancel()
	reply, err := c.desk.Ask(ctx, compute.Question{Dataset: name, Snapshot: ds.Snapshot, Fields: req.Fields, MinimumCohort: pass.Grant.Policy.MinimumCohort, Spec: req.Payload})
	if err != nil {
		return meter.Result{}, err
	}
	body := Body{Outcome: string(vault.Found), Payload: reply.Answer}
	return meter.Result{Body: canon.Marshal(body), Outcome: meter.Found, Snapshot: ds.Digest().Bytes()}, nil
}

func (c *computing) dataset(pass *gate.Pass) (string, *vault.Dataset) {
	for _, d := range c.n.cfg.Datasets {
		if d.Product == pass.Grant.Product {
			ds, ok := c.n.vault.Dataset(d.Dataset)
			if !ok {
				return "", nil
			}
			return d.Dataset, ds
		}
	}
	return "", nil
}

// localBudget is a dataset's budget as status tells it.
type localBudget struct {
	Dataset        string `json:"dataset"`
	Epoch          int64  `json:"epoch"`
	Epsilon        string `json:"epsilon"`
	SpentEpsilon   string `json:"spentEpsilon"`
	Delta          string `json:"delta"`
	SpentDelta     string `json:"spentDelta"`
	Queries        int64  `json:"queries"`
	MaxQueries     int64  `json:"maxQueries"`
	MinimumCohort  int64  `json:"minimumCohort"`
	RowsPerSubject int64  `json:"rowsPerSubject"`
}

func (c *computing) status() any {
	held, budgets := c.runner.Held(), []localBudget{}
	for _, name := range c.offered {
		s, err := c.desk.Standing(name)
		if err != nil {
			c.n.log.Error("couldn't read a privacy budget", "dataset", name, "err", err)
			continue
		}
		budgets = append(budgets, localBudget{name, s.Epoch, s.Epsilon, s.SpentEpsilon, s.Delta, s.SpentDelta, s.Queries, s.MaxQueries, s.MinimumCohort, s.RowsPerSubj})
	}
	return map[string]any{"engine": compute.EngineName, "heldBy": held.String(), "missing": held.Missing().String(), "budgets": budgets}
}
