package compute

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

// DeskConfig is what a desk needs from its owner.
type DeskConfig struct {
	Dir    string // made if it is missing; 0700. Holds budget, answers, cohorts, which must not be lost, and working tables, which may
	Runner *Runner
	Log    *slog.Logger
	// Step is the least time that an answer takes; one that takes longer is held until 2, 4, 8 … of it are over, so that
	// its time tells little of the rows. Zero holds nothing.
	Step time.Duration
	Now  func() time.Time
	// Children bounds those that run at one time; 2 when zero.
	Children int
}

// Desk answers queries over a node's datasets. It is safe for concurrent use; one process has its folder.
type Desk struct {
	cfg   DeskConfig
	store *store
	slots chan struct{}

	mu       sync.Mutex
	datasets map[string]*dataset
}

// dataset is one name under one budget.
type dataset struct {
	name string
	terms

	opening sync.Mutex
	table   *table // of the snapshot asked last

	asking keyed // one run of one question at a time

	// releasing is held from the look at earlier cohorts until one's own are kept: of two questions asked at once, the
	// second sees the first.
	releasing sync.Mutex
}

// OpenDesk opens budget and answers in cfg.Dir.
func OpenDesk(cfg DeskConfig) (*Desk, error) {
	if cfg.Now == nil || cfg.Runner == nil {
		return nil, errors.New("compute: DeskConfig needs Now and Runner")
	}
	if cfg.Children <= 0 {
		cfg.Children = 2
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make folder: %w", err)
	}
	s, err := openStore(filepath.Join(cfg.Dir, "budget.db"))
	if err != nil {
		return nil, err
	}
	return &Desk{cfg: cfg, store: s, slots: make(chan struct{}, cfg.Children), datasets: map[string]*dataset{}}, nil
}

// Close ends the desk. No question may be under way.
func (d *Desk) Close() error { return d.store.close() }

// Offer lets a dataset be asked about under a budget. Its error says what in the budget can't be.
func (d *Desk) Offer(name string, b Budget) error {
	t, err := b.read()
	if err != nil {
		return fmt.Errorf("couldn't read privacy budget of dataset %s: %w", name, err)
	}
	if err := d.store.begin(name, &t); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.datasets[name] = &dataset{name: name, terms: t}
	return nil
}

// Standing is a dataset's budget as it stands.
type Standing struct {
	Epoch                      int64
	Epsilon, Delta             string // of the period
	SpentEpsilon, SpentDelta   string
	Queries, MaxQueries        int64 // different ones
	MinimumCohort, RowsPerSubj int64
}

// Standing tells how much of a dataset's budget is spent.
func (d *Desk) Standing(name string) (Standing, error) {
	ds := d.offered(name)
	if ds == nil {
		return Standing{}, errors.New("the dataset has no privacy budget")
	}
	a, err := d.store.account(name)
	if err != nil {
		return Standing{}, err
	}
	return Standing{a.Epoch, epsilonMicro(a.EpsilonMicro).String(), deltaPico(a.DeltaPico).String(), epsilonMicro(a.SpentEpsilon).String(), deltaPico(a.SpentDelta).String(),
		a.Queries, ds.MaxQueries, ds.MinimumCohort, ds.RowsPerSubject}, nil
}

func (d *Desk) offered(name string) *dataset {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.datasets[name]
}

// Question is one consumer's, admitted by the gate.
type Question struct {
	Dataset       string
	Snapshot      Source
	Fields        []string // that the agreement permits for it
	MinimumCohort int64    // of the agreement's policy
	Spec          []byte   // canonical
}

// Reply is an answer's bytes, in the one form that every repeat of the question gets.
type Reply struct {
	Answer   []byte
	Repeated bool // it was answered before: nothing was debited
}

// Ask answers a question. Its error is a *contracts.Refusal, or a failure: then a debit may stand, and asking again
// costs nothing more.
//
// What a refusal or an answer says, and when, depends on no single row, up to the epsilon and delta that it cost; see
// the package.
func (d *Desk) Ask(ctx context.Context, q Question) (*Reply, error) {
	begun := d.cfg.Now()
	reply, err := d.ask(ctx, q)
	if errors.As(err, new(*contracts.Refusal)) || err == nil {
		if e := d.hold(ctx, begun); e != nil {
			return nil, e
		}
	}
	return reply, err
}

func (d *Desk) ask(ctx context.Context, q Question) (*Reply, error) {
	ds := d.offered(q.Dataset)
	if ds == nil {
		return nil, refuse(NotOffered, "this node computes nothing on the product's dataset")
	}
	spec, err := ParseSpec(q.Spec)
	if err != nil {
		return nil, refuse(Malformed, "%v", err)
	}
	for _, f := range spec.Fields() {
		if !slices.Contains(q.Fields, f) {
			return nil, refuse(BadField, "the query names a field that the request doesn't")
		}
	}
	tb, err := d.tableOf(ctx, ds, q.Snapshot)
	if err != nil {
		return nil, err
	}
	p, r := compile(spec, q.Snapshot.Schema(), &tb.header, ds.RowsPerSubject)
	if r != nil {
		return nil, r
	}
	s := p.split(ds.query.delta)
	if r := p.fits(s); r != nil {
		return nil, r
	}
	x := &exam{desk: d, dataset: ds, table: tb, plan: p, shares: s, cohort: max(q.MinimumCohort, ds.MinimumCohort, 1)}
	x.identify(q.Spec)
	unlock, err := ds.asking.lock(ctx, x.key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	done, answer, err := d.store.debit(ds.name, x.key, query{Snapshot: tb.Snapshot, Definition: x.definition, Epsilon: int64(p.epsilon), Delta: int64(ds.query.delta)}, ds.MaxQueries)
	switch {
	case err != nil:
		return nil, err
	case done == nil:
		return x.run(ctx)
	case done.Outcome == refused:
		return nil, &contracts.Refusal{Code: done.Code, Detail: done.Detail}
	}
	return &Reply{answer, true}, nil
}

// NotOffered is the refusal of a dataset without budget.
const NotOffered contracts.Code = "compute.unavailable"

// tableOf gives the working table of a snapshot. The last one is kept; another is opened or made.
func (d *Desk) tableOf(ctx context.Context, ds *dataset, src Source) (*table, error) {
	ds.opening.Lock()
	defer ds.opening.Unlock()
	if ds.table != nil && ds.table.Snapshot == src.Digest() {
		return ds.table, nil
	}
	tb, err := openTable(ctx, filepath.Join(d.cfg.Dir, ds.name), src)
	if err != nil {
		return nil, err
	}
	ds.table = tb
	return tb, tb.sweep()
}

// Prepare makes a snapshot's working table ahead of the first question.
func (d *Desk) Prepare(ctx context.Context, name string, src Source) error {
	ds := d.offered(name)
	if ds == nil {
		return errors.New("the dataset has no privacy budget")
	}
	_, err := d.tableOf(ctx, ds, src)
	return err
}

// hold waits until a power of two times Step is over since begun.
func (d *Desk) hold(ctx context.Context, begun time.Time) error {
	step := d.cfg.Step
	if step <= 0 {
		return nil
	}
	until := step
	for spent := d.cfg.Now().Sub(begun); until < spent; {
		until *= 2
	}
	t := time.NewTimer(until - d.cfg.Now().Sub(begun))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// keyed lets one caller in at a time for each key.
type keyed struct {
	mu   sync.Mutex
	busy map[contracts.Hash]chan struct{}
}

func (k *keyed) lock(ctx context.Context, key contracts.Hash) (unlock func(), err error) {
	for {
		k.mu.Lock()
		done, ok := k.busy[key]
		if !ok {
			if k.busy == nil {
				k.busy = map[contracts.Hash]chan struct{}{}
			}
			mine := make(chan struct{})
			k.busy[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				defer k.mu.Unlock()
				delete(k.busy, key)
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// digestOf is a digest over canonical parts.
func digestOf(tag string, v any) contracts.Hash { return contracts.HashOf(tag, canon.Marshal(v)) }
