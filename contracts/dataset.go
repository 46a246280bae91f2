package contracts

import "errors"

// Dataset is what a provider's node says of the data behind a product version. The rows stay where they are.
type Dataset struct {
	Node      ID              `json:"node"`
	Digest    Hash            `json:"digest"` // of the dataset snapshot
	Schema    Hash            `json:"schema"` // equals the version's field dictionary
	Rows      int64           `json:"rows"`
	AsOf      Millis          `json:"asOf"`      // newest fact in it
	Quality   []QualityFigure `json:"quality"`   // GB/T 36344
	Snapshots int64           `json:"snapshots"` // reports so far
	Reported  Millis          `json:"reported"`
}

// QualityFigure is one rule's count: Satisfying of Tested (A/B of GB/T 36344-2018). Tested 0 means not applicable.
type QualityFigure struct {
	Dimension  string `json:"dimension"`
	Rule       string `json:"rule"`
	Satisfying int64  `json:"satisfying"`
	Tested     int64  `json:"tested"`
}

// Check reports impossible counts.
func (q QualityFigure) Check() error {
	if q.Tested < 0 || q.Satisfying < 0 || q.Satisfying > q.Tested {
		return errors.New("want 0 ≤ satisfying ≤ tested")
	}
	return nil
}

// KeyDataset is where a version's dataset stands.
func KeyDataset(version ID) string { return "dataset/" + string(version) }

// DatasetReport reports a dataset snapshot, the first or a fresher one, by the node's machine.
type DatasetReport struct {
	Version ID              `json:"version"`
	Node    ID              `json:"node"`
	Digest  Hash            `json:"digest"`
	Schema  Hash            `json:"schema"`
	Rows    int64           `json:"rows"`
	AsOf    Millis          `json:"asOf"`
	Quality []QualityFigure `json:"quality"`
}

func applyDatasetReport(t *tx, b *DatasetReport) *Refusal {
	v, _, r := t.ownVersion(b.Version)
	if r != nil {
		return r
	}
	if r := v.want(Draft, Submitted, ComplianceReview, QualityReview, Publicity, Registered, Listed, ListingSuspended); r != nil {
		return r
	}
	if _, r := t.servingNode(b.Node, t.me(), "node"); r != nil {
		return r
	}
	if b.Schema != v.Facts.Dictionary {
		return refuse("dataset.schema", "the dataset's schema is not the version's field dictionary").at("schema")
	}
	if b.Rows < 0 || b.AsOf > t.env.Now {
		return refuse("dataset.figures", "rows below zero or facts from the future")
	}
	n := int64(1)
	if old, ok := get[Dataset](t, KeyDataset(b.Version)); ok {
		n = old.Snapshots + 1
	}
	t.put(KeyDataset(b.Version), Dataset{Node: b.Node, Digest: b.Digest, Schema: b.Schema, Rows: b.Rows, AsOf: b.AsOf, Quality: b.Quality,
		Snapshots: n, Reported: t.env.Now})
	t.event("dataset.reported", b.Version)
	return nil
}
