package evidence

import (
	"math/big"

	"github.com/bund-exchange/bund/contracts"
)

// settlement computes a settlement anew from the opened terms and totals, over integers without bounds.
func (b *books) settlement(a *audit, it *item, body *contracts.SettlementSettle, before view) {
	d := b.deal(body.Agreement)
	key := contracts.KeySettlement(body.Agreement, body.Period)
	where := it.where("writes." + key)
	o := &owed{prepaid: true}
	if ag := read[contracts.Agreement](before, contracts.KeyAgreement(body.Agreement)); ag != nil {
		o.prepaid = ag.Billing == contracts.Prepaid
	}
	if d.owed[body.Period] != nil {
		a.fail(CheckMoney, where, say{"a period is settled twice", "同一期间重复结算"})
	}
	d.owed[body.Period] = o
	rec := written[contracts.Settlement](it, key)
	if rec == nil {
		a.fail(CheckMoney, where, say{"the settlement is not written", "未写入结算记录"})
		o.blind = true
		return
	}
	v := opened[contracts.SettlementValue](a, contracts.TagSettlement, rec.Value, where)
	if v == nil {
		b.unknown(a)
		o.blind, d.blind, d.unsure = true, d.blind || o.prepaid, d.unsure || !o.prepaid
		b.balance(a, it, body.Agreement, d)
		b.debt(a, it, body.Agreement, d)
		return
	}
	a.count(CheckMoney, 1)
	if name, got, want := b.recompute(a, it, body, before, v); name != "" {
		a.fail(CheckMoney, where+": "+name, say{"%s fen or units, the books make it %s", "%s，账上应为 %s"}, got, want)
	}
	b.journal(a, where, v, o)
	o.total, o.net = v.BuyerTotal, v.ProviderNet
	b.sums.earned += v.ProviderNet
	b.sums.fees += v.BuyerFee + v.ProviderFee
	if !o.prepaid {
		b.sums.billed += v.BuyerTotal
		d.debt += v.BuyerTotal
		if !b.debt(a, it, body.Agreement, d) && v.BuyerTotal > 0 {
			a.fail(CheckMoney, it.where("writes."+contracts.KeyDebt(body.Agreement)), say{"the buyer is billed and the debt stayed as it was", "已计账而欠款未变"})
		}
		return
	}
	b.sums.charged += v.BuyerTotal
	d.escrow -= v.BuyerTotal
	if !b.balance(a, it, body.Agreement, d) && v.BuyerTotal > 0 {
		a.fail(CheckMoney, it.where("writes."+contracts.KeyEscrow(body.Agreement)), say{"the buyer is charged and the escrow stayed as it was", "已扣款而托管余额未变"})
	}
}

// recompute names the first amount that differs from what terms, totals and rulebook make it.
func (b *books) recompute(a *audit, it *item, body *contracts.SettlementSettle, before view, v *contracts.SettlementValue) (name, got, want string) {
	where := it.where("command.body.period")
	p := read[contracts.ClosedPeriod](before, contracts.KeyPeriod(body.Agreement, body.Period))
	rules, err := contracts.RulesOf(before)
	if p == nil || p.Report == nil || err != nil || rules == nil {
		return "period", "?", "closed and reported"
	}
	terms := opened[contracts.Terms](a, contracts.TagTerms, p.Terms, where)
	now := opened[contracts.Totals](a, contracts.TagUsage, p.Report.Totals, where)
	settled := &contracts.Totals{}
	if s := read[contracts.Settled](before, contracts.KeySettled(body.Agreement)); s != nil {
		settled = opened[contracts.Totals](a, contracts.TagUsage, s.Totals, where)
	}
	if terms == nil || now == nil || settled == nil {
		b.unknown(a)
		return "", "", ""
	}
	num := func(x int64) *big.Int { return big.NewInt(x) }
	// x/y rounded half up
	round := func(x *big.Int, y int64) *big.Int {
		return new(big.Int).Div(new(big.Int).Add(x, num(y/2)), num(y))
	}
	units := new(big.Int).Sub(num(now.Units), num(settled.Units))
	usage := round(new(big.Int).Mul(units, num(int64(terms.UnitPrice))), 10_000) // millionths of a yuan to fen
	flat := num(0)
	if p.Flat {
		flat = num(int64(terms.FlatFee))
	}
	gross := new(big.Int).Add(flat, usage)
	fee := func(basisPoints int64) *big.Int { return round(new(big.Int).Mul(gross, num(basisPoints)), 10_000) }
	buyerFee, providerFee := fee(rules.BuyerFeeBasisPoints), fee(rules.ProviderFeeBasisPoint)
	for _, x := range []struct {
		name string
		got  int64
		want *big.Int
	}{
		{"calls", v.Calls, new(big.Int).Sub(num(now.Calls), num(settled.Calls))}, {"units", v.Units, units}, {"unitPrice", int64(v.UnitPrice), num(int64(terms.UnitPrice))},
		{"flat", int64(v.Flat), flat}, {"usage", int64(v.Usage), usage}, {"buyerFee", int64(v.BuyerFee), buyerFee}, {"providerFee", int64(v.ProviderFee), providerFee},
		{"buyerTotal", int64(v.BuyerTotal), new(big.Int).Add(gross, buyerFee)}, {"providerNet", int64(v.ProviderNet), new(big.Int).Sub(gross, providerFee)},
	} {
		if x.want.Cmp(num(x.got)) != 0 {
			return x.name, num(x.got).String(), x.want.String()
		}
	}
	return "", "", ""
}

// journal checks that the postings balance and say what the totals say.
func (b *books) journal(a *audit, where string, v *contracts.SettlementValue, o *owed) {
	sum := map[string]contracts.Fen{}
	var debit, credit contracts.Fen
	for _, p := range v.Postings {
		if p.Debit < 0 || p.Credit < 0 {
			a.fail(CheckMoney, where+": postings", say{"a posting below zero", "分录为负"})
		}
		debit, credit = debit+p.Debit, credit+p.Credit
		sum[p.Account] += p.Credit - p.Debit
	}
	payer := "buyer"
	if o.prepaid {
		payer = "escrow"
	}
	switch {
	case debit != credit:
		a.fail(CheckMoney, where+": postings", say{"debits are %d fen, credits %d", "借方 %d 分，贷方 %d 分"}, debit, credit)
	case sum[payer] != -v.BuyerTotal || sum["provider"] != v.ProviderNet || sum["venue"] != v.BuyerFee+v.ProviderFee:
		a.fail(CheckMoney, where+": postings", say{"they give %s %d, provider %d, venue %d fen", "分录合计 %s %d、供方 %d、场所 %d 分，与总额不符"}, payer, sum[payer], sum["provider"], sum["venue"])
	}
}
