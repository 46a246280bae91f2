package contractstest

import (
	"fmt"
	"strings"
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
