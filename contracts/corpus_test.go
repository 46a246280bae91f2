package contracts_test

import (
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
)

// unreachable says why no script can meet a code.
var unreachable = map[contracts.Code]string{
	"batch.dependent": "a script submits one command at a time; see batch_test.go",
	"clock.ahead":     "a ledger's answer, not the rules'; see ledger/embedded",
	"clock.peer":      "an endorser's answer; see chaincode",
	"epoch.unknown":   "an endorser's answer; see chaincode",
	"epoch.stale":     "an endorser's answer; see chaincode",
	"person.exists":   "a person's id comes from the command id, which is new",
	"serial.taken":    "two commands of one day would have to share seven digits of a digest; see serial_test.go",
	"policy.consent":  "MayUse decides consent itself, with codes of its own",
	"policy.window":   "a grant's window lies within its policy's",
	"policy.cohort":   "the cohort behind a figure is known when the figure is: the node keeps small ones out",
}

func TestCorpus(t *testing.T) {
	c := contractstest.RunCorpus(t, "testdata", func(*testing.T, string) contractstest.Executor { return nil })
	for _, k := range contracts.Kinds() {
		if c.Accepted[k.Name] == 0 {
			t.Errorf("no script has %s accepted", k.Name)
		}
	}
	for _, d := range contracts.Codes {
		why := unreachable[d.Code]
		if c.Refused[d.Code] == 0 && why == "" {
			t.Errorf("no script is refused with %s", d.Code)
		}
		if c.Refused[d.Code] > 0 && why != "" {
			t.Errorf("%s is met by a script; it is not unreachable", d.Code)
		}
	}
}
