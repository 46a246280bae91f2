package catalog

import (
	_ "embed"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

//go:embed catalog.sql
var ddl string

// Schema is the catalogue's part of proj.
func Schema() projection.Schema {
	type (
		product     = contracts.Product
		version     = contracts.Version
		dataset     = contracts.Dataset
		attestation = contracts.Attestation
		objection   = contracts.Objection
		lookup      = contracts.LookupTable
	)
	return projection.Schema{Name: "catalog", DDL: ddl, Version: 1, Nouns: []projection.Noun{
		projection.Table[product]{Noun: "product", Name: "products", Columns: []projection.Column[product]{
			projection.Text("provider", func(p *product) contracts.ID { return p.Provider }),
			projection.Text("listed", func(p *product) contracts.ID { return p.Listed }),
		}},
		projection.Table[version]{Noun: "version", Name: "versions", Columns: []projection.Column[version]{
			projection.Text("product", func(v *version) contracts.ID { return v.Product }),
			projection.Int("number", func(v *version) int64 { return v.Number }),
			projection.Text("title", func(v *version) string { return v.Facts.Title }),
			projection.Text("state", func(v *version) contracts.VersionState { return v.State }),
			projection.Int("since", func(v *version) contracts.Millis { return v.Since }),
			projection.Int("publicity_end", func(v *version) contracts.Millis { return v.PublicityEnd }),
			projection.Text("certificate", func(v *version) string { return v.Certificate }),
			projection.Text("manual", func(v *version) contracts.Hash { return v.Facts.Manual }),
		}},
		projection.Table[dataset]{Noun: "dataset", Name: "datasets", Columns: []projection.Column[dataset]{
			projection.Text("node", func(d *dataset) contracts.ID { return d.Node }),
			projection.Int("rows", func(d *dataset) int64 { return d.Rows }),
			projection.Int("as_of", func(d *dataset) contracts.Millis { return d.AsOf }),
			projection.Int("reported", func(d *dataset) contracts.Millis { return d.Reported }),
		}},
		projection.Table[attestation]{Noun: "attestation", Name: "attestations", Columns: []projection.Column[attestation]{
			projection.Text("by", func(a *attestation) contracts.ID { return a.By }),
			projection.Text("version", func(a *attestation) contracts.ID { return a.Version }),
			projection.Text("type", func(a *attestation) contracts.AttestationType { return a.Type }),
			projection.Text("verdict", func(a *attestation) string { return a.Verdict }),
			projection.Int("expires", func(a *attestation) contracts.Millis { return a.Expires }),
			projection.Int("withdrawn", func(a *attestation) contracts.Millis { return a.Withdrawn }),
		}},
		projection.Table[objection]{Noun: "objection", Name: "objections", Columns: []projection.Column[objection]{
			projection.Part[objection]("version", 0), projection.Part[objection]("objection", 1),
			projection.Text("by", func(o *objection) contracts.ID { return o.By }),
			projection.Text("answer", func(o *objection) string { return o.Answer }),
		}},
		projection.Table[lookup]{Noun: "lookup", Name: "lookups", Columns: []projection.Column[lookup]{
			projection.Int("epoch", func(l *lookup) int64 { return l.Epoch }),
			projection.Int("rows", func(l *lookup) int64 { return l.Rows }),
		}},
		shelf{},
	}}
}
