// Command headline prints what joined data is worth, on real figures: the provider's columns reach the bank by metered,
// consented calls through a grant, and the calls are settled before the table is printed. What the table is, and what
// it is not, stands under it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/dictionary"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/deploy/cast"
	"github.com/bund-exchange/bund/deploy/market"
	"github.com/bund-exchange/bund/deploy/sample"
	"github.com/bund-exchange/bund/deploy/sample/headline"
	"github.com/bund-exchange/bund/deploy/sample/polish"
)

func main() {
	bin := flag.String("bin", "bin", "folder of the programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *bin)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "headline:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bund-headline-")
	if err != nil {
		return err
	}
	s, err := cast.New(cast.Options{Dir: dir, Bin: bin, ID: "bund.headline/1", Out: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.Stop())
		if err != nil {
			fmt.Fprintf(os.Stderr, "folder kept: %s\n", dir)
			return
		}
		os.RemoveAll(dir)
	}()
	companies, err := polish.Companies()
	if err != nil {
		return err
	}
	t := &trade{Stack: s, ctx: ctx, companies: companies}
	for _, step := range []func() error{func() error { return s.Begin(ctx) }, t.list, t.agree, t.consents} {
		if err := step(); err != nil {
			return err
		}
	}
	table, err := headline.Run(ctx, polish.BankHalf(companies), t.fetch)
	if err != nil {
		return err
	}
	if err := table.AddJoint(ctx, polish.BankHalf(companies), t.joint); err != nil {
		return err
	}
	if err := t.settle(int64(table.Calls)); err != nil {
		return err
	}
	fmt.Print(table.Text())
	if n := table.Joint.Different; n > 0 {
		return fmt.Errorf("%d scores computed jointly differ from the plain ones", n)
	}
	return nil
}

// trade is the sale of the provider's 39 columns to the bank.
type trade struct {
	*cast.Stack
	ctx       context.Context
	companies []polish.Company
	listing   *contractstest.Listing
	deal      *contractstest.Deal
	consent   map[contracts.CreditCode][2]string // id, key
	fields    []string
	done      atomic.Int64 // calls about one company
	jointly   int64        // calls about many
	scored    int64        // companies in those
}

// unitPrice is ¥0.05 a call.
const unitPrice contracts.MicroYuan = 50_000

func (t *trade) list() error {
	m := t.Cast
	t.fields = polish.Names(polish.ProviderColumns)
	var csv bytes.Buffer
	if err := polish.WriteProvider(&csv, t.companies); err != nil {
		return err
	}
	d, err := dictionary.Read(polish.ProviderDictionary())
	if err != nil {
		return err
	}
	out, err := sample.Import(t.ctx, t.Stack, "provider", "ratios", polish.ProviderDictionary(), csv.String(), string(contracts.DayOf(polish.AsOf)))
	if err != nil {
		return err
	}
	var x struct {
		Digest  contracts.Hash            `json:"digest"`
		Rows    int64                     `json:"rows"`
		AsOf    contracts.Millis          `json:"asOf"`
		Quality []contracts.QualityFigure `json:"quality"`
	}
	if err := json.Unmarshal(out, &x); err != nil {
		return err
	}
	f := m.Facts("")
	f.Title, f.TitleEn = "企业财务比率（39 项）", "Financial ratios of companies, 39"
	f.Source, f.Authorization, f.Fields, f.Dictionary, f.DataGroups = contracts.SourceProduced, "", t.fields, d.Digest(), []string{"finance.ratios"}
	f.Policy, f.Modes, f.UnitPrice = t.policy(), t.policy().Operations, unitPrice
	if err := m.Do(m.Provider.ID, "product.draft", contracts.ProductDraft{Facts: f}, nil, m.Provider.Maker); err != nil {
		return err
	}
	t.listing = &contractstest.Listing{Product: m.Last("product"), Version: m.Last("version"), Facts: f}
	if err := m.Do(m.Provider.ID, "dataset.report", contracts.DatasetReport{Version: t.listing.Version, Node: m.Provider.Node, Digest: x.Digest, Schema: f.Dictionary, Rows: x.Rows,
		AsOf: x.AsOf, Quality: x.Quality}, nil, m.Provider.Machine); err != nil {
		return err
	}
	if err := errors.Join(m.Attest(t.listing), m.Review(t.listing)); err != nil {
		return err
	}
	if err := m.Advance(8 * 86400); err != nil {
		return err
	}
	if err := m.Do(m.Venue.ID, "product.register", contracts.VersionRegister{Version: t.listing.Version, Region: "310115"}, nil, m.Venue.Two()...); err != nil {
		return err
	}
	if err := m.Do(m.Venue.ID, "product.list", contracts.VersionList{Version: t.listing.Version, Attestations: t.listing.Attestations}, nil, m.Venue.Two()...); err != nil {
		return err
	}
	return m.Do(m.Venue.ID, "clock.release", contracts.ClockRelease{Reason: "headline"}, nil, m.Venue.Machine)
}

func (t *trade) policy() policy.Policy {
	p := contractstest.Policy(policy.PreLoan)
	p.Fields, p.Operations = t.fields, []policy.Operation{policy.JointScore, policy.Query}
	return p.Ordered()
}

func (t *trade) agree() (err error) {
	m := t.Cast
	m.Now = contracts.Millis(time.Now().UnixMilli())
	terms := contractstest.Terms()
	terms.UnitPrice, terms.FlatFee, terms.Escrow, terms.WindowAmount, terms.WindowCalls = unitPrice, 0, 100_000, 20_000, 2_000
	offer, opening := m.Offer(t.policy(), terms)
	offer.QuotaCalls = 2*int64(len(t.companies)) + 100
	if t.deal, err = m.AgreeOn(t.listing, contracts.Trade, offer, terms, opening); err != nil {
		return err
	}
	if err := m.Deposit(t.deal, 100_000); err != nil {
		return err
	}
	if err := t.NodeConfig("provider", m.Provider, t.Serves, t.ProviderLocal, fmt.Sprintf("datasets:\n  - product: %s\n    dataset: ratios\n", t.listing.Product)); err != nil {
		return err
	}
	return t.StartNodes(t.ctx)
}

// consents registers one consent for each company: without it no call is answered.
func (t *trade) consents() error {
	fmt.Fprintf(os.Stderr, "registering %d consents\n", len(t.companies))
	codes := make([]contracts.CreditCode, len(t.companies))
	for i := range t.companies {
		codes[i] = t.companies[i].Code
	}
	ids, keys, err := sample.Consents(t.ctx, t.Stack, t.listing.Product, t.Cast.Provider.Node, codes, t.fields, 4)
	if err != nil {
		return err
	}
	t.consent = map[contracts.CreditCode][2]string{}
	for i, c := range codes {
		t.consent[c] = [2]string{string(ids[i]), keys[i]}
	}
	// Both nodes follow the ledger: wait until the last consent can be used.
	end := time.Now().Add(time.Minute)
	for {
		_, err := t.call(t.ctx, codes[len(codes)-1])
		if err == nil {
			t.done.Store(1) // billed like any other
			return nil
		}
		if time.Now().After(end) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (t *trade) call(ctx context.Context, code contracts.CreditCode) (map[string]string, error) {
	c := t.consent[code]
	q := map[string]any{"agreement": t.deal.Agreement, "subject": code, "fields": t.fields, "purpose": "pre_loan", "consent": c[0], "consentKey": c[1]}
	var a struct {
		Outcome string            `json:"outcome"`
		Values  map[string]string `json:"values"`
	}
	if err := sample.Local(ctx, t.Stack, "buyer", t.BuyerLocal, http.MethodPost, "/v1/calls", q, &a); err != nil {
		return nil, err
	}
	if a.Outcome != "FOUND" {
		return nil, fmt.Errorf("outcome %s", a.Outcome)
	}
	return a.Values, nil
}

func (t *trade) fetch(ctx context.Context, code contracts.CreditCode) (map[string]string, error) {
	v, err := t.call(ctx, code)
	if n := t.done.Add(1); err == nil && n%1000 == 0 {
		fmt.Fprintf(os.Stderr, "%d of %d calls\n", n, len(t.companies))
	}
	return v, err
}

// settle closes the period, waits for the nodes' report, lets the bank accept and the venue's clerk settle, and holds
// the settled amount against the calls that were made.
func (t *trade) settle(calls int64) error {
	fmt.Fprintln(os.Stderr, "settling")
	m := t.Cast
	m.Now = contracts.Millis(time.Now().UnixMilli())
	if err := m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: t.deal.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine); err != nil {
		return err
	}
	accepted := false
	end := time.Now().Add(2 * time.Minute)
	for time.Now().Before(end) && t.ctx.Err() == nil {
		time.Sleep(300 * time.Millisecond)
		if !accepted {
			m.Now = contracts.Millis(time.Now().UnixMilli())
			err := m.Do(m.Buyer.ID, "acceptance.record", contracts.AcceptanceRecord{Agreement: t.deal.Agreement, Period: 1, Report: contracts.HashOf("headline/acceptance")}, nil, m.Buyer.Two()...)
			accepted = err == nil || market.CodeOf(err) == "acceptance.done"
			continue
		}
		var a struct {
			Items []market.Record `json:"items"`
		}
		if _, err := t.Venue.JSON(t.ctx, http.MethodGet, "/agreements/"+string(t.deal.Agreement)+"/statement", nil, &a); err != nil {
			return err
		}
		if len(a.Items) == 0 {
			continue
		}
		v, err := contracts.Read[contracts.SettlementValue](a.Items[0].Related["value"])
		if err != nil {
			return err
		}
		want, units := t.done.Load()+t.jointly, t.done.Load()+t.scored
		if v.Calls != want || t.done.Load() < calls || v.Units != units || v.Usage != contracts.Fen(units*int64(unitPrice)+5_000)/10_000 {
			return fmt.Errorf("%d calls about %d companies were made, settled are %d about %d for %d fen", want, units, v.Calls, v.Units, v.Usage)
		}
		fmt.Printf("供方列经 %d 次计量调用取得，联合评分另有 %d 次调用、%d 家次，已结算 ¥%d.%02d（另计双方服务费）。 The provider's columns came by %d metered calls, the joint scores of %d by %d more; settled for ¥%d.%02d plus fees.\n\n",
			t.done.Load(), t.jointly, t.scored, v.Usage/100, v.Usage%100, t.done.Load(), t.scored, t.jointly, v.Usage/100, v.Usage%100)
		return nil
	}
	return errors.New("the period was not settled in time")
}
