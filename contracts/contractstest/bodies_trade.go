package contractstest

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
)

// Commands from the first offer to the end of an agreement, and consent. A deal has one name for its negotiation
// (D.negotiation), its agreement (D) and its grant.
var tradeBodies = map[string]builder{
	// negotiation.request D1 on=P1 [kind=test] [billing=postpaid] [terms.unitPrice=…] [offer.…=…]
	"negotiation.request": func(s *Scene, a *Actor, l *line) (*act, error) {
		on, err := s.id(l.take("on", "P1"))
		if err != nil {
			return nil, err
		}
		b := &contracts.NegotiationRequest{Version: on, Scenario: "sme-tax-loan-pre", Kind: contracts.AgreementKind(l.take("kind", "trade"))}
		p := Policy(policy.PreLoan)
		if b.Kind == contracts.Test {
			p = Policy(policy.Evaluation)
			p.Prohibitions = append(p.Prohibitions, policy.CreditDecision)
			p = p.Ordered()
		}
		terms := Terms()
		if l.take("billing", "prepaid") == "postpaid" {
			terms = Postpaid()
		}
		b.Offer = contracts.Offer{Policy: p, QuotaCalls: 10_000, MaxStaleSec: 60, From: s.M.Now, To: s.M.Now.Add(180 * 86400), Billing: terms.Billing}
		open, err := s.private(l, &terms, &b.Offer.Terms)
		return &act{body: b, opens: open, after: s.bind(l.name()+".negotiation", "negotiation")}, err
	},
	"negotiation.counter": counterOffer, "negotiation.offer": counterOffer,
	"negotiation.accept": step(func(id contracts.ID) any { return &contracts.NegotiationStep{Negotiation: id} }),
	"negotiation.terminate": step(func(id contracts.ID) any {
		return &contracts.NegotiationStep{Negotiation: id, Reason: "changed our mind"}
	}),

	"agreement.propose": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, n, err := s.negotiation(l)
		if err != nil {
			return nil, err
		}
		text, err := s.text(n)
		return &act{body: &contracts.AgreementPropose{Negotiation: id, Text: text}, opens: s.opens(n.Offer.Terms)}, err
	},
	"agreement.verify": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, n, err := s.negotiation(l)
		if err != nil {
			return nil, err
		}
		b := &contracts.AgreementVerify{Negotiation: id, Digest: contracts.HashOf("test/nothing-proposed")}
		if n.Proposal != nil {
			b.Digest = n.Proposal.Digest
		}
		return &act{body: b}, nil
	},
	"agreement.finalize": func(s *Scene, a *Actor, l *line) (*act, error) {
		id, n, err := s.negotiation(l)
		if err != nil {
			return nil, err
		}
		b := &contracts.AgreementFinalize{Negotiation: id, Nodes: []contracts.NodeShare{{Node: s.M.Provider.Node, QuotaCalls: n.Offer.QuotaCalls}}}
		return &act{body: b, opens: s.opens(n.Offer.Terms), after: s.bind(l.name(), "agreement")}, nil
	},
	// agreement.amend D1 [terms.…=…] [policy.…=…]: what it doesn't say stays
	"agreement.amend": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, a, g, err := s.agreement(l)
		if err != nil {
			return nil, err
		}
		b := &contracts.AgreementAmend{Agreement: id, Policy: a.Policy, To: a.To, QuotaCalls: g.QuotaCalls, MaxStaleSec: g.MaxStaleSec, Terms: a.Terms}
		opens := s.opens(a.Terms)
		terms, err := opened[contracts.Terms](s, a.Terms)
		if err != nil {
			terms = clone(Terms()) // there is no such agreement, and the rules are to say so
		}
		if changed, err := s.private(l, terms, &b.Terms); err != nil {
			return nil, err
		} else if changed != nil {
			opens = changed
		}
		for i, o := range l.options {
			if o.used || o.key[0] == '@' || slices.Contains([]string{"text", "by", "open", "label", "sig", "edit", "pad"}, o.key) {
				continue
			}
			l.options[i].used = true
			if err := s.override(reflect.ValueOf(b), o.key, o.value); err != nil {
				return nil, fmt.Errorf("%s: %w", o.key, err)
			}
		}
		n := &contracts.Negotiation{Provider: a.Provider, Buyer: a.Buyer, Version: a.Version, Scenario: a.Scenario, Kind: a.Kind, Offer: contracts.Offer{
			Policy: b.Policy, QuotaCalls: b.QuotaCalls, MaxStaleSec: b.MaxStaleSec, From: a.From, To: b.To, Billing: a.Billing, Terms: b.Terms}}
		b.Text, err = s.textOf(n, terms, opens[0].Salt)
		return &act{body: b, opens: opens}, err
	},
	"agreement.renew": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, a, g, err := s.agreement(l)
		if err != nil {
			return nil, err
		}
		return &act{body: &contracts.AgreementRenew{Agreement: id, To: a.To.Add(180 * 86400), QuotaCalls: 2 * g.QuotaCalls}}, nil
	},
	"agreement.expire": about(func(id contracts.ID, _ string) any { return &contracts.AgreementExpire{Agreement: id} }),
	// agreement.terminate D1 [effective=+30d]: by one party, or by=maker,checker,bank.maker,bank.checker at once
	"agreement.terminate": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, a, _, err := s.agreement(l)
		if err != nil {
			return nil, err
		}
		x := &act{body: &contracts.AgreementTerminate{Agreement: id, Effective: s.M.Now, Reason: "no longer needed"}}
		if l.take("alone", "yes") == "yes" {
			x.opens = s.opens(a.Terms)
		}
		return x, nil
	},
	// acceptance.record D1: of the last closed period
	"acceptance.record": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, a, _, err := s.agreement(l)
		if err != nil {
			return nil, err
		}
		return &act{body: &contracts.AcceptanceRecord{Agreement: id, Period: a.Periods, Report: contracts.HashOf("test/acceptance")}}, nil
	},

	"grant.activate": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, a, _, err := s.agreement(l)
		if err != nil {
			return nil, err
		}
		return &act{body: &contracts.GrantActivate{Agreement: id}, opens: s.opens(a.Terms, s.balance(id))}, nil
	},
	// grant.allocate D1 nodes.0.quotaCalls=…
	"grant.allocate": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, _, g, err := s.agreement(l)
		if err != nil {
			return nil, err
		}
		return &act{body: &contracts.GrantAllocate{Agreement: id, Nodes: g.Nodes}}, nil
	},
	"grant.warn":    funded(func(id contracts.ID) any { return &contracts.GrantWarn{Agreement: id, Percent: 50} }),
	"grant.hold":    funded(func(id contracts.ID) any { return &contracts.GrantHold{Agreement: id} }),
	"grant.release": funded(func(id contracts.ID) any { return &contracts.GrantRelease{Agreement: id} }),
	"grant.suspend": about(grantTurn), "grant.resume": about(grantTurn), "grant.revoke": about(grantTurn),

	// consent.register C1 on=P1 [code=…] [count=3: C1.0, C1.1, C1.2]
	"consent.register": func(s *Scene, a *Actor, l *line) (*act, error) {
		n, err := atoi(l.take("count", "1"))
		if err != nil {
			return nil, err
		}
		b := &contracts.ConsentRegister{}
		if _, _, err := s.scope(l); err != nil { // takes its options, even for a batch of none
			return nil, err
		}
		subjects := make([]subject, n)
		for i := range subjects {
			scope, sub, err := s.scope(l)
			if err != nil {
				return nil, err
			}
			subjects[i] = sub
			b.Consents = append(b.Consents, contracts.ChannelConsent{Scope: scope, Evidence: contracts.ChannelEvidence{SignerRole: "legal_representative",
				RealName: "bank_face_to_face", TextVersion: "v3", Original: contracts.HashOf("test/original"), CASignature: contracts.HashOf("test/ca")}})
		}
		return &act{body: b, after: func() {
			for i, sub := range subjects {
				name := l.name()
				if n > 1 {
					name = fmt.Sprintf("%s.%d", name, i)
				}
				s.names[name], s.subjects[name] = contracts.ConsentID(s.M.last, i), sub
			}
		}}, nil
	},
	// consent.present C2 on=P1 holder=PHONE [verifier=…] [attest=verifier.machine]: signed with the company's own key
	"consent.present": func(s *Scene, a *Actor, l *line) (*act, error) {
		scope, sub, err := s.scope(l)
		if err != nil {
			return nil, err
		}
		for _, o := range l.under("scope") {
			if err := s.override(reflect.ValueOf(&scope), o.key, o.value); err != nil {
				return nil, err
			}
		}
		holder, err := s.key(nil, l.take("holder", "PHONE"))
		if err != nil {
			return nil, err
		}
		signer, err := s.key(nil, l.take("signer", l.take("holder", "PHONE")))
		if err != nil {
			return nil, err
		}
		attest, err := s.key(nil, l.take("attest", "verifier.machine"))
		if err != nil {
			return nil, err
		}
		b := &contracts.ConsentPresent{Buyer: a.ID, Scope: scope, Holder: holder.Public, Signature: signer.Signed(contracts.ConsentStatement(s.M.Ledger, a.ID, scope)),
			Verifier: s.actors["verifier"].ID, Attested: attest.Signed(contracts.VerifierStatement(s.M.Ledger, scope.Subject, holder.Public))}
		b.Signature.Key = holder.Public
		return &act{body: b, after: func() {
			s.names[l.name()], s.subjects[l.name()] = contracts.ConsentID(s.M.last, 0), sub
		}}, nil
	},
	// consent.revoke C1 [signed=PHONE]
	"consent.revoke": func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, err := s.need(l)
		b := &contracts.ConsentRevoke{Consent: id}
		if w := l.take("signed", ""); w != "" {
			k, err := s.key(nil, w)
			if err != nil {
				return nil, err
			}
			sig := k.Signed(contracts.RevokeStatement(s.M.Ledger, id))
			b.Signature = &sig
		}
		return &act{body: b}, err
	},
	"consent.sample": about(func(id contracts.ID, _ string) any { return &contracts.ConsentSample{Consent: id} }),
	"consent.produce": about(func(id contracts.ID, _ string) any {
		return &contracts.ConsentProduce{Consent: id, Original: contracts.HashOf("test/original")}
	}),
}

// Postpaid are postpaid terms for the test product.
func Postpaid() contracts.Terms {
	t := Terms()
	t.Billing, t.Escrow, t.CreditLine = contracts.Postpaid, 0, 1_000_000
	return t
}

func grantTurn(id contracts.ID, why string) any {
	return &contracts.GrantTurn{Agreement: id, Reason: why}
}

// private applies "terms." options and commits to the terms; it commits to nothing new when there is a commitment
// already and no such option.
func (s *Scene) private(l *line, terms *contracts.Terms, to *contracts.Hash) ([]contracts.Opening, error) {
	changes := l.under("terms")
	if *to != "" && len(changes) == 0 {
		return nil, nil
	}
	for _, o := range changes {
		if err := s.override(reflect.ValueOf(terms), o.key, o.value); err != nil {
			return nil, fmt.Errorf("terms.%s: %w", o.key, err)
		}
	}
	c, o := s.commit(l, contracts.TagTerms, *terms)
	*to = c
	return []contracts.Opening{o}, nil
}

func (s *Scene) negotiation(l *line) (contracts.ID, *contracts.Negotiation, error) {
	id, err := s.id(l.name() + ".negotiation")
	if err != nil {
		return "", nil, err
	}
	n, err := read[contracts.Negotiation](s, contracts.KeyNegotiation(id))
	return id, n, err
}

func (s *Scene) agreement(l *line) (contracts.ID, *contracts.Agreement, *contracts.Grant, error) {
	id, err := s.need(l)
	if err != nil {
		return "", nil, nil, err
	}
	a, err := read[contracts.Agreement](s, contracts.KeyAgreement(id))
	if err != nil {
		return id, &contracts.Agreement{Policy: Policy(policy.PreLoan)}, &contracts.Grant{}, nil
	}
	g, err := read[contracts.Grant](s, contracts.KeyGrant(id))
	return id, a, g, err
}

func step(body func(contracts.ID) any) builder {
	return func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, err := s.id(l.name() + ".negotiation")
		if err != nil {
			id, err = s.need(l)
		}
		return &act{body: body(id)}, err
	}
}

// counterOffer repeats the offer on the table, changed by offer. and terms. options.
func counterOffer(s *Scene, _ *Actor, l *line) (*act, error) {
	id, n, err := s.negotiation(l)
	if err != nil {
		return nil, err
	}
	b := &contracts.NegotiationOffer{Negotiation: id, Offer: n.Offer}
	opens := s.opens(n.Offer.Terms)
	terms, err := opened[contracts.Terms](s, n.Offer.Terms)
	if err != nil {
		return nil, err
	}
	changed, err := s.private(l, terms, &b.Offer.Terms)
	if changed != nil {
		opens = changed
	}
	return &act{body: b, opens: opens}, err
}

// text renders the contract that a negotiation's offer comes to.
func (s *Scene) text(n *contracts.Negotiation) (contracts.Hash, error) {
	terms, err := opened[contracts.Terms](s, n.Offer.Terms)
	if err != nil {
		return "", err
	}
	o, _ := s.opening(n.Offer.Terms)
	return s.textOf(n, terms, o.Salt)
}

func (s *Scene) textOf(n *contracts.Negotiation, terms *contracts.Terms, salt [32]byte) (contracts.Hash, error) {
	rules, err := contracts.RulesOf(s.Oracle)
	if err != nil {
		return "", err
	}
	provider, err := read[contracts.Member](s, contracts.KeyMember(n.Provider))
	if err != nil {
		return contracts.HashOf("test/no-text"), nil
	}
	buyer, err := read[contracts.Member](s, contracts.KeyMember(n.Buyer))
	if err != nil {
		return "", err
	}
	v, err := read[contracts.Version](s, contracts.KeyVersion(n.Version))
	if err != nil {
		return "", err
	}
	return contracts.TextDigest(salt, contracts.RenderContract(contracts.ContractInput{Rules: rules, Provider: provider, Buyer: buyer, Version: v,
		Scenario: n.Scenario, Kind: n.Kind, Offer: &n.Offer, Terms: terms})), nil
}

// funded makes a builder of a command that looks at usage and funds: it opens all that they rest on.
func funded(body func(contracts.ID) any) builder {
	return func(s *Scene, _ *Actor, l *line) (*act, error) {
		id, a, _, err := s.agreement(l)
		if err != nil {
			return nil, err
		}
		cs := []contracts.Hash{a.Terms}
		if u, err := read[contracts.Usage](s, contracts.KeyUsage(id)); err == nil {
			cs = append(cs, u.Totals)
		}
		if x, err := read[contracts.Settled](s, contracts.KeySettled(id)); err == nil {
			cs = append(cs, x.Totals)
		}
		if a.Billing == contracts.Prepaid {
			cs = append(cs, s.balance(id))
		} else if l.take("debt", "yes") == "yes" {
			cs = append(cs, s.debt(id))
		}
		return &act{body: body(id), opens: s.opens(cs...)}, nil
	}
}

// scope is a consent's: to the product's fields, at the provider's node, for three months.
func (s *Scene) scope(l *line) (contracts.ConsentScope, subject, error) {
	product, err := s.id(l.take("on", "P1") + ".product")
	if err != nil {
		if product, err = s.id(l.take("on", "P1")); err != nil {
			return contracts.ConsentScope{}, subject{}, err
		}
	}
	sub := subject{key: s.M.Random(), code: contracts.CreditCode(l.take("code", "91310115MA1K00007Q"))}
	s.subject = &sub
	return contracts.ConsentScope{Product: product, Node: s.M.Provider.Node, Subject: contracts.Subject(sub.key, sub.code), Purpose: policy.PreLoan,
		Fields: Fields, From: s.M.Now, To: s.M.Now.Add(90 * 86400), MaxCalls: 10}, sub, nil
}
