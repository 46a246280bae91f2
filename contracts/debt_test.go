package contracts_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
)

// TestDebtUsesUpTheCreditLine plays random months of a postpaid agreement beside books of its own. The ledger's debt is
// always what was settled and not collected, and a warning or hold is accepted exactly when use and debt have come so far.
func TestDebtUsesUpTheCreditLine(t *testing.T) {
	const credit, grace, price = 100_000, 700, 80 // fen; a call costs 80
	rapid.Check(t, func(t *rapid.T) {
		s := contractstest.NewScene("bund.test/debt", nil, 1)
		run := func(line string) contracts.Code {
			t.Helper()
			if err := s.Run(line); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if r := s.Last().Refusal; r != nil {
				return r.Code
			}
			return ""
		}
		for _, line := range []string{"market", "authorised A1", "listed P1", fmt.Sprintf("agreed D1 on=P1 billing=postpaid terms.flatFee=0 terms.creditLine=%d terms.graceAmount=%d", credit, grace)} {
			if c := run(line); c != "" {
				t.Fatalf("%s: %s", line, c)
			}
		}
		var unsettled, debt int64 // calls, fen
		var uncollected []int64   // by period
		warned, held := int64(0), false
		id := agreementOf(s)
		for range rapid.IntRange(5, 25).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"use", "use", "settle", "collect", "warn", "hold", "release"}).Draw(t, "step") {
			case "use":
				n := rapid.Int64Range(1, 700).Draw(t, "calls")
				if c := run(fmt.Sprintf("provider usage.report D1 calls=%d", n)); c != "" {
					t.Fatalf("report: %s", c)
				}
				unsettled += n
			case "settle":
				for _, line := range []string{"closed D1", "bank acceptance.record D1"} {
					run(line) // the second only once
				}
				gross := unsettled * price
				total := gross + (gross+50)/100
				line := "venue settlement.settle D1"
				if total == 0 {
					line += " debt=no"
				}
				if c := run(line); c != "" {
					if unsettled == 0 && c == "acceptance.missing" {
						continue // never used, so never accepted
					}
					t.Fatalf("settle: %s", c)
				}
				debt, unsettled = debt+total, 0
				uncollected = append(uncollected, total)
			case "collect":
				if len(uncollected) == 0 {
					continue
				}
				n := rapid.IntRange(0, len(uncollected)-1).Draw(t, "period")
				c := run(fmt.Sprintf("custodian movement.collection D1 period=%d", n+1))
				if paid := uncollected[n]; (c == "") != (paid > 0) {
					t.Fatalf("collection of %d fen: %s", paid, c)
				}
				debt, uncollected[n] = debt-uncollected[n], 0
			case "warn":
				p := rapid.SampledFrom([]int64{50, 80, 95}).Draw(t, "percent")
				c := run(fmt.Sprintf("venue grant.warn D1 percent=%d", p))
				if want := !held && p > warned && reported(s, id) && (unsettled*price+debt)*100 >= credit*p; (c == "") != want {
					t.Fatalf("warned of %d %% with %d fen of use and %d owed: %q", p, unsettled*price, debt, c)
				}
				if c == "" {
					warned = p
				}
			case "hold":
				c := run("venue grant.hold D1")
				if want := !held && warned == 95 && unsettled*price+debt >= credit+grace; (c == "") != want {
					t.Fatalf("held with %d fen of use and %d owed: %q", unsettled*price, debt, c)
				}
				held = held || c == ""
			case "release":
				c := run("venue grant.release D1")
				if want := held && (unsettled*price+debt)*100 < credit*50; (c == "") != want {
					t.Fatalf("released with %d fen of use and %d owed: %q", unsettled*price, debt, c)
				}
				if c == "" {
					held, warned = false, 0
				}
			}
			if got := owed(t, s, id); got != debt {
				t.Fatalf("the ledger says %d fen are owed, the books %d", got, debt)
			}
		}
	})
}

// agreementOf gives the only agreement.
func agreementOf(s *contractstest.Scene) contracts.ID {
	for _, k := range s.Oracle.Keys() {
		if id, ok := strings.CutPrefix(k, "agreement/"); ok {
			return contracts.ID(id)
		}
	}
	return ""
}

func reported(s *contractstest.Scene, id contracts.ID) bool {
	b, err := s.Oracle.Get(contracts.KeyUsage(id))
	return err == nil && b != nil
}

// owed is the debt that the ledger commits to.
func owed(t *rapid.T, s *contractstest.Scene, id contracts.ID) int64 {
	b, err := s.Oracle.Get(contracts.KeyDebt(id))
	if err != nil {
		t.Fatal(err)
	}
	if b == nil {
		return 0
	}
	d, err := contracts.Read[contracts.Debt](b)
	if err != nil {
		t.Fatal(err)
	}
	var v contracts.DebtValue
	if err := canon.Unmarshal(s.Oracle.Openings[d.Owed].Opening.Value, &v); err != nil {
		t.Fatal(err)
	}
	return int64(v.Owed)
}
