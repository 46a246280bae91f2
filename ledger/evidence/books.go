package evidence

import (
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// books are an auditor's own accounts of money in fen, kept from signed bodies and opened values. They share no
// arithmetic with the rules, and follow what the ledger says also where the rules disagree.
type books struct {
	deals map[contracts.ID]*deal
	refs  map[string]bool // custodian/reference tag
	sums  sums
	blind int // values that could not be opened
}

// deal is the money of one agreement.
type deal struct {
	escrow contracts.Fen
	blind  bool          // a movement was not opened: the next balance that is opened is believed
	debt   contracts.Fen // postpaid: settled and not collected
	unsure bool          // the same as blind, of the debt
	owed   map[int64]*owed
}

// owed is what a settled period left to pay.
type owed struct {
	total, net      contracts.Fen
	prepaid         bool
	collected, paid bool
	blind           bool
}

type sums struct {
	deposits, refunds, charged, billed, earned, fees, paid, collected contracts.Fen
}

func newBooks() *books { return &books{deals: map[contracts.ID]*deal{}, refs: map[string]bool{}} }

func (b *books) deal(id contracts.ID) *deal {
	d := b.deals[id]
	if d == nil {
		d = &deal{owed: map[int64]*owed{}}
		b.deals[id] = d
	}
	return d
}

// entry follows the money of one entry; before is the state that it found.
func (b *books) entry(a *audit, it *item, before view) {
	switch body := it.cmd.Body().(type) {
	case *contracts.MovementRecord:
		b.movement(a, it, body)
	case *contracts.SettlementSettle:
		b.settlement(a, it, body, before)
	case *contracts.CertificateIssue:
		certificate(a, it, body, before)
	}
	serials(a, it, before)
}

// written gives the record that an entry writes at key.
func written[T any](it *item, key string) *T {
	for _, w := range it.e.Writes {
		if w.Key == key && w.Value != nil {
			if rec, err := contracts.Read[T](w.Value); err == nil {
				return rec
			}
		}
	}
	return nil
}

// opened gives a private value, nil when it isn't there.
func opened[T any](a *audit, tag string, c contracts.Hash, where string) *T {
	if c == "" {
		return nil
	}
	a.use(c, where)
	o, ok := a.find(tag, c)
	if !ok {
		return nil
	}
	v, err := contracts.Read[T](o.Value)
	if err != nil {
		a.fail(CheckMoney, where, say{"the opening of %s is no such value: %v", "%s 的私密值格式不符：%v"}, c, err)
		return nil
	}
	return v
}

func (b *books) unknown(a *audit) {
	b.blind++
	a.skip(CheckMoney, unopened)
}

func (b *books) movement(a *audit, it *item, m *contracts.MovementRecord) {
	d, typ := b.deal(m.Agreement), strings.TrimPrefix(it.cmd.Kind, "movement.")
	ref := it.cmd.Member + "/" + string(m.RefTag)
	if b.refs[ref] {
		a.fail(CheckMoney, it.where("command.body.refTag"), say{"the custodian has used this reference before", "存管银行此前已用过此流水号"})
	}
	b.refs[ref] = true
	v := opened[contracts.MovementValue](a, contracts.TagMovement, m.Value, it.where("command.body.value"))
	if v == nil {
		b.unknown(a)
		d.blind = d.blind || typ == "deposit" || typ == "refund"
		if o := d.owed[m.Period]; o != nil {
			o.collected, o.paid = o.collected || typ == "collection", o.paid || typ == "payout"
			o.blind = true
		}
		b.balance(a, it, m.Agreement, d)
		d.unsure = d.unsure || typ == "collection"
		b.debt(a, it, m.Agreement, d)
		return
	}
	a.count(CheckMoney, 1)
	if v.Amount <= 0 {
		a.fail(CheckMoney, it.where("command.body.value"), say{"nothing moved", "没有资金变动"})
	}
	switch typ {
	case "deposit":
		d.escrow += v.Amount
		b.sums.deposits += v.Amount
	case "refund":
		d.escrow -= v.Amount
		b.sums.refunds += v.Amount
	default:
		b.pay(a, it, m, v.Amount, typ)
		if typ == "collection" {
			d.debt -= v.Amount
			if !b.debt(a, it, m.Agreement, d) {
				a.fail(CheckMoney, it.where("writes."+contracts.KeyDebt(m.Agreement)), say{"the buyer has paid and the debt stayed as it was", "已收款而欠款未变"})
			}
		}
		return
	}
	if !b.balance(a, it, m.Agreement, d) {
		a.fail(CheckMoney, it.where("writes."+contracts.KeyEscrow(m.Agreement)), say{"money moved and the escrow stayed as it was", "资金变动而托管余额未变"})
	}
}

// pay holds a payment against what the settlement left to pay.
func (b *books) pay(a *audit, it *item, m *contracts.MovementRecord, amount contracts.Fen, typ string) {
	o := b.deal(m.Agreement).owed[m.Period]
	where := it.where("command.body.value")
	if o == nil {
		a.fail(CheckMoney, it.where("command.body.period"), say{"paid for a period that is not settled", "为未结算的期间付款"})
		return
	}
	want, done, sum := o.net, &o.paid, &b.sums.paid
	if typ == "collection" {
		want, done, sum = o.total, &o.collected, &b.sums.collected
	}
	switch {
	case *done:
		a.fail(CheckMoney, where, say{"paid twice", "重复付款"})
	case o.blind:
	case amount != want:
		a.fail(CheckMoney, where, say{"%d fen are paid, %d are owed", "付 %d 分，应付 %d 分"}, amount, want)
	}
	*done = true
	*sum += amount
}

// balance holds an escrow that an entry writes against the books; false when it writes none.
func (b *books) balance(a *audit, it *item, agreement contracts.ID, d *deal) bool {
	key := contracts.KeyEscrow(agreement)
	e := written[contracts.Escrow](it, key)
	if e == nil {
		return false
	}
	v := opened[contracts.EscrowValue](a, contracts.TagEscrow, e.Balance, it.where("writes."+key))
	switch {
	case v == nil:
		b.unknown(a)
		return true
	case v.Balance < 0:
		a.fail(CheckMoney, it.where("writes."+key), say{"the escrow is %d fen", "托管余额为 %d 分"}, v.Balance)
	case d.blind:
		d.blind = false
	case v.Balance != d.escrow:
		a.fail(CheckMoney, it.where("writes."+key), say{"the escrow is %d fen, movements and settlements make %d", "托管余额 %d 分，按收付与结算应为 %d 分"}, v.Balance, d.escrow)
	default:
		a.count(CheckMoney, 1)
	}
	d.escrow = v.Balance
	return true
}

// debt holds what a postpaid buyer owes against the books; false when the entry writes nothing about it.
func (b *books) debt(a *audit, it *item, agreement contracts.ID, d *deal) bool {
	key := contracts.KeyDebt(agreement)
	e := written[contracts.Debt](it, key)
	if e == nil {
		return false
	}
	v := opened[contracts.DebtValue](a, contracts.TagDebt, e.Owed, it.where("writes."+key))
	switch {
	case v == nil:
		b.unknown(a)
		return true
	case v.Owed < 0:
		a.fail(CheckMoney, it.where("writes."+key), say{"the debt is %d fen", "欠款为 %d 分"}, v.Owed)
	case d.unsure:
		d.unsure = false
	case v.Owed != d.debt:
		a.fail(CheckMoney, it.where("writes."+key), say{"the debt is %d fen, settlements and collections make %d", "欠款 %d 分，按结算与收款应为 %d 分"}, v.Owed, d.debt)
	default:
		a.count(CheckMoney, 1)
	}
	d.debt = v.Owed
	return true
}

// close ends the audit of money: no fen was made or lost.
func (b *books) close(a *audit) {
	s := b.sums
	var escrows, toProviders, byBuyers contracts.Fen
	unpaid := 0
	for id, d := range b.deals {
		if d.escrow < 0 && !d.blind {
			a.fail(CheckMoney, EntriesFile+": "+contracts.KeyEscrow(id), say{"the escrow is %d fen", "托管余额为 %d 分"}, d.escrow)
		}
		escrows += d.escrow
		for _, o := range d.owed {
			if !o.paid {
				toProviders += o.net
				unpaid++
			}
			if !o.prepaid && !o.collected {
				byBuyers += o.total
			}
		}
	}
	if b.blind > 0 || a.findings[CheckMoney].Verdict == Failed {
		return
	}
	for _, x := range []struct {
		left, right contracts.Fen
		what        say
	}{
		{s.deposits, escrows + s.charged + s.refunds, say{"deposits are not escrows + charges + refunds", "存入不等于托管余额+扣款+退款"}},
		{s.charged + s.billed, s.earned + s.fees, say{"what buyers owe is not what providers and venue earn", "买方应付不等于供方与场所所得"}},
		{s.earned, s.paid + toProviders, say{"what providers earn is not paid + owed", "供方所得不等于已付+应付"}},
		{s.billed, s.collected + byBuyers, say{"what is billed is not collected + owed", "后付账款不等于已收+应收"}},
	} {
		if x.left != x.right {
			a.fail(CheckMoney, EntriesFile+": books", say{x.what.en + ": %d, %d fen", x.what.zh + "：%d、%d 分"}, x.left, x.right)
		}
	}
	a.note(CheckMoney, say{"%d fen paid in = %d in escrow + %d charged + %d given back; providers earned %d, the venue %d; %d settlements not paid out",
		"存入 %d 分 = 托管 %d + 扣款 %d + 退回 %d；供方所得 %d 分，场所 %d 分；%d 笔结算未付出"}, s.deposits, escrows, s.charged, s.refunds, s.earned, s.fees, unpaid)
}
