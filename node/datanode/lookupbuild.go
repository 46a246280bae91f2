package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/vault"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// tableRow is a table's row: canonical JSON, numbers as the dataset has them.
type tableRow struct {
	AsOf    contracts.Millis  `json:"asOf,omitempty"`
	KnownAt contracts.Millis  `json:"knownAt,omitempty"`
	Values  map[string]string `json:"values"`
}

// tableBuild is the making of a new epoch, which goes on behind the request that began it.
type tableBuild struct {
	of    int64 // rows
	rows  atomic.Int64
	ended chan struct{}

	// when it has ended
	err      error
	command  contracts.ID
	position int64
	made     *lookup.Commitment
}

// snapshots are the datasets that tables can be made of.
type snapshots interface {
	Digest() contracts.Hash
	Keys() int64
	Latest(ctx context.Context, fields []string) iter.Seq2[vault.Keyed, error]
}

type buildRequest struct {
	Version     contracts.ID `json:"version"`
	Cohort      int64        `json:"cohort"`      // records in a bucket at least; 0: the table is given as a whole only
	ConsentNode contracts.ID `json:"consentNode"` // of consent_lookup
}

// localBuild begins a new key epoch: a key, a table, and the commitment on the ledger.
func (l *lookups) localBuild(w http.ResponseWriter, r *http.Request) {
	var q buildRequest
	if !decode(w, r, &q) {
		return
	}
	if err := q.Version.Check(); err != nil || q.Cohort < 0 || q.ConsentNode != "" && q.ConsentNode.Check() != nil {
		malformed(w, "want a version, a cohort from 0, and the consent service's node where there is one")
		return
	}
	b, err := l.build(q)
	if err != nil {
		l.n.localError(w, r, err)
		return
	}
	answer(w, map[string]any{"version": q.Version, "of": b.of})
}

func (l *lookups) build(q buildRequest) (*tableBuild, error) {
	p, err := l.product(q.Version)
	if err != nil {
		return nil, err
	}
	ds, ok := l.n.find(p.version.Product)
	s, isSnapshot := ds.(snapshots)
	if !ok || !isSnapshot {
		return nil, &contracts.Refusal{Code: noDataset, Detail: "this node has no dataset for the product"}
	}
	if p.dataset == nil || p.dataset.Digest != s.Digest() {
		return nil, &contracts.Refusal{Code: "lookup.dataset", Detail: "the dataset here is not the one that was reported last: report it, then build"}
	}
	if bound := slices.Contains(p.version.Facts.Modes, policy.ConsentLookup); bound != (q.ConsentNode != "") {
		return nil, &contracts.Refusal{Code: "lookup.consent_service", Detail: "tables of consent_lookup name the consent service's node, and only those"}
	}
	epoch := int64(1)
	if p.table != nil {
		epoch = p.table.Epoch + 1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.building[q.Version]; b != nil && !b.over() {
		return nil, &contracts.Refusal{Code: "lookup.building", Detail: "a table of this version is being built"}
	}
	b := &tableBuild{of: s.Keys(), ended: make(chan struct{})}
	l.building[q.Version] = b
	l.behind.Go(func() {
		defer close(b.ended)
		b.err = l.makeTable(l.ctx, b, q, epoch, p.fields(), s)
		if b.err != nil {
			l.n.log.Error("a lookup table was not made", "version", q.Version, "epoch", epoch, "err", b.err)
			return
		}
		l.n.log.Info("a lookup table is committed", "version", q.Version, "epoch", epoch, "rows", b.made.Rows, "position", b.position)
	})
	return b, nil
}

func (b *tableBuild) over() bool {
	select {
	case <-b.ended:
		return true
	default:
		return false
	}
}

// commandLife is how long the ledger takes a command's bytes: after it, what was not accepted never will be.
const commandLife = 10 * time.Minute

// makeTable makes key and table, keeps both, and only then commits them. A crash before leaves files that no ledger
// knows; the next epoch removes them.
func (l *lookups) makeTable(ctx context.Context, b *tableBuild, q buildRequest, epoch int64, fields []string, s snapshots) error {
	longest := 0
	for row, err := range rowsOf(ctx, s, fields) {
		if err != nil {
			return err
		}
		longest = max(longest, len(row.Value))
	}
	key, err := lookup.NewEpochKey(epoch, contracts.Millis(l.n.now().UnixMilli()))
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(l.dir, "tables"), "tmp-*")
	if err != nil {
		return fmt.Errorf("couldn't create table: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	w := bufio.NewWriter(f)
	plan := lookup.Plan{Version: q.Version, Dataset: s.Digest(), Cohort: q.Cohort, RecordBytes: lookup.RecordBytesFor(longest),
		Progress: func(rows int64) { b.rows.Store(rows) }}
	c, err := lookup.BuildTable(ctx, key, plan, rowsOf(ctx, s, fields), scratchFiles(filepath.Join(l.dir, "scratch")), w)
	if err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), f.Sync()); err != nil {
		return fmt.Errorf("couldn't write table: %w", err)
	}
	name := l.tableName(c)
	if err := l.box.write(name+".secret", key.Bytes()); err != nil {
		return err
	}
	if err := errors.Join(os.Rename(f.Name(), name+".table"), syncDir(filepath.Dir(name))); err != nil {
		return fmt.Errorf("couldn't keep table: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, commandLife)
	defer cancel()
	id, a, err := l.n.command(ctx, "lookup.commit", c.Commit(l.n.cfg.Node, q.ConsentNode))
	b.command, b.made = id, c
	if err != nil {
		return err
	}
	b.position = a.Position
	return nil
}

// rowsOf gives what a dataset knows now of each company.
func rowsOf(ctx context.Context, s snapshots, fields []string) iter.Seq2[lookup.Row, error] {
	return func(yield func(lookup.Row, error) bool) {
		for k, err := range s.Latest(ctx, fields) {
			if err != nil {
				yield(lookup.Row{}, err)
				return
			}
			row := tableRow{AsOf: k.AsOf, KnownAt: k.KnownAt, Values: k.Map()}
			if !yield(lookup.Row{ID: []byte(k.Key), Value: canon.Marshal(row)}, nil) {
				return
			}
		}
	}
}

// scratchFiles lends files of a folder. What is sealed in them is no secret, and they are gone when they are closed.
type scratchFiles string

// Create implements lookup.Spool.
func (s scratchFiles) Create() (lookup.Scratch, error) {
	f, err := os.CreateTemp(string(s), "run-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// localBuilding says how far a build has come.
func (l *lookups) localBuilding(w http.ResponseWriter, r *http.Request) {
	version, ok := pathID(w, r)
	if !ok {
		return
	}
	l.mu.Lock()
	b := l.building[version]
	l.mu.Unlock()
	if b == nil {
		refuse(w, http.StatusNotFound, "lookup.none", "no table of this version was built since the node started")
		return
	}
	out := map[string]any{"version": version, "state": "building", "rows": b.rows.Load(), "of": b.of}
	if b.over() {
		if b.err != nil {
			l.n.localError(w, r, b.err, extra{"command": b.command})
			return
		}
		out["state"], out["command"], out["position"], out["commitment"] = "committed", b.command, b.position, b.made
	}
	answer(w, out)
}
