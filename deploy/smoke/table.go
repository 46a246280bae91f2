package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/deploy/stack"
)

// table is the walk. Its order is the order of the trade.
var table = []step{
	// 1 Admission
	{"the market begins: genesis, members with file and checks, two nodes", "", func(w *walk) error { return w.Begin(w.ctx) }},
	{"an applicant without identity check is not admitted", "member.check", func(w *walk) error {
		a := w.Cast.Actor("未核验申请人", contracts.RoleBuyer)
		if err := w.do(&contractstest.Actor{}, "member.apply", contracts.MemberApply{Application: a.App}, nil, a.Admin, a.Check); err != nil {
			return err
		}
		return w.do(w.Cast.Venue, "member.admit", contracts.MemberAdmit{Applicant: w.Cast.Last("member")}, nil, w.Cast.Venue.Two()...)
	}},
	{"one person alone admits nobody", "signature.people", func(w *walk) error {
		return w.do(w.Cast.Venue, "member.admit", contracts.MemberAdmit{Applicant: w.Cast.Buyer.ID}, nil, w.Cast.Venue.Maker)
	}},
	{"a credit code with a wrong check character", "command.body", func(w *walk) error {
		a := w.Cast.Actor("错码申请人", contracts.RoleBuyer)
		a.App.CreditCode = "91310115MA1K00007A"
		return w.do(&contractstest.Actor{}, "member.apply", contracts.MemberApply{Application: a.App}, nil, a.Admin, a.Check)
	}},
	{"an unknown key", "key.unknown", func(w *walk) error {
		return w.do(w.Cast.Venue, "member.admit", contracts.MemberAdmit{Applicant: w.Cast.Buyer.ID}, nil, w.Cast.Key(), w.Cast.Key())
	}},
	{"a key of the wrong purpose", "key.purpose", func(w *walk) error {
		return w.do(w.Cast.Provider, "product.draft", contracts.ProductDraft{Facts: w.Cast.Facts(w.Cast.Provider.ID)}, nil, w.Cast.Provider.Receipt)
	}},
	{"the same command id with other bytes", "command.id_reused", func(w *walk) error {
		c := w.Cast
		u := contracts.Unsigned{Ledger: w.Ledger, Member: c.Venue.ID, Kind: "clock.advance", Body: contracts.ClockAdvance{To: c.Now + 1000}, NotBefore: c.Now, Random: [10]byte{1}}
		for range 2 {
			sub, _ := signing.Sign(u, nil, c.Venue.Machine)
			if _, err := w.Venue.Submit(w.ctx, sub); err != nil {
				return err
			}
			u.Body = contracts.ClockAdvance{To: c.Now + 2000}
		}
		return nil
	}},
	{"malformed JSON", "invalid_request", func(w *walk) error {
		_, _, err := w.Venue.Do(w.ctx, http.MethodPost, "/commands", "application/json", []byte(`{"raw":"{}","raw":"{}","signatures":[]}`))
		return err
	}},
	// 2 Product
	{"the source authority authorises the operator", "", func(w *walk) error {
		auth, err := w.Cast.Authorize()
		w.facts = w.Cast.Facts(auth)
		return err
	}},
	{"the provider's node imports the dataset", "", importDataset},
	{"a CSV with a ragged row imports nothing", "error", func(w *walk) error {
		return w.importCSV("usc,asof,invoiced_12m,red_ratio,tax_score\n91310115MA1K00007Q,2026-01-31,1.00\n", "ragged")
	}},
	{"credit information without licence", "product.credit_info", func(w *walk) error { return w.draft(func(f *contracts.Facts) { f.Licence = "" }) }},
	{"credit information without routing", "product.credit_info", func(w *walk) error { return w.draft(func(f *contracts.Facts) { f.Routing = "" }) }},
	{"important data", "product.important_data", func(w *walk) error { return w.draft(func(f *contracts.Facts) { f.Grade = "important" }) }},
	{"L3 data as a file", "product.mode", func(w *walk) error {
		return w.draft(func(f *contracts.Facts) {
			f.Modes = []policy.Operation{policy.File}
			f.Policy.Operations = f.Modes
		})
	}},
	{"data beyond the authorised scope", "authorization.scope", func(w *walk) error {
		return w.draft(func(f *contracts.Facts) { f.DataGroups = []string{"tax.personal_income"} })
	}},
	{"a list price above the authority's ceiling", "price.ceiling", func(w *walk) error { return w.draft(func(f *contracts.Facts) { f.UnitPrice = 2_000_001 }) }},
	{"the product is drafted", "", func(w *walk) error {
		if err := w.draft(nil); err != nil {
			return err
		}
		w.listing = &contractstest.Listing{Product: w.Cast.Last("product"), Version: w.Cast.Last("version"), Facts: w.facts}
		return nil
	}},
	{"submitted before its dataset is reported", "dataset.missing", func(w *walk) error {
		return w.do(w.Cast.Provider, "product.submit", contracts.VersionSubmit{Version: w.listing.Version}, nil, w.Cast.Provider.Two()...)
	}},
	{"the node reports schema, rows, quality and digest", "", func(w *walk) error {
		p := w.Cast.Provider
		return w.do(p, "dataset.report", contracts.DatasetReport{Version: w.listing.Version, Node: p.Node, Digest: w.dataset.Digest, Schema: w.schema, Rows: w.dataset.Rows,
			AsOf: w.Cast.Now, Quality: w.dataset.Quality}, nil, p.Machine)
	}},
	// 3 Listing
	{"listed before registration: 不合规不挂牌", "version.state", func(w *walk) error { return w.list(nil) }},
	{"the provider attests for itself", "member.role", func(w *walk) error { return w.attest(w.Cast.Provider, contracts.LegalOpinion, nil) }},
	{"an affiliate attests", "attestation.affiliate", func(w *walk) error {
		a := w.Cast.Actor("关联质量评估", contracts.RoleAssessment)
		a.App.Controllers = w.Cast.Provider.App.Controllers
		if err := w.Cast.Admit(a); err != nil {
			return err
		}
		return w.attest(a, contracts.QualityReport, nil)
	}},
	{"an expired attestation", "attestation.expired", func(w *walk) error {
		return w.attest(w.Cast.LawFirm, contracts.LegalOpinion, func(b *contracts.AttestationIssue) { b.Expires = w.Cast.Now - 1000 })
	}},
	{"legal opinion, quality report, valuation", "", func(w *walk) error { return w.Cast.Attest(w.listing) }},
	{"submission, compliance and quality review, publicity", "", func(w *walk) error { return w.Cast.Review(w.listing) }},
	{"registered during publicity", "publicity.running", (*walk).register},
	{"working days pass; the version is registered", "", func(w *walk) error { return errors.Join(w.Cast.Advance(8*86400), w.register()) }},
	{"listed without valuation", "listing.requires", func(w *walk) error { return w.list(w.listing.Attestations[:2]) }},
	{"a foreign attestation", "attestation.unknown", func(w *walk) error {
		return w.list(append([]contracts.ID{w.listing.Product}, w.listing.Attestations[:2]...))
	}},
	{"the product is listed", "", func(w *walk) error { return w.list(w.listing.Attestations) }},
	{"the scripted clock is released: wall time from here on", "", func(w *walk) error {
		err := w.do(w.Cast.Venue, "clock.release", contracts.ClockRelease{Reason: "smoke"}, nil, w.Cast.Venue.Machine)
		w.now()
		return err
	}},
	// 4 Agreement
	{"the bank finds the product: 纳税, two facets", "", search},
	{"a scenario that the product is not offered for", "scenario.not_offered", func(w *walk) error {
		o, open := w.offer(policy.PreLoan, 10_000, contractstest.Terms())
		return w.do(w.Cast.Buyer, "negotiation.request", contracts.NegotiationRequest{Version: w.listing.Version, Scenario: "green", Kind: contracts.Trade, Offer: o}, []contracts.Opening{open}, w.Cast.Buyer.Two()...)
	}},
	{"a policy wider than the product's", "policy.widens", func(w *walk) error {
		o, open := w.offer(policy.PostLoan, 10_000, contractstest.Terms())
		return w.do(w.Cast.Buyer, "negotiation.request", contracts.NegotiationRequest{Version: w.listing.Version, Scenario: "sme-tax-loan-pre", Kind: contracts.Trade, Offer: o}, []contracts.Opening{open}, w.Cast.Buyer.Two()...)
	}},
	{"a policy with an unknown term", "command.body", unknownTerm},
	{"a test agreement that decides credit", "agreement.test_purpose", func(w *walk) error {
		o, open := w.offer(policy.PreLoan, 5, contractstest.Terms())
		return w.do(w.Cast.Buyer, "negotiation.request", contracts.NegotiationRequest{Version: w.listing.Version, Scenario: "sme-tax-loan-pre", Kind: contracts.Test, Offer: o}, []contracts.Opening{open}, w.Cast.Buyer.Two()...)
	}},
	{"a test agreement: evaluation, a quota of five", "", func(w *walk) (err error) {
		t := contractstest.Terms()
		t.UnitPrice, t.FlatFee, t.Escrow = 0, 0, 0
		w.test, err = w.agree(contracts.Test, policy.Evaluation, 5, 60, t)
		return err
	}},
	{"offer, counter-offer, contract, both signatures", "", func(w *walk) (err error) {
		w.trade, err = w.agree(contracts.Trade, policy.PreLoan, 100_000, 60, contractstest.Terms())
		return err
	}},
	{"a third member sees nothing of it", "not_found", func(w *walk) error {
		c, err := w.client("custodian", w.Cast.Custodian)
		if err != nil {
			return err
		}
		_, err = c.JSON(w.ctx, http.MethodGet, "/agreements/"+string(w.trade.Agreement), nil, nil)
		return err
	}},
	// 5 Money in
	{"a grant without funds", "grant.funds", func(w *walk) error { return w.Cast.Activate(w.trade) }},
	{"the custodian records the deposit", "", func(w *walk) error { return w.Cast.Deposit(w.trade, 1_000_000) }},
	{"the same bank reference again", "movement.reference", sameReference},
	{"the grants are active", "", func(w *walk) error {
		return w.until(20*time.Second, func() error {
			for _, d := range []*contractstest.Deal{w.test, w.trade} {
				_, r, err := record[contracts.Agreement](w, "/agreements/"+string(d.Agreement))
				if err != nil {
					return err
				}
				g, err := contracts.Read[contracts.Grant](r.Related["grant"])
				if err != nil {
					return err
				}
				if g.State != contracts.GrantActive {
					// The venue's job does this; the walk does not wait for its timer.
					if err := w.Cast.Activate(d); err != nil && codeOf(err).code != "grant.state" {
						return err
					}
				}
			}
			return nil
		})
	}},
	// 6 Use
	{"both data nodes start and follow", "", func(w *walk) error {
		if err := w.NodeConfig("provider", w.Cast.Provider, w.Serves, w.ProviderLocal, fmt.Sprintf("datasets:\n  - product: %s\n    dataset: tax\n", w.listing.Product)); err != nil {
			return err
		}
		return w.StartNodes(w.ctx)
	}},
	{"consents from the bank's channel, in one batch", "", channelConsents},
	{"a consent by a company's own key", "", ownKeyConsent},
	{"the first call", "", func(w *walk) error {
		return w.until(30*time.Second, func() error {
			a, err := w.call(w.trade, 0, nil) // of the consent that came last: a node that has it has all
			if err == nil {
				w.billed++
				if a.Values["tax_score"] == "" {
					err = fmt.Errorf("no value came: %v", a.Values)
				}
			}
			return err
		})
	}},
	{"half the billed calls, some with asOf", "", func(w *walk) error {
		return w.many(w.trade, w.calls/2, func(i int, q query) {
			if i%10 == 0 {
				q["asOf"] = contracts.Day("2026-01-31").Start()
			}
		})
	}},
	{"8 × another purpose", "policy.purpose", refused(func(w *walk, q query) { q["purpose"] = "post_loan" })},
	{"8 × a field outside the agreement", "policy.field", refused(func(w *walk, q query) { q["fields"] = []string{"legal_rep"} })},
	{"8 × without consent", "consent.missing", refused(func(w *walk, q query) { delete(q, "consent"); delete(q, "consentKey") })},
	{"8 × another company's consent", "consent.subject", refused(func(w *walk, q query) { q["subject"] = w.companies[7] })},
	{"8 × consent revoked", "consent.revoked", func(w *walk) error {
		c := w.consents[w.companies[2]]
		if err := w.local("buyer", http.MethodPost, "/v1/consents/"+string(c.ID)+"/revoke", struct{}{}, nil); err != nil {
			return err
		}
		err := w.settles(func() error { _, err := w.call(w.trade, 2, nil); return err })
		if err != nil {
			return err
		}
		return all(8, func(int) error { _, err := w.call(w.trade, 2, nil); return err })
	}},
	{"8 × frozen by the regulator", "freeze.frozen", func(w *walk) error {
		w.now()
		err := w.do(w.Cast.Regulator, "freeze.order", contracts.FreezeOrder{Target: w.trade.Agreement, Order: contracts.HashOf("smoke/order"), Reason: "smoke"}, nil, w.Cast.Regulator.Two()...)
		if err != nil {
			return err
		}
		if err := w.settles(func() error { _, err := w.call(w.trade, 1, nil); return err }); err != nil {
			return err
		}
		return all(8, func(int) error { _, err := w.call(w.trade, 1, nil); return err })
	}},
	{"the freeze is lifted and calls go on", "", func(w *walk) error {
		w.now()
		err := w.do(w.Cast.Regulator, "freeze.lift", contracts.FreezeOrder{Target: w.trade.Agreement, Order: contracts.HashOf("smoke/lift"), Reason: "smoke"}, nil, w.Cast.Regulator.Two()...)
		if err != nil {
			return err
		}
		return w.until(20*time.Second, func() error {
			_, err := w.call(w.trade, 1, nil)
			if err == nil {
				w.billed++
			}
			return err
		})
	}},
	{"8 × over the quota of the test agreement", "QUOTA_EXCEEDED", func(w *walk) error {
		c, err := w.channel(w.companies[3:4], "evaluation")
		if err != nil {
			return err
		}
		try := func(int) error {
			_, err := w.call(w.test, 3, func(q query) { q["purpose"], q["consent"], q["consentKey"] = "evaluation", c[0].ID, c[0].Key })
			return err
		}
		if err := w.until(20*time.Second, func() error { return try(0) }); err != nil {
			return err
		}
		for range 4 {
			if err := try(0); err != nil {
				return err
			}
		}
		return all(8, try)
	}},
	{"8 × an altered request under a used id", "ID_REUSED", func(w *walk) error { return w.wire(true) }},
	{"8 × a replayed request", "ALREADY_ACKNOWLEDGED", func(w *walk) error { return w.wire(false) }},
	{"8 × an unknown peer", "peer.unknown", func(w *walk) error {
		return all(8, func(int) error { return w.rawCall(w.Cast.Key(), w.trade, "", []byte("{}")) })
	}},
	{"8 × stale state: the witness is gone", "LEDGER_STALE", stale},
	{"a lost answer is served again at no charge", "", lostAnswer},
	{"the provider's node is killed and resumes without a gap", "", func(w *walk) (err error) {
		w.Provider.Kill()
		if w.Provider, err = w.StartNode(w.ctx, "provider", w.ProviderLocal); err != nil {
			return err
		}
		return w.goesOn()
	}},
	{"the bank's node is killed and resumes without a gap", "", func(w *walk) (err error) {
		w.Buyer.Kill()
		if w.Buyer, err = w.StartNode(w.ctx, "buyer", w.BuyerLocal); err != nil {
			return err
		}
		return w.goesOn()
	}},
	{"the other half of the billed calls", "", func(w *walk) error { return w.many(w.trade, w.calls/2, nil) }},
	{"both nodes agree on every leaf", "", func(w *walk) error {
		return w.until(20*time.Second, func() error {
			p, err := w.receipts("provider", w.trade)
			if err != nil {
				return err
			}
			c, err := w.receipts("buyer", w.trade)
			if err != nil {
				return err
			}
			if p.Provider == nil || c.Consumer == nil || p.Provider.Size != p.Provider.Acked || c.Consumer.Acked != p.Provider.Size || c.Breach != "" {
				return fmt.Errorf("provider %+v, consumer %+v, breach %q", p.Provider, c.Consumer, c.Breach)
			}
			if p.Provider.Totals.Units != w.billed {
				return fmt.Errorf("%d units in the log, %d calls billed", p.Provider.Totals.Units, w.billed)
			}
			return nil
		})
	}},
	// 7 Money low, acceptance, settlement
	{"low funds: warned, grace, PAYMENT_HOLD", "grant.payment_hold", lowFunds},
	{"a top-up releases the hold", "", topUp},
	{"the period is closed; the nodes report it by themselves", "", func(w *walk) error {
		w.now()
		if err := w.do(w.Cast.Venue, "period.close", contracts.PeriodClose{Agreement: w.trade.Agreement, Number: 1, Month: contracts.PeriodOf(w.Cast.Now)}, nil, w.Cast.Venue.Machine); err != nil {
			return err
		}
		return w.until(30*time.Second, func() error {
			_, r, err := record[contracts.Agreement](w, "/agreements/"+string(w.trade.Agreement))
			if err != nil {
				return err
			}
			u, err := contracts.Read[contracts.Usage](r.Related["usage"])
			if err != nil || !u.Final {
				return fmt.Errorf("no final report yet (%v)", err)
			}
			return nil
		})
	}},
	{"settled before acceptance", "acceptance.missing", (*walk).settle},
	{"the bank accepts the delivery", "", func(w *walk) error {
		return w.do(w.Cast.Buyer, "acceptance.record", contracts.AcceptanceRecord{Agreement: w.trade.Agreement, Period: 1, Report: contracts.HashOf("smoke/acceptance")}, nil, w.Cast.Buyer.Two()...)
	}},
	{"the contract settles: flat fee, calls, fees on both sides", "", func(w *walk) error {
		if err := w.settle(); err != nil && codeOf(err).code != "settlement.done" {
			return err // the venue's job may have been faster
		}
		return nil
	}},
	{"billed calls = leaves = posted fen", "", posted},
	{"the custodian pays the provider", "", payOut},
	{"settled twice", "settlement.done", (*walk).settle},
	// 8 Certificate
	{"a trade certificate", "", func(w *walk) error {
		w.now()
		err := w.do(w.Cast.Venue, "certificate.issue", contracts.CertificateIssue{Agreement: w.trade.Agreement, Period: 1}, nil, w.Cast.Venue.Two()...)
		w.certificate = w.Exec.Last.Position
		return err
	}},
	{"its proof verifies offline", "", proof},
	// 9 Audit
	{"the regulator lists the trade, with a reason", "", func(w *walk) error {
		c, err := w.client("regulator", w.Cast.Regulator)
		if err != nil {
			return err
		}
		var a struct {
			Items []json.RawMessage `json:"items"`
		}
		if _, err := c.JSON(w.ctx, http.MethodGet, "/supervision/entries?kind=settlement.settle&reason="+url.QueryEscape("例行检查"), nil, &a); err != nil {
			return err
		}
		if len(a.Items) == 0 {
			return errors.New("no settlement is listed")
		}
		return nil
	}},
	{"a bank may not export the ledger", "forbidden", func(w *walk) error {
		c, err := w.client("bank", w.Cast.Buyer)
		if err != nil {
			return err
		}
		_, _, err = c.Do(w.ctx, http.MethodPost, "/supervision/exports", "application/json", []byte(`{"reason":"好奇"}`))
		return err
	}},
	{"bundaudit verifies the export without openings", "", func(w *walk) error { return w.audit(false) }},
	{"bundaudit verifies the export with openings", "", func(w *walk) error { return w.audit(true) }},
	{"a flipped byte is found", "error", flipped},
}

func (w *walk) draft(edit func(*contracts.Facts)) error {
	f := w.facts
	f.Dictionary = w.schema
	if edit != nil {
		edit(&f)
	} else {
		w.facts = f
	}
	return w.do(w.Cast.Provider, "product.draft", contracts.ProductDraft{Facts: f}, nil, w.Cast.Provider.Maker)
}

func (w *walk) attest(by *contractstest.Actor, typ contracts.AttestationType, edit func(*contracts.AttestationIssue)) error {
	v := contracts.Version{Facts: w.listing.Facts}
	b := contracts.AttestationIssue{Version: w.listing.Version, Subject: v.Digest(w.listing.Version), Type: typ, Verdict: "tradable",
		Document: contracts.HashOf("smoke/document"), Expires: w.Cast.Now.Add(86400)}
	if edit != nil {
		edit(&b)
	}
	return w.do(by, "attestation.issue", b, nil, by.Two()...)
}

func (w *walk) register() error {
	return w.do(w.Cast.Venue, "product.register", contracts.VersionRegister{Version: w.listing.Version, Region: "310115"}, nil, w.Cast.Venue.Two()...)
}

func (w *walk) list(atts []contracts.ID) error {
	return w.do(w.Cast.Venue, "product.list", contracts.VersionList{Version: w.listing.Version, Attestations: atts}, nil, w.Cast.Venue.Two()...)
}

func (w *walk) offer(purpose policy.Purpose, quota int64, terms contracts.Terms) (contracts.Offer, contracts.Opening) {
	w.now()
	p := contractstest.Policy(purpose)
	o, open := w.Cast.Offer(p, terms)
	o.QuotaCalls = quota
	return o, open
}

func (w *walk) agree(kind contracts.AgreementKind, purpose policy.Purpose, quota, stale int64, terms contracts.Terms) (*contractstest.Deal, error) {
	o, open := w.offer(purpose, quota, terms)
	if kind == contracts.Test {
		o.Policy.Prohibitions = append(o.Policy.Prohibitions, policy.CreditDecision)
		o.Policy = o.Policy.Ordered()
	}
	o.MaxStaleSec = stale
	return w.Cast.AgreeOn(w.listing, kind, o, terms, open)
}

// refused makes the same refused call eight times.
func refused(edit func(*walk, query)) func(*walk) error {
	return func(w *walk) error {
		return all(8, func(int) error { _, err := w.call(w.trade, 1, func(q query) { edit(w, q) }); return err })
	}
}

// settles waits until a stop has reached the node: until the call is refused. What it lets through is counted.
func (w *walk) settles(call func() error) error {
	return w.until(20*time.Second, func() error {
		if err := call(); err != nil {
			return nil
		}
		w.billed++
		return errors.New("the stop has not reached the node")
	})
}

func (w *walk) goesOn() error {
	return w.until(30*time.Second, func() error {
		_, err := w.call(w.trade, 1, nil)
		if err == nil {
			w.billed++
		}
		return err
	})
}

func (w *walk) settle() error {
	w.now()
	_, r, err := record[contracts.Agreement](w, "/agreements/"+string(w.trade.Agreement))
	if err != nil {
		return err
	}
	u, err := contracts.Read[contracts.Usage](r.Related["usage"])
	if err != nil {
		return err
	}
	totals, err := w.Venue.Opening(w.ctx, contracts.TagUsage, u.Totals)
	if err != nil {
		return err
	}
	opens := []contracts.Opening{w.trade.Opening, totals}
	if e, err := contracts.Read[contracts.Escrow](r.Related["escrow"]); err == nil {
		o, err := w.Venue.Opening(w.ctx, contracts.TagEscrow, e.Balance)
		if err != nil {
			return err
		}
		opens = append(opens, o)
	}
	return w.do(w.Cast.Venue, "settlement.settle", contracts.SettlementSettle{Agreement: w.trade.Agreement, Period: 1}, opens, w.Cast.Venue.Machine)
}

func (w *walk) audit(openings bool) error {
	dir, err := w.export(openings)
	if err != nil {
		return err
	}
	out, err := stack.Run(w.ctx, nil, filepath.Join(w.Bin, "bundaudit"), "verify", "--trust", filepath.Join(w.Dir, "trust-root.json"), dir)
	for _, l := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		fmt.Println("       ", l)
	}
	return err
}

// flipped changes one byte of the export with openings.
func flipped(w *walk) error {
	name := filepath.Join(w.Dir, "export-true", "entries.bin")
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		return err
	}
	_, err = stack.Run(w.ctx, nil, filepath.Join(w.Bin, "bundaudit"), "verify", "--trust", filepath.Join(w.Dir, "trust-root.json"), filepath.Join(w.Dir, "export-true"))
	return err
}
