package projection

import (
	_ "embed"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
)

//go:embed base.sql
var baseDDL string

// Base is the schema of what every capability reads: the market's own records, members, people, keys, nodes,
// authorisations, freezes, export decisions and erasures.
func Base() Schema {
	s := Schema{Name: "base", DDL: baseDDL, Version: 1}
	for _, key := range []string{"genesis", "rulebook", "clock", "ledger-snapshot", "loss", "reads"} {
		s.Nouns = append(s.Nouns, Table[canon.Raw]{Noun: key, Name: "market"})
	}
	s.Nouns = append(s.Nouns,
		calendars{},
		Table[contracts.Member]{"member", "members", []Column[contracts.Member]{
			Text("name", func(m *contracts.Member) string { return m.Name }),
			Text("name_en", func(m *contracts.Member) string { return m.NameEn }),
			Text("credit_code", func(m *contracts.Member) contracts.CreditCode { return m.CreditCode }),
			List("roles", func(m *contracts.Member) []contracts.Role { return m.Roles }),
			Text("state", func(m *contracts.Member) contracts.MemberState { return m.State }),
			Int("since", func(m *contracts.Member) contracts.Millis { return m.Since }),
		}},
		Table[contracts.IdentityCheck]{"check", "checks", []Column[contracts.IdentityCheck]{
			Text("member", func(c *contracts.IdentityCheck) contracts.ID { return c.Member }),
			Text("method", func(c *contracts.IdentityCheck) string { return c.Method }),
			Bool("passed", func(c *contracts.IdentityCheck) bool { return c.Passed }),
			Int("checked", func(c *contracts.IdentityCheck) contracts.Millis { return c.Checked }),
			Text("operator", func(c *contracts.IdentityCheck) contracts.ID { return c.Operator }),
		}},
		Table[contracts.Person]{"person", "people", []Column[contracts.Person]{
			Part[contracts.Person]("member", 0), Part[contracts.Person]("person", 1),
			List("duties", func(p *contracts.Person) []contracts.Duty { return p.Duties }),
			Int("dismissed", func(p *contracts.Person) contracts.Millis { return p.Dismissed }),
		}},
		Table[contracts.Key]{"key", "keys", []Column[contracts.Key]{
			Text("key", func(k *contracts.Key) contracts.PublicKey { return k.Key }),
			Text("member", func(k *contracts.Key) contracts.ID { return k.Member }),
			Text("person", func(k *contracts.Key) contracts.ID { return k.Person }),
			Text("purpose", func(k *contracts.Key) contracts.Purpose { return k.Purpose }),
			Bool("custody", func(k *contracts.Key) bool { return k.Custody }),
			Int("not_after", func(k *contracts.Key) contracts.Millis { return k.NotAfter }),
			Int("revoked", func(k *contracts.Key) contracts.Millis { return k.Revoked }),
			Text("node", func(k *contracts.Key) contracts.ID { return k.Node }),
		}},
		Table[contracts.Node]{"node", "nodes", []Column[contracts.Node]{
			Text("member", func(n *contracts.Node) contracts.ID { return n.Member }),
			Text("host", func(n *contracts.Node) contracts.ID { return n.Host }),
			Text("url", func(n *contracts.Node) string { return n.URL }),
			Text("region", func(n *contracts.Node) string { return string(n.Region) }),
			Int("since", func(n *contracts.Node) contracts.Millis { return n.Since }),
			Int("retired", func(n *contracts.Node) contracts.Millis { return n.Retired }),
		}},
		Table[contracts.SourceAuthorization]{"authorization", "authorizations", []Column[contracts.SourceAuthorization]{
			Text("authority", func(a *contracts.SourceAuthorization) contracts.ID { return a.Authority }),
			Text("operator", func(a *contracts.SourceAuthorization) contracts.ID { return a.Operator }),
			Int("valid_from", func(a *contracts.SourceAuthorization) contracts.Millis { return a.From }),
			Int("valid_to", func(a *contracts.SourceAuthorization) contracts.Millis { return a.To }),
			Int("withdrawn", func(a *contracts.SourceAuthorization) contracts.Millis { return a.Withdrawn }),
		}},
		Table[contracts.Freeze]{"freeze", "freezes", []Column[contracts.Freeze]{
			Text("by", func(f *contracts.Freeze) contracts.ID { return f.By }),
			Int("since", func(f *contracts.Freeze) contracts.Millis { return f.Since }),
			Int("lifted", func(f *contracts.Freeze) contracts.Millis { return f.Lifted }),
		}},
		Table[contracts.ExportDecision]{"export", "exports", []Column[contracts.ExportDecision]{
			Text("by", func(d *contracts.ExportDecision) contracts.ID { return d.By }),
			Text("member", func(d *contracts.ExportDecision) contracts.ID { return d.Member }),
			Text("route", func(d *contracts.ExportDecision) string { return d.Route }),
			Int("time", func(d *contracts.ExportDecision) contracts.Millis { return d.Time }),
		}},
		Table[contracts.Erasure]{"erased", "erasures", []Column[contracts.Erasure]{
			Text("by", func(e *contracts.Erasure) contracts.ID { return e.By }),
			Int("time", func(e *contracts.Erasure) contracts.Millis { return e.Time }),
		}},
	)
	return s
}

// calendars keeps a year's calendar under its whole key, beside the other records of the market.
type calendars struct{}

func (calendars) Of() string { return "calendar" }

func (calendars) Fold() Fold {
	return wholeKey{"calendar/", Table[contracts.Calendar]{Noun: "calendar", Name: "market"}.Fold()}
}

type wholeKey struct {
	prefix string
	Fold
}

func (k wholeKey) Add(w Write) error {
	w.ID = k.prefix + w.ID
	return k.Fold.Add(w)
}
