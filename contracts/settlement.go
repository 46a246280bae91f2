package contracts

// Settlement is the contract's own computation of what a closed period costs, from its report and opened terms.
// Nobody supplies an amount.
type Settlement struct {
	Number    string `json:"number"` // serial
	Agreement ID     `json:"agreement"`
	Period    int64  `json:"period"`
	Month     Period `json:"month"`
	Value     Hash   `json:"value"` // commitment, tag bund/settlement/v1
	Settled   Millis `json:"settled"`
	Collected Millis `json:"collected,omitempty"` // postpaid: the buyer has paid
	Paid      Millis `json:"paid,omitempty"`      // the provider was paid
}

// KeySettlement is where the settlement of an agreement's n-th period stands.
func KeySettlement(agreement ID, n int64) string {
	return "clr/settlement/" + string(agreement) + "/" + pad(n)
}

// Settled points at the last settled period and its totals.
type Settled struct {
	Period int64 `json:"period"`
	Totals Hash  `json:"totals"`
}

// KeySettled is where it stands.
func KeySettled(agreement ID) string { return "clr/settled/" + string(agreement) }

// Posting is one line of a balanced journal. Amounts are in fen; what an account receives is positive.
type Posting struct {
	Account string `json:"account"` // "escrow", "buyer", "provider", "venue"
	Item    string `json:"item"`    // "flat", "calls", "fee_buyer", "fee_provider"
	Debit   Fen    `json:"debit"`
	Credit  Fen    `json:"credit"`
}

// SettlementValue is the private part of a settlement. Debits equal credits, always.
type SettlementValue struct {
	Calls       int64     `json:"calls"` // billed in the period
	Units       int64     `json:"units"`
	UnitPrice   MicroYuan `json:"unitPrice"`
	Flat        Fen       `json:"flat"`
	Usage       Fen       `json:"usage"` // units × price, rounded half up to fen, once
	BuyerFee    Fen       `json:"buyerFee"`
	ProviderFee Fen       `json:"providerFee"`
	BuyerTotal  Fen       `json:"buyerTotal"`  // flat + usage + buyerFee
	ProviderNet Fen       `json:"providerNet"` // flat + usage − providerFee
	Postings    []Posting `json:"postings"`
}

// SettlementSettle settles a closed and reported period after acceptance. The venue's job sends it with the openings
// of terms, totals, the totals settled before, and where something is owed the escrow of a prepaid agreement, the debt of
// a postpaid one.
type SettlementSettle struct {
	Agreement ID    `json:"agreement"`
	Period    int64 `json:"period"`
}

var settlementKinds = []*spec{
	kind("settlement.settle", applySettle, by(RoleVenue), clearing, personal),
}

func applySettle(t *tx, b *SettlementSettle) *Refusal {
	a, ok := get[Agreement](t, KeyAgreement(b.Agreement))
	if !ok {
		return refuse("agreement.unknown", "there is no such agreement").at("agreement")
	}
	p, ok := get[ClosedPeriod](t, KeyPeriod(b.Agreement, b.Period))
	if !ok {
		return refuse("period.open", "the period was not closed").at("period")
	}
	if p.Report == nil {
		return refuse("period.unreported", "the period has no final report yet").at("period")
	}
	if t.has(KeySettlement(b.Agreement, b.Period)) {
		return refuse("settlement.done", "the period is settled").at("period")
	}
	prev, had := get[Settled](t, KeySettled(b.Agreement))
	if !had {
		prev = &Settled{}
	}
	if b.Period != prev.Period+1 {
		return refuse("settlement.order", "period %d is settled next", prev.Period+1).at("period")
	}
	if r := t.quiet(b.Agreement, a); r != nil {
		return r
	}
	terms, o, r := open[Terms](t, TagTerms, p.Terms, "period")
	if r != nil {
		return r
	}
	if p.Acceptance == nil && t.env.Now < p.Report.Time.Add(terms.AcceptanceDays*86400) {
		return refuse("acceptance.missing", "the buyer has neither accepted the period nor let the time for it pass").at("period")
	}
	now, _, r := open[Totals](t, TagUsage, p.Report.Totals, "period")
	if r != nil {
		return r
	}
	before := &Totals{}
	if had {
		if before, _, r = open[Totals](t, TagUsage, prev.Totals, "period"); r != nil {
			return r
		}
	}
	v, r := t.compute(a, p, terms, now, before)
	if r != nil {
		return r
	}
	if a.Billing == Prepaid && v.BuyerTotal > 0 {
		if r := t.move(b.Agreement, -v.BuyerTotal, o); r != nil {
			return r
		}
	}
	if a.Billing == Postpaid && v.BuyerTotal > 0 {
		if r := t.owe(b.Agreement, v.BuyerTotal, o); r != nil {
			return r
		}
	}
	number, r := t.serial("STL", "")
	if r != nil {
		return r
	}
	c := t.seal(TagSettlement, o, v)
	t.put(KeySettlement(b.Agreement, b.Period), Settlement{Number: number, Agreement: b.Agreement, Period: b.Period, Month: p.Month, Value: c, Settled: t.env.Now})
	t.put(KeySettled(b.Agreement), Settled{Period: b.Period, Totals: p.Report.Totals})
	t.audience(a.Buyer, a.Provider)
	t.event("settlement.settled", b.Agreement)
	return nil
}

func (t *tx) compute(a *Agreement, p *ClosedPeriod, terms *Terms, now, before *Totals) (*SettlementValue, *Refusal) {
	v := &SettlementValue{Calls: now.Calls - before.Calls, Units: now.Units - before.Units, UnitPrice: terms.UnitPrice}
	micro, ok := times(v.Units, terms.UnitPrice)
	if !ok {
		return nil, refuse("settlement.overflow", "units times price exceed what money can hold").at("period")
	}
	if micro != now.Micro-before.Micro {
		return nil, refuse("settlement.price", "the accrued amount is not units times the agreed price").at("period")
	}
	if p.Flat {
		v.Flat = terms.FlatFee
	}
	v.Usage = toFen(micro)
	gross := v.Flat + v.Usage // both at most maxFen
	v.BuyerFee, v.ProviderFee = fee(gross, t.rules.BuyerFeeBasisPoints), fee(gross, t.rules.ProviderFeeBasisPoint)
	v.BuyerTotal, v.ProviderNet = gross+v.BuyerFee, gross-v.ProviderFee
	if v.BuyerTotal > maxFen {
		return nil, refuse("settlement.overflow", "the amount exceeds one hundred billion yuan").at("period")
	}

	payer := "escrow"
	if a.Billing == Postpaid {
		payer = "buyer"
	}
	line := func(item, from, to string, amount Fen) {
		if amount > 0 {
			v.Postings = append(v.Postings, Posting{Account: from, Item: item, Debit: amount}, Posting{Account: to, Item: item, Credit: amount})
		}
	}
	line("flat", payer, "provider", v.Flat)
	line("calls", payer, "provider", v.Usage)
	line("fee_buyer", payer, "venue", v.BuyerFee)
	line("fee_provider", "provider", "venue", v.ProviderFee)
	return v, nil
}
