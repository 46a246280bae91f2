package contracts_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
)

// seen is what somebody who is no party to an entry may fetch of it, at the level of contracts: the body, signatures,
// events and writes when it is public, and otherwise no more than the ids of the objects it touched. The leaf adds a
// digest over the entry.
func seen(a contractstest.Applied) string {
	if !a.Result.Public {
		return fmt.Sprintf("time %d objects %v", a.Time, a.Result.Objects)
	}
	writes, _ := json.Marshal(a.Result.Writes)
	return fmt.Sprintf("time %d public %s %v %v %s", a.Time, a.Submission.Raw, a.Submission.Signatures, a.Result.Events, writes)
}

var opaque = regexp.MustCompile(`[0-9a-f]{32,}`)

// aliased replaces ids and hashes by their order of appearance in the whole view: equal ones stay equal.
func aliased(p *contractstest.Pure) []string {
	alias := map[string]string{}
	var out []string
	for _, a := range p.Applied {
		out = append(out, opaque.ReplaceAllStringFunc(seen(a), func(s string) string {
			if alias[s] == "" {
				alias[s] = fmt.Sprintf("<%d>", len(alias))
			}
			return alias[s]
		}))
	}
	return out
}

const twoMarkets = `
market
authorised A1
listed P1
agreed D0 on=P1 billing=postpaid
agreed D1 on=P1 TERMS
custodian movement.deposit D1 amount=DEPOSIT
venue grant.activate D1
bank consent.register C1 on=P1 code=CODE
provider usage.report D1 calls=CALLS
venue period.close D1
provider usage.report D1 calls=MORE final=true
bank acceptance.record D1
venue settlement.settle D1
custodian movement.payout D1
venue certificate.issue D1
provider agreement.amend D1 AMENDED
bank dispute.open D1
venue dispute.decide D1`

// TestTwoMarkets: two markets that differ only in one pair's terms, amounts, use and subject look the same to everybody
// else, up to random ids and hashes.
func TestTwoMarkets(t *testing.T) {
	one := []string{"TERMS", "terms.unitPrice=700000 terms.escrow=1000000", "DEPOSIT", "1000000", "CODE", "91310115MA1K00007Q", "CALLS", "120", "MORE", "3", "AMENDED", "terms.unitPrice=650000"}
	two := []string{"TERMS", "terms.unitPrice=1900000 terms.flatFee=777700 terms.escrow=9000000 offer.policy.purposes=quota_review scenario=quota-review offer.quotaCalls=50000 offer.to=+300d",
		"DEPOSIT", "88888888", "CODE", string(contracts.SyntheticCreditCode(9)), "CALLS", "31337", "MORE", "4711", "AMENDED", "terms.unitPrice=1850000 quotaCalls=60000"}
	play := func(values []string) *contractstest.Pure {
		s := contractstest.NewScene("bund.test/two", nil, 1)
		text := strings.TrimSpace(twoMarkets)
		for i := 0; i < len(values); i += 2 {
			text = strings.ReplaceAll(text, values[i], values[i+1])
		}
		for _, line := range strings.Split(text, "\n") {
			if err := s.Run(line); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if r := s.Last().Refusal; r != nil {
				t.Fatalf("%s: %v", line, r)
			}
		}
		return s.Oracle
	}
	p, q := play(one), play(two)
	a, b := aliased(p), aliased(q)
	if len(a) != len(b) {
		t.Fatalf("%d entries and %d", len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("entry %d, %s:\n%.400s\n%.400s", i, p.Applied[i].Result.Outcome.Kind, a[i], b[i])
		}
	}
	// And they do differ: the parties see other bodies.
	same := 0
	for i := range p.Applied {
		if string(p.Applied[i].Submission.Raw) == string(q.Applied[i].Submission.Raw) {
			same++
		}
	}
	if same == len(p.Applied) {
		t.Error("the two markets are one")
	}
}

// TestPrivateWords: no entry, event, key or record holds a word of what is private in a trade, in plain.
func TestPrivateWords(t *testing.T) {
	s := contractstest.NewScene("bund.test/private", nil, 1)
	for _, line := range []string{"market", "authorised A1", "listed P1", "agreed D1 on=P1 terms.unitPrice=1234567 terms.flatFee=7654321 terms.escrow=3141592",
		"custodian movement.deposit D1 amount=27182818 ref=JP-SECRET-REF", "venue grant.activate D1", "bank consent.register C1 on=P1 code=" + string(contracts.SyntheticCreditCode(77)),
		"provider usage.report D1 calls=1357", "venue period.close D1", "provider usage.report D1 final=true", "bank acceptance.record D1", "venue settlement.settle D1", "custodian movement.payout D1"} {
		if err := s.Run(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	words := []string{"1234567", "7654321", "3141592", "27182818", "SECRET", string(contracts.SyntheticCreditCode(77)),
		"1675307419" /* micro: 1357 × 1234567 */}
	found := 0
	for _, k := range s.Oracle.Openings {
		for _, w := range words {
			if strings.Contains(string(k.Opening.Value), w) {
				found++
			}
		}
	}
	if found < 5 {
		t.Fatalf("only %d of the words are in the openings: the test looks for the wrong ones", found)
	}
	for _, a := range s.Oracle.Applied {
		text := string(a.Submission.Raw) + fmt.Sprint(a.Result.Events, a.Result.Objects)
		for _, w := range a.Result.Writes {
			text += w.Key + string(w.Value)
		}
		for _, w := range words {
			if strings.Contains(text, w) {
				t.Errorf("%s shows %s", a.Result.Outcome.Kind, w)
			}
		}
	}
}
