package contractstest

import (
	"fmt"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
)

// question asks what a node asks of followed state, of the rules' state and of the executor's, which must answer alike.
//
//	use bank D1 consent=C1 [purpose=…] [fields=…] [node=…] [operation=…] [region=…] [calls=…] [code=…] [epoch=…] [model=M1 digest=…]
//	ticket bank D1 consent=C1 …   the same, of a consent service's node
//	part bank S1 as=contributor [node=…]
func (s *Scene) question(l *line) error {
	if len(l.words) != 3 {
		return fmt.Errorf("want %s MEMBER NAME …", l.words[0])
	}
	peer, err := s.id(l.words[1])
	if err != nil {
		return err
	}
	about, err := s.id(l.words[2])
	if err != nil {
		return err
	}
	var ask func(contracts.State) error
	if l.words[0] == "part" {
		u := contracts.Part{Task: about, Peer: peer, As: l.take("as", "contributor")}
		if u.Node, err = s.id(l.take("node", "")); err != nil {
			return err
		}
		ask = func(st contracts.State) error {
			_, err := contracts.MayTakePart(st, s.M.Now, u)
			return err
		}
	} else {
		u, err := s.wish(l, peer, about)
		if err != nil {
			return err
		}
		ask = func(st contracts.State) error {
			if u.Version != "" {
				_, _, err := contracts.MayTicket(st, s.M.Now, u)
				return err
			}
			_, _, err := contracts.MayUse(st, s.M.Now, u)
			return err
		}
	}
	for _, o := range l.options {
		if !o.used {
			return fmt.Errorf("%s knows no %s", l.words[0], o.key)
		}
	}
	states := []contracts.State{s.Oracle}
	if st, ok := s.exec.(contracts.State); ok {
		states = append(states, st)
	}
	for i, st := range states {
		x := &Step{Use: true}
		if err := ask(st); err != nil {
			r, ok := err.(*contracts.Refusal)
			if !ok {
				return err
			}
			x.Refusal = r
		}
		if i > 0 && fmt.Sprint(x.Refusal) != fmt.Sprint(s.last.Refusal) {
			return fmt.Errorf("over the executor's state the answer is %v, over the rules' %v", x.Refusal, s.last.Refusal)
		}
		s.last = x
	}
	if s.observe != nil {
		s.observe(s.last)
	}
	return nil
}

// wish is the use that a line means.
func (s *Scene) wish(l *line, peer, agreement contracts.ID) (u contracts.Use, err error) {
	operation, node := policy.Query, "provider.node"
	if l.words[0] == "ticket" {
		operation, node = policy.ConsentLookup, "steward.node"
	}
	u = contracts.Use{Agreement: agreement, Peer: peer, Operation: policy.Operation(l.take("operation", string(operation))),
		Purpose: policy.Purpose(l.take("purpose", "pre_loan")), Region: policy.Region(l.take("region", "CN-31"))}
	if fields := l.take("fields", "tax_score"); fields != "" {
		u.Fields = strings.Split(fields, ",")
	}
	if u.Node, err = s.id(l.take("node", node)); err != nil {
		return u, err
	}
	if l.words[0] == "ticket" {
		g, err := read[contracts.Grant](s, contracts.KeyGrant(agreement))
		if err != nil {
			return u, err
		}
		u.Version = g.Version
	}
	if u.Calls, err = atoi(l.take("calls", "0")); err != nil {
		return u, err
	}
	if u.Epoch, err = atoi(l.take("epoch", "0")); err != nil {
		return u, err
	}
	if u.Model, err = s.id(l.take("model", "")); err != nil {
		return u, err
	}
	u.ModelDigest = contracts.HashOf("test/model")
	if d := l.take("digest", ""); d != "" {
		u.ModelDigest = s.hash(d)
	}
	if c := l.take("consent", ""); c != "" {
		if u.Consent, err = s.id(c); err != nil {
			return u, err
		}
		sub := s.subjects[c]
		u.Subject = contracts.Subject(sub.key, contracts.CreditCode(l.take("code", string(sub.code))))
	}
	return u, nil
}
