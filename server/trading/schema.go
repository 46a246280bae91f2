package trading

import (
	_ "embed"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/projection"
)

//go:embed trading.sql
var ddl string

// Schema is what trades look like as rows. Amounts and terms are not among them: they are openings.
func Schema() projection.Schema {
	type (
		negotiation = contracts.Negotiation
		agreement   = contracts.Agreement
		grant       = contracts.Grant
		usage       = contracts.Usage
		period      = contracts.ClosedPeriod
		certificate = contracts.Certificate
		dispute     = contracts.Dispute
		correction  = contracts.Correction
		consent     = contracts.Consent
		movement    = contracts.Movement
		settlement  = contracts.Settlement
		settled     = contracts.Settled
		model       = contracts.Model
		task        = contracts.StatisticsTask
	)
	return projection.Schema{Name: "trading", DDL: ddl, Version: 1, Nouns: []projection.Noun{
		projection.Table[negotiation]{Noun: "negotiation", Name: "negotiations", Columns: []projection.Column[negotiation]{
			projection.Text("buyer", func(n *negotiation) contracts.ID { return n.Buyer }),
			projection.Text("provider", func(n *negotiation) contracts.ID { return n.Provider }),
			projection.Text("version", func(n *negotiation) contracts.ID { return n.Version }),
			projection.Text("state", func(n *negotiation) contracts.NegotiationState { return n.State }),
		}},
		projection.Table[agreement]{Noun: "agreement", Name: "agreements", Columns: []projection.Column[agreement]{
			projection.Text("buyer", func(a *agreement) contracts.ID { return a.Buyer }),
			projection.Text("provider", func(a *agreement) contracts.ID { return a.Provider }),
			projection.Text("product", func(a *agreement) contracts.ID { return a.Product }),
			projection.Text("kind", func(a *agreement) contracts.AgreementKind { return a.Kind }),
			projection.Text("state", func(a *agreement) contracts.AgreementState { return a.State }),
			projection.Int("ends", func(a *agreement) contracts.Millis { return a.To }),
		}},
		projection.Table[grant]{Noun: "grant", Name: "grants", Columns: []projection.Column[grant]{
			projection.Text("state", func(g *grant) contracts.GrantState { return g.State }),
			projection.Int("warned", func(g *grant) int64 { return g.Warned }),
		}},
		projection.Table[usage]{Noun: "usage", Name: "usages", Columns: []projection.Column[usage]{
			projection.Int("size", func(u *usage) int64 { return u.Size }),
		}},
		projection.Table[period]{Noun: "period", Name: "periods", Columns: []projection.Column[period]{
			projection.Part[period]("agreement", 0),
			projection.Int("number", func(p *period) int64 { return p.Number }),
			projection.Bool("reported", func(p *period) bool { return p.Report != nil }),
		}},
		projection.Table[certificate]{Noun: "certificate", Name: "certificates", Columns: []projection.Column[certificate]{
			projection.Text("agreement", func(c *certificate) contracts.ID { return c.Agreement }),
			projection.Text("number", func(c *certificate) string { return c.Number }),
		}},
		projection.Table[dispute]{Noun: "dispute", Name: "disputes", Columns: []projection.Column[dispute]{
			projection.Int("decided", func(d *dispute) contracts.Millis { return d.Decided }),
		}},
		projection.Table[correction]{Noun: "correction", Name: "corrections", Columns: []projection.Column[correction]{
			projection.Text("product", func(c *correction) contracts.ID { return c.Product }),
			projection.Int("decided", func(c *correction) contracts.Millis { return c.Decided }),
		}},
		projection.Table[consent]{Noun: "consent", Name: "consents", Columns: []projection.Column[consent]{
			projection.Text("buyer", func(c *consent) contracts.ID { return c.Buyer }),
			projection.Text("product", func(c *consent) contracts.ID { return c.Product }),
			projection.Text("form", func(c *consent) string { return c.Form }),
			projection.Int("revoked", func(c *consent) contracts.Millis { return c.Revoked }),
		}},
		projection.Table[model]{Noun: "model", Name: "models", Columns: []projection.Column[model]{
			projection.Text("agreement", func(m *model) contracts.ID { return m.Agreement }),
			projection.Text("assessor", func(m *model) contracts.ID { return m.Assessor }),
			projection.Int("attested", func(m *model) contracts.Millis { return m.Attested }),
		}},
		projection.Table[task]{Noun: "statistics", Name: "statistics", Columns: []projection.Column[task]{
			projection.Text("version", func(s *task) contracts.ID { return s.Version }),
			projection.Text("parties", func(s *task) string { return parties(s) }),
			projection.Int("ended", func(s *task) contracts.Millis { return s.Ended }),
		}},
		projection.Table[contracts.Escrow]{Noun: "clr/escrow", Name: "escrows"},
		projection.Table[contracts.Debt]{Noun: "clr/debt", Name: "debts"},
		projection.Table[movement]{Noun: "clr/movement", Name: "movements", Columns: []projection.Column[movement]{
			projection.Text("agreement", func(m *movement) contracts.ID { return m.Agreement }),
			projection.Text("type", func(m *movement) string { return m.Type }),
			projection.Int("period", func(m *movement) int64 { return m.Period }),
		}},
		projection.Table[settlement]{Noun: "clr/settlement", Name: "settlements", Columns: []projection.Column[settlement]{
			projection.Text("agreement", func(s *settlement) contracts.ID { return s.Agreement }),
			projection.Text("number", func(s *settlement) string { return s.Number }),
			projection.Int("paid", func(s *settlement) contracts.Millis { return s.Paid }),
		}},
		projection.Table[settled]{Noun: "clr/settled", Name: "settled", Columns: []projection.Column[settled]{
			projection.Int("period", func(s *settled) int64 { return s.Period }),
		}},
	}}
}
