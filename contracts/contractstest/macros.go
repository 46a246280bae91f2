package contractstest

import (
	"fmt"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
)

// macros are stretches of the market's ordinary way, so that a script can begin where its story does. NAME is the word
// after the macro's, and OPTIONS all its options. Every command in a macro must be accepted.
var macros = map[string]string{
	"market": `
venue genesis OPTIONS
admitted custodian
admitted authority
admitted provider
admitted bank
admitted lawfirm
admitted assessor
admitted appraiser
admitted verifier
provider node.register
bank node.register`,
	"admitted": `
NAME member.apply OPTIONS
venue member.check NAME
venue member.admit NAME`,
	"authorised": `
authority authority.grant NAME OPTIONS`,
	"reviewed": `
provider product.draft NAME OPTIONS
provider dataset.report NAME
lawfirm attestation.issue NAME.legal on=NAME
assessor attestation.issue NAME.quality on=NAME
appraiser attestation.issue NAME.value on=NAME type=valuation
provider product.submit NAME
venue product.review NAME decision=accept
venue product.review NAME decision=pass
venue product.review NAME decision=pass`,
	"listed": `
reviewed NAME OPTIONS
wait 8d
venue product.register NAME
venue product.list NAME`,
	"agreed": `
bank negotiation.request NAME OPTIONS
provider negotiation.offer NAME
bank negotiation.accept NAME
provider agreement.propose NAME
bank agreement.verify NAME
provider agreement.finalize NAME`,
	"running": `
agreed NAME OPTIONS
custodian movement.deposit NAME amount=1000000
venue grant.activate NAME`,
	"closed": `
venue period.close NAME
provider usage.report NAME final=true OPTIONS`,
}

func (s *Scene) macro(body string, l *line, text string) error {
	name := ""
	if len(l.words) > 1 {
		name = l.words[1]
	}
	options := ""
	if i := strings.IndexByte(text, '='); i >= 0 {
		options = text[strings.LastIndexByte(text[:i], ' ')+1:]
	}
	for _, step := range strings.Split(strings.TrimSpace(body), "\n") {
		step = strings.NewReplacer("NAME", name, "OPTIONS", options).Replace(step)
		if err := s.Run(step); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
		if s.last.Refusal != nil {
			return fmt.Errorf("%s: refused: %w", step, s.last.Refusal)
		}
	}
	return nil
}

// use asks the gate: "use bank D1 consent=C1 [purpose=…] [fields=…] [node=…] [operation=…] [region=…] [calls=…] [code=…]".
func (s *Scene) use(l *line) error {
	if len(l.words) != 3 {
		return fmt.Errorf("want use MEMBER AGREEMENT …")
	}
	peer, err := s.id(l.words[1])
	if err != nil {
		return err
	}
	agreement, err := s.id(l.words[2])
	if err != nil {
		return err
	}
	u := contracts.Use{Agreement: agreement, Peer: peer, Operation: policy.Operation(l.take("operation", "query")), Purpose: policy.Purpose(l.take("purpose", "pre_loan")),
		Fields: strings.Split(l.take("fields", "tax_score"), ","), Region: policy.Region(l.take("region", "CN-31"))}
	if u.Node, err = s.id(l.take("node", "provider.node")); err != nil {
		return err
	}
	if u.Calls, err = atoi(l.take("calls", "0")); err != nil {
		return err
	}
	if c := l.take("consent", ""); c != "" {
		if u.Consent, err = s.id(c); err != nil {
			return err
		}
		sub := s.subjects[c]
		u.Subject = contracts.Subject(sub.key, contracts.CreditCode(l.take("code", string(sub.code))))
	}
	for _, o := range l.options {
		if !o.used {
			return fmt.Errorf("use knows no %s", o.key)
		}
	}
	states := []contracts.State{s.Oracle}
	if st, ok := s.exec.(contracts.State); ok {
		states = append(states, st)
	}
	for i, st := range states {
		x := &Step{Use: true}
		if _, _, err := contracts.MayUse(st, s.M.Now, u); err != nil {
			if r, ok := err.(*contracts.Refusal); ok {
				x.Refusal = r
			} else {
				return err
			}
		}
		if i > 0 && fmt.Sprint(x.Refusal) != fmt.Sprint(s.last.Refusal) {
			return fmt.Errorf("over the executor's state the gate answers %v, over the rules' %v", x.Refusal, s.last.Refusal)
		}
		s.last = x
	}
	if s.observe != nil {
		s.observe(s.last)
	}
	return nil
}
