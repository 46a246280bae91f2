package main

import (
	"context"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
)

// localVoid takes back a leaf that the consumer objects to, after the parties have talked: its units are billed no more.
func (n *Node) localVoid(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Seq int64 `json:"seq"`
	}
	id, ok := pathID(w, r)
	if !ok || !decode(w, r, &q) {
		return
	}
	s := n.serving(id)
	if s == nil {
		refuse(w, http.StatusNotFound, "agreement.unknown", "this node serves no agreement with this id")
		return
	}
	leaf, err := s.log.Void(r.Context(), q.Seq)
	if err != nil {
		n.localError(w, r, err)
		return
	}
	answer(w, map[string]any{"seq": leaf.Seq, "units": leaf.Units, "totals": leaf.Totals})
}

// localEpoch begins a new log from the last acknowledgement, after a dispute about a broken one. Each side asks its own
// node, with the epoch to be in.
func (n *Node) localEpoch(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Epoch int64 `json:"epoch"`
	}
	id, ok := pathID(w, r)
	if !ok || !decode(w, r, &q) {
		return
	}
	s, c := n.serving(id), n.consumer(id)
	var err error
	switch {
	case s != nil && s.unreported.Load():
		refuse(w, http.StatusConflict, "period.unreported", "an acknowledged period is not reported yet")
		return
	case s != nil:
		err = s.log.NextEpoch(r.Context(), q.Epoch)
	case c != nil:
		err = c.receipts.NextEpoch(r.Context(), q.Epoch)
	default:
		refuse(w, http.StatusNotFound, "agreement.unknown", "this node has no agreement with this id")
		return
	}
	if err != nil {
		n.localError(w, r, err)
		return
	}
	answer(w, map[string]any{"epoch": q.Epoch})
}

// localReport reports a dataset to the ledger: digest, schema, rows and quality figures, never a row.
func (n *Node) localReport(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Version contracts.ID `json:"version"`
	}
	if !decode(w, r, &q) {
		return
	}
	if err := q.Version.Check(); err != nil {
		malformed(w, "version: "+err.Error())
		return
	}
	d, ok := n.vault.Dataset(r.PathValue("name"))
	if !ok {
		refuse(w, http.StatusNotFound, "dataset.unavailable", "this node has no such dataset")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), n.patience)
	defer cancel()
	id, a, err := n.command(ctx, "dataset.report", contracts.DatasetReport{Version: q.Version, Node: n.cfg.Node, Digest: d.Digest(), Schema: d.Schema().Digest(),
		Rows: d.Rows(), AsOf: d.AsOf, Quality: d.Quality()})
	if err != nil {
		n.localError(w, r, err, extra{"command": id})
		return
	}
	answer(w, map[string]any{"position": a.Position, "command": id})
}
