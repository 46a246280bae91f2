package contractstest

import (
	"fmt"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// Commands about the ledger itself, members, people, keys, nodes and source authorities.
var memberBodies = map[string]builder{
	"genesis": func(s *Scene, _ *Actor, _ *line) (*act, error) {
		v, r := s.actors["venue"], s.actors["regulator"]
		b := &contracts.Genesis{Clock: "scripted", Sample: true, Start: s.M.Now, Rulebook: Rules(), Calendars: []contracts.Calendar{contracts.Calendar2026()},
			Venue: *clone(v.App), Regulator: *clone(r.App)}
		return &act{body: b, after: func() { v.ID, r.ID = s.M.Last("venue"), s.M.Last("regulator") }}, nil
	},
	"rulebook.adopt": func(s *Scene, _ *Actor, _ *line) (*act, error) {
		rules, err := contracts.RulesOf(s.Oracle)
		if err != nil || rules == nil {
			return nil, fmt.Errorf("there is no rulebook yet: %w", err)
		}
		b := &contracts.RulebookAdopt{Regulator: s.actors["regulator"].ID, Rulebook: *rules}
		b.Rulebook.Version++
		return &act{body: b}, nil
	},
	"calendar.publish": func(*Scene, *Actor, *line) (*act, error) {
		return &act{body: &contracts.CalendarPublish{Calendar: contracts.Calendar2026(), Source: "国办发明电〔2025〕7号"}}, nil
	},
	"clock.advance": func(s *Scene, _ *Actor, l *line) (*act, error) {
		b := &contracts.ClockAdvance{To: s.M.Now.Add(60)}
		return &act{body: b, after: func() { s.M.Now = b.To }}, nil
	},
	"clock.release": func(*Scene, *Actor, *line) (*act, error) {
		return &act{body: &contracts.ClockRelease{Reason: "the script is over"}}, nil
	},

	"member.apply": func(s *Scene, a *Actor, l *line) (*act, error) {
		b := &contracts.MemberApply{Application: *clone(a.App)}
		if without := l.take("without", ""); without != "" {
			var files []contracts.File
			for _, f := range b.Application.Files {
				if string(f.Kind) != without {
					files = append(files, f)
				}
			}
			b.Application.Files = files
		}
		return &act{body: b, after: func() { a.ID, a.App = s.M.Last("member"), b.Application }}, nil
	},
	"member.check": func(s *Scene, a *Actor, l *line) (*act, error) {
		id, err := s.need(l)
		return &act{body: &contracts.IdentityCheck{Member: id, Method: "business_licence", Passed: true, Checked: s.M.Now,
			Evidence: contracts.HashOf("test/check", []byte(id)), Operator: a.Person(1)}}, err
	},
	"member.admit":     about(func(id contracts.ID, _ string) any { return &contracts.MemberAdmit{Applicant: id} }),
	"member.turn_away": about(memberTurn), "member.suspend": about(memberTurn), "member.reinstate": about(memberTurn), "member.exit": about(memberTurn),
	"member.renew_file": func(s *Scene, _ *Actor, _ *line) (*act, error) {
		return &act{body: &contracts.MemberRenewFile{File: contracts.File{Kind: contracts.FileSecurityCertificate, Digest: contracts.HashOf("test/renewed"),
			Expires: s.M.Now.Add(365 * 86400)}}}, nil
	},

	// person.appoint NAME duties=maker key=K1
	"person.appoint": func(s *Scene, a *Actor, l *line) (*act, error) {
		k, err := s.key(a, l.take("key", ""))
		if err != nil {
			return nil, err
		}
		p := contracts.PersonSpec{Evidence: contracts.HashOf("test/evidence", []byte(l.name())), Keys: []contracts.KeySpec{{Key: k.Public, Purpose: contracts.PurposeCommand}}}
		for _, d := range strings.Split(l.take("duties", "maker"), ",") {
			p.Duties = append(p.Duties, contracts.Duty(d))
		}
		return &act{body: &contracts.PersonAppoint{Person: p}, after: func() { s.names[l.name()] = contracts.PersonID(s.M.Last("person"), 0) }}, nil
	},
	"person.dismiss": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, err := s.id("person:" + l.name())
		if err != nil {
			id, err = s.need(l)
		}
		return &act{body: &contracts.PersonDismiss{Person: id, Reason: "left"}}, err
	},
	// key.add K1, key.add K1 person=bank.maker
	"key.add": func(s *Scene, a *Actor, l *line) (*act, error) {
		k, err := s.key(a, l.name())
		if err != nil {
			return nil, err
		}
		b := &contracts.KeyAdd{Key: contracts.KeySpec{Key: k.Public, Purpose: contracts.PurposeCommand}}
		if p := l.take("person", ""); p != "" {
			if b.Person, err = s.id("person:" + p); err != nil {
				b.Person, err = s.id(p)
			}
		}
		return &act{body: b}, err
	},
	"key.revoke": func(s *Scene, a *Actor, l *line) (*act, error) {
		k, err := s.key(a, l.name())
		return &act{body: &contracts.KeyRevoke{Key: k.Public.ID(), Reason: "lost"}}, err
	},

	// node.register [NAME]: with the actor's own keys, or tls=K1 receipt=K2
	"node.register": func(s *Scene, a *Actor, l *line) (*act, error) {
		tls, err := s.key(a, l.take("tls", "tls"))
		if err != nil {
			return nil, err
		}
		receipt, err := s.key(a, l.take("receipt", "receipt"))
		b := &contracts.NodeRegister{TLSKey: tls.Public.ID(), ReceiptKey: receipt.Public.ID(), Region: "CN-31"}
		if a == s.M.Provider {
			b.URL = "https://127.0.0.1:7443"
		}
		return &act{body: b, after: func() {
			if l.name() != "" {
				s.names[l.name()] = s.M.Last("node")
			} else {
				a.Node = s.M.Last("node")
			}
		}}, err
	},
	"node.retire": about(func(id contracts.ID, _ string) any { return &contracts.NodeRetire{Node: id} }),

	"authority.grant": func(s *Scene, _ *Actor, l *line) (*act, error) {
		return &act{body: &contracts.AuthorityGrant{Operator: s.M.Provider.ID, Scope: []string{"tax.vat_returns"}, Scenarios: []string{"quota-review", "sme-tax-loan-pre"},
			From: s.M.Now, To: s.M.Now.Add(3 * 365 * 86400), Ceiling: 2_000_000, Basis: contracts.HashOf("test/basis")}, after: s.bind(l.name(), "authorization")}, nil
	},
	"authority.withdraw": about(func(id contracts.ID, why string) any {
		return &contracts.AuthorityWithdraw{Authorization: id, Reason: why}
	}),
}

func memberTurn(id contracts.ID, why string) any {
	return &contracts.MemberTurn{Subject: id, Reason: why}
}
