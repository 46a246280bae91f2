package contractstest

import (
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// Commands that bring a product to the shelf and take it off.
var productBodies = map[string]builder{
	// product.draft P1 [of=P0: a further version of its product] [authorization=A1]
	"product.draft": func(s *Scene, _ *Actor, l *line) (*act, error) {
		b := &contracts.ProductDraft{}
		auth, err := s.id(l.take("authorization", "A1"))
		if err != nil {
			return nil, err
		}
		b.Facts = s.M.Facts(auth)
		if of := l.take("of", ""); of != "" {
			if b.Product, err = s.id(of + ".product"); err != nil {
				return nil, err
			}
		}
		return &act{body: b, after: func() {
			s.names[l.name()], s.names[l.name()+".product"] = s.M.Last("version"), b.Product
			if b.Product == "" {
				s.names[l.name()+".product"] = s.M.Last("product")
			}
		}}, nil
	},
	"product.amend": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, v, err := s.version(l)
		if err != nil {
			return nil, err
		}
		return &act{body: &contracts.VersionAmend{Version: id, Facts: v.Facts}}, nil
	},
	"dataset.report": func(s *Scene, a *Actor, l *line) (*act, error) {
		id, v, err := s.version(l)
		if err != nil {
			return nil, err
		}
		return &act{body: &contracts.DatasetReport{Version: id, Node: a.Node, Digest: contracts.HashOf("test/dataset"), Schema: v.Facts.Dictionary, Rows: 5850, AsOf: s.M.Now,
			Quality: []contracts.QualityFigure{{Dimension: "completeness", Rule: "not empty", Satisfying: 99, Tested: 100}}}}, nil
	},
	"product.submit": about(func(id contracts.ID, _ string) any { return &contracts.VersionSubmit{Version: id} }),
	// product.review P1 decision=pass
	"product.review": about(func(id contracts.ID, _ string) any {
		return &contracts.VersionReview{Version: id, Decision: "pass", Checklist: contracts.HashOf("test/checklist")}
	}),
	// product.object O1 on=P1
	"product.object": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, err := s.id(l.take("on", ""))
		return &act{body: &contracts.VersionObject{Version: id, Evidence: contracts.HashOf("test/objection"), Reason: "the source is doubtful"}, after: s.bind(l.name(), "objection")}, err
	},
	"product.answer": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, err := s.need(l)
		if err != nil {
			return nil, err
		}
		on, err := s.id(l.take("on", ""))
		return &act{body: &contracts.VersionAnswer{Version: on, Objection: id, Reason: "looked into"}}, err
	},
	"product.register": about(func(id contracts.ID, _ string) any { return &contracts.VersionRegister{Version: id, Region: "310115"} }),
	// product.list P1: on all attestations that were issued on P1
	"product.list": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, err := s.need(l)
		b := &contracts.VersionList{Version: id}
		for _, name := range s.versions[l.name()] {
			b.Attestations = append(b.Attestations, s.names[name])
		}
		return &act{body: b}, err
	},
	"product.price": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, v, err := s.version(l)
		if err != nil {
			return nil, err
		}
		return &act{body: &contracts.ProductPrice{Version: id, UnitPrice: v.Facts.UnitPrice, FlatFee: v.Facts.FlatFee}}, nil
	},
	"product.suspend": about(versionTurn), "product.resume": about(versionTurn), "product.delist": about(versionTurn),

	// attestation.issue T1 on=P1 type=legal_opinion
	"attestation.issue": func(s *Scene, a *Actor, l *line) (*act, error) {
		on := l.take("on", "")
		id, err := s.id(on)
		if err != nil {
			return nil, err
		}
		b := &contracts.AttestationIssue{Version: id, Type: contracts.QualityReport, Verdict: "tradable", Document: contracts.HashOf("test/document"), Expires: s.M.Now.Add(300 * 86400)}
		if a.App.Roles[0] == contracts.RoleIntermediary {
			b.Type = contracts.LegalOpinion
		}
		if v, err := read[contracts.Version](s, contracts.KeyVersion(id)); err == nil {
			b.Subject = v.Digest(id)
		} else {
			b.Subject = contracts.HashOf("test/subject")
		}
		return &act{body: b, after: func() {
			s.names[l.name()] = s.M.Last("attestation")
			s.versions[on] = append(s.versions[on], l.name())
		}}, nil
	},
	"attestation.withdraw": about(func(id contracts.ID, why string) any {
		return &contracts.AttestationWithdraw{Attestation: id, Reason: why}
	}),
}

func versionTurn(id contracts.ID, why string) any {
	return &contracts.VersionTurn{Version: id, Reason: why}
}

// version gives the version that a command is about; an unknown one has the facts of any.
func (s *Scene) version(l *line) (contracts.ID, *contracts.Version, error) {
	id, err := s.need(l)
	if err != nil {
		return "", nil, err
	}
	v, err := read[contracts.Version](s, contracts.KeyVersion(id))
	if err != nil {
		auth, err := s.id("A1")
		if err != nil {
			return "", nil, fmt.Errorf("want an authorisation A1 first: %w", err)
		}
		v = &contracts.Version{Facts: s.M.Facts(auth)}
	}
	return id, v, nil
}
