package contractstest

import (
	"fmt"
	"math/big"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// books are the auditor's own accounts, in fen, made from bodies and openings alone.
type books struct {
	deals     map[string]*dealBook // by agreement
	offers    map[string]offerBook // by negotiation
	deposits  int64
	refunds   int64
	charged   int64 // to escrows
	billed    int64 // to postpaid buyers
	earned    int64 // by providers, net
	fees      int64 // of the venue
	paid      int64
	collected int64
	refs      map[string]bool
	serials   map[string]bool
}

type offerBook struct {
	terms string
	to    int64
}

type dealBook struct {
	prepaid     bool
	terms, next string // commitments
	to          int64
	escrow      int64
	debt        int64
	periods     []periodBook
	flatMonth   string
	totals      [3]int64 // of the last report: calls, units, micro
	settled     [3]int64
	settlements []settlementBook
}

type periodBook struct {
	terms    string
	flat     bool
	totals   *[3]int64
	reported int64
	accepted bool
}

type settlementBook struct {
	total, net      int64
	collected, paid bool
}

func newBooks() *books {
	return &books{deals: map[string]*dealBook{}, offers: map[string]offerBook{}, refs: map[string]bool{}, serials: map[string]bool{}}
}

// settle follows the money of one command.
func (c *audited) settle() error {
	b, at := c.a.money, int64(c.at)
	agreement := c.body.get("agreement").str()
	d := b.deals[agreement]
	switch c.kind {
	case "negotiation.request":
		b.offers[objectID(c.id, "negotiation")] = offerBook{c.body.get("offer.terms").str(), c.body.get("offer.to").num()}
	case "negotiation.offer", "negotiation.counter":
		b.offers[c.body.get("negotiation").str()] = offerBook{c.body.get("offer.terms").str(), c.body.get("offer.to").num()}
	case "agreement.finalize":
		o := b.offers[c.body.get("negotiation").str()]
		terms, ok := c.a.open[o.terms]
		if !ok {
			return fmt.Errorf("an agreement on terms that nobody has opened")
		}
		facts := c.a.state["version/"+c.a.state["negotiation/"+c.body.get("negotiation").str()].get("version").str()].get("facts")
		ceiling := c.a.state["authorization/"+facts.get("authorization").str()].get("ceiling")
		if facts.get("authorization").str() != "" && terms.get("unitPrice").num() > ceiling.num() {
			return fmt.Errorf("an agreement above the source authority's ceiling")
		}
		b.deals[objectID(c.id, "agreement")] = &dealBook{terms: o.terms, to: o.to, prepaid: terms.get("billing").str() == "prepaid"}
	case "agreement.amend":
		d.next, d.to = c.body.get("terms").str(), c.body.get("to").num()
	case "agreement.renew":
		if c.a.state["version/"+c.a.state["agreement/"+agreement].get("version").str()].get("state").str() != "listed" {
			return fmt.Errorf("renewed for a version that is not listed")
		}
		d.to = c.body.get("to").num()
	case "agreement.terminate":
		notice := c.a.open[d.terms].get("noticeDays").num() * 86_400_000
		if c.parties() < 2 && c.body.get("effective").num() < at+notice {
			return fmt.Errorf("one party alone ended it without notice")
		}
		d.to = min(d.to, max(at, c.body.get("effective").num()))
	case "agreement.expire":
		if at < d.to {
			return fmt.Errorf("expired before its end")
		}
	case "movement.deposit", "movement.refund", "movement.payout", "movement.collection":
		return c.move(d)
	case "period.close":
		month := c.body.get("month").str()
		late := time.UnixMilli(min(at, d.to-1)).UTC().Add(8 * time.Hour)
		before := time.Date(late.Year(), late.Month(), 1, 0, 0, 0, 0, time.UTC).Add(-time.Hour)
		if month != late.Format("2006-01") && month != before.Format("2006-01") || month < d.flatMonth {
			return fmt.Errorf("a period of %s closed in %s, behind one of %s", month, late.Format("2006-01"), d.flatMonth)
		}
		d.periods = append(d.periods, periodBook{terms: d.terms, flat: month != d.flatMonth})
		d.flatMonth = month
		if d.next != "" {
			d.terms, d.next = d.next, ""
		}
	case "usage.report":
		return c.report(d)
	case "settlement.settle":
		return c.settlement(d)
	case "acceptance.record":
		n := c.body.get("period").num()
		if n < 1 || n > int64(len(d.periods)) || d.periods[n-1].totals == nil || d.periods[n-1].accepted {
			return fmt.Errorf("accepted period %d, which is not reported or was accepted", n)
		}
		d.periods[n-1].accepted = true
	case "grant.warn", "grant.release":
		if at := c.body.get("percent").num(); c.kind == "grant.warn" && c.spent(d)*100 < c.limit(d)*at {
			return fmt.Errorf("warned of %d %% at %d of %d fen", at, c.spent(d), c.limit(d))
		}
		if first := c.a.state["rulebook"].get("warnPercents").list()[0].num(); c.kind == "grant.release" && c.spent(d)*100 >= c.limit(d)*first {
			return fmt.Errorf("released at %d of %d fen", c.spent(d), c.limit(d))
		}
	case "grant.hold":
		if last := c.a.state["rulebook"].get("warnPercents").list(); c.spent(d)*100 < c.limit(d)*last[len(last)-1].num() && c.spent(d) < c.limit(d)+c.a.open[d.terms].get("graceAmount").num() {
			return fmt.Errorf("cut at %d of %d fen", c.spent(d), c.limit(d))
		}
		percents := c.a.state["rulebook"].get("warnPercents").list()
		if c.a.state["grant/"+agreement].get("warned").num() < percents[len(percents)-1].num() {
			return fmt.Errorf("cut without the last warning")
		}
	case "grant.activate":
		if d.prepaid && d.escrow < c.a.open[d.terms].get("escrow").num() {
			return fmt.Errorf("active with %d fen in escrow", d.escrow)
		}
	}
	return c.serials()
}

// spent is what counts against escrow or credit line: reported and not settled, settled and not collected.
func (c *audited) spent(d *dealBook) int64 { return (d.totals[2]-d.settled[2]+5_000)/10_000 + d.debt }

func (c *audited) limit(d *dealBook) int64 {
	if d.prepaid {
		return d.escrow
	}
	return c.a.open[d.terms].get("creditLine").num()
}

// parties counts the members that signed.
func (c *audited) parties() int {
	seen := map[string]bool{}
	for _, s := range c.sub.Signatures {
		seen[c.a.state["key/"+digest("bund/key/v1", []byte(s.Key))[:32]].get("member").str()] = true
	}
	return len(seen)
}

func (c *audited) report(d *dealBook) error {
	v, ok := c.a.open[c.body.get("totals").str()]
	if !ok {
		return fmt.Errorf("a report of totals that nobody has opened")
	}
	t := [3]int64{v.get("calls").num(), v.get("units").num(), v.get("micro").num()}
	for i := range t {
		if t[i] < d.totals[i] {
			return fmt.Errorf("totals fall")
		}
	}
	d.totals = t
	if c.body.get("final").yes() {
		n := c.body.get("period").num()
		if n < 1 || n > int64(len(d.periods)) || d.periods[n-1].totals != nil {
			return fmt.Errorf("a final report of period %d of %d", n, len(d.periods))
		}
		d.periods[n-1].totals, d.periods[n-1].reported = &t, int64(c.at)
	}
	return nil
}

// held refuses money that moves while it is disputed or frozen.
func (c *audited) held() error {
	id := c.body.get("agreement").str()
	a := c.a.state["agreement/"+id]
	if x := c.a.state["dispute/"+id]; x.v != nil && x.get("decided").num() == 0 && c.kind != "movement.deposit" {
		return fmt.Errorf("money moves in a dispute")
	}
	for _, target := range []string{id, a.get("provider").str(), a.get("buyer").str(), a.get("product").str()} {
		if f := c.a.state["freeze/"+target]; f.v != nil && f.get("lifted").num() == 0 {
			return fmt.Errorf("money moves in a freeze")
		}
	}
	return nil
}

func (c *audited) move(d *dealBook) error {
	if err := c.held(); err != nil {
		return err
	}
	b := c.a.money
	v, ok := c.a.open[c.body.get("value").str()]
	if !ok {
		return fmt.Errorf("a movement that nobody has opened")
	}
	amount, ref := v.get("amount").num(), c.member+"/"+c.body.get("refTag").str()
	if amount <= 0 || b.refs[ref] {
		return fmt.Errorf("nothing moved, or its reference was used before")
	}
	b.refs[ref] = true
	switch c.kind {
	case "movement.deposit":
		d.escrow += amount
		b.deposits += amount
	case "movement.refund":
		d.escrow -= amount
		b.refunds += amount
	default:
		n := c.body.get("period").num()
		if n < 1 || n > int64(len(d.settlements)) {
			return fmt.Errorf("paid for a period that is not settled")
		}
		s := &d.settlements[n-1]
		if c.kind == "movement.payout" {
			if s.paid || amount != s.net || !d.prepaid && !s.collected {
				return fmt.Errorf("paid out %d fen of %d", amount, s.net)
			}
			s.paid = true
			b.paid += amount
			return nil
		} else {
			if s.collected || amount != s.total || d.prepaid {
				return fmt.Errorf("collected %d fen of %d", amount, s.total)
			}
			s.collected = true
			b.collected += amount
			d.debt -= amount
		}
	}
	return c.balance(d)
}

// balance compares the auditor's escrow and debt with those that the ledger commits to.
func (c *audited) balance(d *dealBook) error {
	if d.escrow < 0 || d.debt < 0 {
		return fmt.Errorf("the escrow is %d, the debt %d", d.escrow, d.debt)
	}
	for _, k := range c.res.Openings {
		if k.Tag != contracts.TagDebt || c.a.state["clr/debt/"+c.body.get("agreement").str()].get("owed").str() == string(k.Commitment) {
			continue
		}
		if v, _ := parse(k.Opening.Value); v.get("owed").num() != d.debt {
			return fmt.Errorf("the ledger's debt is %d, the books' %d", v.get("owed").num(), d.debt)
		}
	}
	for _, k := range c.res.Openings {
		if k.Tag == contracts.TagEscrow {
			if e := c.a.state["clr/escrow/"+c.body.get("agreement").str()]; e.get("balance").str() == string(k.Commitment) {
				continue // the balance before
			}
			if v, _ := parse(k.Opening.Value); v.get("balance").num() != d.escrow {
				return fmt.Errorf("the ledger's escrow is %d, the books' %d", v.get("balance").num(), d.escrow)
			}
		}
	}
	return nil
}

// settlement computes the amounts anew, over integers without bounds, and compares.
func (c *audited) settlement(d *dealBook) error {
	b := c.a.money
	n := c.body.get("period").num()
	if n != int64(len(d.settlements))+1 || n > int64(len(d.periods)) || d.periods[n-1].totals == nil {
		return fmt.Errorf("settled period %d out of order", n)
	}
	if err := c.held(); err != nil {
		return err
	}
	p := d.periods[n-1]
	terms := c.a.open[p.terms]
	if wait := terms.get("acceptanceDays").num() * 86_400_000; !p.accepted && int64(c.at) < p.reported+wait {
		return fmt.Errorf("settled before acceptance")
	}
	units, accrued := p.totals[1]-d.settled[1], p.totals[2]-d.settled[2]
	d.settled = *p.totals
	// round(units × price / 10000), half up
	micro := new(big.Int).Mul(big.NewInt(units), big.NewInt(terms.get("unitPrice").num()))
	if micro.Cmp(big.NewInt(accrued)) != 0 {
		return fmt.Errorf("settled at another price than the agreed one")
	}
	usage := new(big.Int).Add(micro, big.NewInt(5_000))
	usage.Div(usage, big.NewInt(10_000))
	flat := int64(0)
	if p.flat {
		flat = terms.get("flatFee").num()
	}
	gross := flat + usage.Int64()
	share := func(basisPoints int64) int64 {
		x := new(big.Int).Mul(big.NewInt(gross), big.NewInt(basisPoints))
		x.Add(x, big.NewInt(5_000))
		return x.Div(x, big.NewInt(10_000)).Int64()
	}
	rules := c.a.state["rulebook"]
	buyerFee, providerFee := share(rules.get("buyerFeeBasisPoints").num()), share(rules.get("providerFeeBasisPoint").num())
	var v record
	for _, k := range c.res.Openings {
		if k.Tag == contracts.TagSettlement {
			v, _ = parse(k.Opening.Value)
		}
	}
	for _, x := range []struct {
		name string
		want int64
	}{{"flat", flat}, {"usage", usage.Int64()}, {"buyerFee", buyerFee}, {"providerFee", providerFee}, {"buyerTotal", gross + buyerFee}, {"providerNet", gross - providerFee}} {
		if got := v.get(x.name).num(); got != x.want {
			return fmt.Errorf("%s is %d, the books say %d", x.name, got, x.want)
		}
	}
	sums := map[string]int64{}
	for _, l := range v.get("postings").list() {
		debit, credit := l.get("debit").num(), l.get("credit").num()
		if debit < 0 || credit < 0 {
			return fmt.Errorf("a posting below zero")
		}
		sums[l.get("account").str()] += credit - debit
	}
	payer := "buyer"
	if d.prepaid {
		payer = "escrow"
	}
	if sums[payer] != -(gross+buyerFee) || sums["provider"] != gross-providerFee || sums["venue"] != buyerFee+providerFee || sums[payer]+sums["provider"]+sums["venue"] != 0 {
		return fmt.Errorf("the journal does not balance: %v", sums)
	}
	if d.prepaid {
		d.escrow -= gross + buyerFee
		b.charged += gross + buyerFee
	} else {
		b.billed += gross + buyerFee
		d.debt += gross + buyerFee
	}
	b.earned += gross - providerFee
	b.fees += buyerFee + providerFee
	d.settlements = append(d.settlements, settlementBook{total: gross + buyerFee, net: gross - providerFee})
	if err := c.serials(); err != nil {
		return err
	}
	return c.balance(d)
}

// serials checks that every number is new and its check digit right, by ISO 7064 MOD 11,10 written anew.
func (c *audited) serials() error {
	for _, w := range c.res.Writes {
		noun, parts := nounOf(w.Key)
		if noun != "serial" && noun != "clr/serial" {
			continue
		}
		number := parts[len(parts)-1]
		if c.a.money.serials[number] {
			return fmt.Errorf("the number %s twice", number)
		}
		c.a.money.serials[number] = true
		m := 10
		for i, r := range number {
			if r < '0' || r > '9' || i == len(number)-1 {
				continue
			}
			x := (int(r-'0') + m) % 10
			if x == 0 {
				x = 10
			}
			m = x * 2 % 11
		}
		if (m+int(number[len(number)-1]-'0'))%10 != 1 {
			return fmt.Errorf("the check digit of %s is wrong", number)
		}
	}
	return nil
}

// Close checks what must hold over the whole ledger: no fen was made or lost.
func (a *Auditor) Close() error {
	b := a.money
	var escrows, owedToProviders, owedByBuyers int64
	for id, d := range b.deals {
		if d.escrow < 0 {
			return fmt.Errorf("audit: the escrow of %s is %d", id, d.escrow)
		}
		escrows += d.escrow
		debt := d.debt
		for _, s := range d.settlements {
			if !s.paid {
				owedToProviders += s.net
			}
			if !d.prepaid && !s.collected {
				owedByBuyers += s.total
				debt -= s.total
			}
		}
		if debt != 0 {
			return fmt.Errorf("audit: the debt of %s is %d fen off what was settled and not collected", id, debt)
		}
	}
	for _, x := range []struct {
		what        string
		left, right int64
	}{
		{"deposits = escrows + charged + refunds", b.deposits, escrows + b.charged + b.refunds},
		{"charged + billed = earned + fees", b.charged + b.billed, b.earned + b.fees},
		{"earned = paid out + owed to providers", b.earned, b.paid + owedToProviders},
		{"billed = collected + owed by buyers", b.billed, b.collected + owedByBuyers},
	} {
		if x.left != x.right {
			return fmt.Errorf("audit: %s: %d and %d fen", x.what, x.left, x.right)
		}
	}
	return nil
}
