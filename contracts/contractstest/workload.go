package contractstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// Workload makes the lines of an endless script: a market that grows, with commands that should be accepted and commands
// that should not. It decides nothing; it looks at the state only to find something that is likely to go on. The same
// seed gives the same lines.
type Workload struct {
	s        *Scene
	rng      *rand.Rand
	products []string
	deals    []string
	consents []string
	objected map[string][]string // objections by version
	shelved  []string            // what a freeze, suspension or dispute lies on
	labels   []string
	keys     []string // further keys of the bank's maker, some revoked
	n        int
}

// NewWorkload begins over a scene in which nothing has happened.
func NewWorkload(s *Scene, seed uint64) *Workload {
	return &Workload{s: s, rng: rand.New(rand.NewPCG(seed, 7)), objected: map[string][]string{}, products: []string{"P1", "P2"}, n: 10}
}

// Opening gives the lines that every market begins with.
func (w *Workload) Opening() []string {
	return []string{"market", "authorised A1 ceiling=1999999", "actor rival roles=provider", "admitted rival", "actor lender roles=buyer", "admitted lender", "lender node.register",
		"newkey PHONE", "newkey STRANGER", "listed P1 facts.unitPrice=100010", "listed P2 facts.unitPrice=100020"}
}

func (w *Workload) one(xs ...string) string { return xs[w.rng.IntN(len(xs))] }
func (w *Workload) chance(percent int) bool { return w.rng.IntN(100) < percent }

// amount gives one that is equal to no public figure: seven or eight digits that end in 7.
func (w *Workload) amount(low, high int64) int64 { return (low+w.rng.Int64N(high-low))/10*10 + 7 }

func (w *Workload) name(prefix string) string {
	w.n++
	return fmt.Sprintf("%s%d", prefix, w.n)
}

func pickOne(w *Workload, xs []string) string {
	if len(xs) == 0 {
		return ""
	}
	// The youngest are the likeliest to go on.
	if w.chance(70) {
		return xs[len(xs)-1-w.rng.IntN(min(len(xs), 4))]
	}
	return xs[w.rng.IntN(len(xs))]
}

// Next gives the next line.
func (w *Workload) Next() string {
	for {
		var line string
		switch n := w.rng.IntN(100); {
		case n < 12:
			line = w.product()
		case n < 72:
			line = w.deal()
		case n < 78:
			line = w.consent()
		case n < 81:
			line = w.supervise()
		case n < 84:
			line = "wait " + w.one("1h", "6h", "1d", "2d")
		case n < 87:
			line = w.housekeeping()
		default:
			line = w.spoilt()
		}
		if line != "" {
			return line
		}
	}
}

func (w *Workload) product() string {
	p := pickOne(w, w.products)
	if p == "" || len(w.products) < 4 && w.chance(20) || w.chance(3) {
		p = w.name("P")
		w.products = append(w.products, p)
		options := fmt.Sprintf(" facts.unitPrice=%d", 100_000+w.rng.IntN(90)*10)
		if old := pickOne(w, w.products[:len(w.products)-1]); old != "" && w.chance(30) && w.has(old) {
			options += " of=" + old
		}
		return "provider product.draft " + p + options
	}
	v := w.version(p)
	if v == nil {
		return ""
	}
	switch v.State {
	case contracts.Draft:
		if !w.there(contracts.KeyDataset(w.id(p))) {
			return "provider dataset.report " + p
		}
		switch len(w.s.versions[p]) {
		case 0:
			return "lawfirm attestation.issue " + p + ".legal on=" + p
		case 1:
			return "assessor attestation.issue " + p + ".quality on=" + p
		case 2:
			return "appraiser attestation.issue " + p + ".value on=" + p + " type=valuation" + w.one("", "", "", " verdict=not_tradable")
		}
		return "provider product.submit " + p
	case contracts.Submitted:
		return "venue product.review " + p + " decision=accept"
	case contracts.ComplianceReview, contracts.QualityReview:
		return "venue product.review " + p + w.one(" decision=pass", " decision=pass", " decision=pass", ` decision=return reason="once more"`, ` decision=reject reason="no"`)
	case contracts.Publicity:
		if w.chance(10) {
			o := w.name("O")
			w.objected[p] = append(w.objected[p], o)
			return w.one("bank", "lender", "rival") + " product.object " + o + " on=" + p
		}
		if o := pickOne(w, w.objected[p]); v.Objections > 0 && w.has(o) {
			return "venue product.answer " + o + " on=" + p + w.one("", "", " upheld=true")
		}
		if w.chance(50) {
			return "wait 1d"
		}
		return "venue product.register " + p
	case contracts.Registered:
		return "venue product.list " + p
	case contracts.Listed:
		if w.chance(60) {
			return ""
		}
		return w.one("", "", "", "", "provider product.price "+p+fmt.Sprintf(" unitPrice=%d", 100_000+w.rng.IntN(100)*10), "venue product.suspend "+p,
			"provider dataset.report "+p, "assessor attestation.withdraw "+p+".quality", w.one("", "", "", "", "provider product.delist "+p))
	case contracts.ListingSuspended:
		return w.one("venue product.resume "+p, "venue product.resume "+p, "provider product.delist "+p)
	}
	return ""
}

// deal moves a deal on, from its first offer to its last payment.
func (w *Workload) deal() string {
	d := pickOne(w, w.deals)
	price := int64(1_500_000)
	if w.chance(5) {
		price = 4_000_000 // beyond the source authority's ceiling
	}
	if d == "" || w.chance(10) {
		p := w.one(w.products...)
		if v := w.version(p); v == nil || v.State != contracts.Listed && !w.chance(5) {
			return ""
		}
		d = w.name("D")
		w.deals = append(w.deals, d)
		billing := w.one("prepaid", "postpaid")
		options := fmt.Sprintf(" billing=%s terms.unitPrice=%d terms.flatFee=%d terms.graceAmount=%d", billing, w.amount(200_000, price), w.amount(200_000, 400_000), w.amount(100_000, 200_000))
		if billing == "prepaid" {
			options += fmt.Sprintf(" terms.escrow=%d", w.amount(1_000_000, 3_000_000))
		} else {
			options += fmt.Sprintf(" terms.creditLine=%d", w.amount(1_000_000, 3_000_000))
		}
		return w.one("bank", "bank", "bank", "lender") + " negotiation.request " + d + " on=" + p + w.one("", "", "", " kind=test") + options + w.one("", "", "", " offer.to=+20d")
	}
	n, err := read[contracts.Negotiation](w.s, contracts.KeyNegotiation(w.s.names[d+".negotiation"]))
	if err != nil {
		return ""
	}
	buyer := w.s.nameOf(string(n.Buyer))
	switch n.State {
	case contracts.Requested:
		return "provider negotiation.offer " + d + w.one("", "", fmt.Sprintf(" terms.flatFee=%d", w.amount(200_000, 400_000)))
	case contracts.Offered:
		return buyer + w.one(" negotiation.accept "+d, " negotiation.accept "+d, " negotiation.counter "+d+fmt.Sprintf(" terms.unitPrice=%d", w.amount(200_000, 1_500_000)))
	case contracts.Accepted:
		return "provider agreement.propose " + d
	case contracts.Agreed:
		return buyer + " agreement.verify " + d + w.one("", "", "", "", " digest=another")
	case contracts.Verified:
		return "provider agreement.finalize " + d
	case contracts.Finalized:
		return w.trade(d, buyer)
	}
	return ""
}

// trade is the life of an agreement.
func (w *Workload) trade(d, buyer string) string {
	id := w.id(d)
	a, err := read[contracts.Agreement](w.s, contracts.KeyAgreement(id))
	if err != nil {
		return ""
	}
	g, err := read[contracts.Grant](w.s, contracts.KeyGrant(id))
	if err != nil {
		return ""
	}
	ack := ""
	if buyer != "bank" {
		ack = " ack=" + buyer + ".receipt"
	}
	if g.State == contracts.GrantPending && w.chance(60) {
		return w.one(fmt.Sprintf("custodian movement.deposit %s amount=%d", d, w.amount(500_000, 2_000_000)), "venue grant.activate "+d)
	}
	if g.State == contracts.GrantOnHold && w.chance(60) {
		return w.one(fmt.Sprintf("custodian movement.deposit %s amount=%d", d, w.amount(1_000_000, 9_000_000)), "venue grant.release "+d)
	}
	if p, err := read[contracts.ClosedPeriod](w.s, contracts.KeyPeriod(id, a.Periods)); err == nil && w.chance(70) {
		if p.Report == nil {
			return "provider usage.report " + d + " final=true" + ack
		}
		st, err := read[contracts.Settlement](w.s, contracts.KeySettlement(id, a.Periods))
		switch {
		case err != nil && p.Acceptance == nil && w.chance(70):
			return buyer + " acceptance.record " + d
		case err != nil:
			return "venue settlement.settle " + d + w.one("", "", "", " escrow=no", fmt.Sprintf(" period=%d", w.period(a.Periods)))
		case st.Paid == 0:
			return "custodian movement." + w.one("payout", "collection") + " " + d + fmt.Sprintf(" period=%d", w.period(a.Periods)) +
				w.one("", "", "", "", fmt.Sprintf(" amount=%d", w.amount(100_000, 400_000)), fmt.Sprintf(" ref=JP-%d", w.rng.IntN(3)))
		case w.chance(30):
			return "venue certificate.issue " + d + fmt.Sprintf(" period=%d", w.period(a.Periods))
		}
	}
	if a.State != contracts.AgreementActive {
		return w.one("venue period.close "+d, fmt.Sprintf("custodian movement.refund %s amount=%d", d, w.amount(100_000, 1_000_000)), "provider usage.report "+d+" calls=3"+ack, "")
	}
	parties := "by=maker,checker," + buyer + ".maker," + buyer + ".checker"
	return w.one(
		fmt.Sprintf("provider usage.report %s calls=%d%s%s", d, w.rng.IntN(4000), ack, w.one("", "", "", "", "", fmt.Sprintf(" totals.micro=%d", w.amount(1e15, 2e15)))), fmt.Sprintf("provider usage.report %s calls=%d%s", d, w.rng.IntN(4000), ack),
		w.one("venue", buyer, "provider")+" period.close "+d, "venue period.close "+d,
		"venue grant.warn "+d+" percent="+w.one("50", "80", "95"), "venue grant.warn "+d+" percent=95", "venue grant.hold "+d, "venue grant.hold "+d,
		fmt.Sprintf("custodian movement.deposit %s amount=%d", d, w.amount(500_000, 2_000_000))+w.one("", fmt.Sprintf(" ref=JP-%d", w.rng.IntN(3))),
		"provider grant."+w.one("suspend", "resume", "resume")+" "+d,
		"provider agreement.amend "+d+" "+parties+fmt.Sprintf(" terms.unitPrice=%d", w.amount(200_000, 1_500_000)),
		"provider agreement.renew "+d+" "+parties,
		w.one("", "", buyer+" agreement.terminate "+d+" "+w.one("effective=+30d", "effective=+10d", "alone=no by=maker,checker,provider.maker,provider.checker")),
		w.one("", "", "", "provider grant.revoke "+d), "venue agreement.expire "+d,
		fmt.Sprintf("provider grant.allocate %s nodes.0.quotaCalls=%d", d, 1+w.rng.IntN(11_000)),
	)
}

// period mostly names the last one.
func (w *Workload) period(last int64) int64 {
	if w.chance(20) {
		return w.rng.Int64N(last + 2)
	}
	return last
}

func (w *Workload) consent() string {
	c := pickOne(w, w.consents)
	p := pickOne(w, w.products)
	if !w.has(p) {
		return ""
	}
	if c == "" || w.chance(40) {
		c = w.name("C")
		w.consents = append(w.consents, c)
		code := contracts.SyntheticCreditCode(uint32(3_000_000_000 + w.rng.IntN(1000)))
		return "bank " + w.one("consent.register", "consent.present") + " " + c + " on=" + p + " code=" + string(code)
	}
	if !w.has(c) {
		return ""
	}
	d := pickOne(w, w.deals)
	if w.has(d) && w.chance(60) {
		return "use " + w.one("bank", "bank", "lender") + " " + d + " consent=" + c + w.one("", "", " purpose=insurance", " fields=shareholders", " calls=5", " region=SG")
	}
	return w.one("bank consent.revoke "+c, "lender consent.revoke "+c+" signed=PHONE", "authority consent.sample "+c, "bank consent.produce "+c)
}

// supervise puts something out of use, and mostly soon back.
func (w *Workload) supervise() string {
	if len(w.shelved) > 0 && w.chance(60) {
		kind, what, _ := strings.Cut(w.shelved[0], " ")
		w.shelved = w.shelved[1:]
		return map[string]string{"freeze": "regulator freeze.lift ", "suspend": "venue member.reinstate ", "dispute": "venue dispute.decide "}[kind] + what
	}
	d := pickOne(w, w.deals)
	target := w.one("freeze bank", "freeze provider", "freeze lender", "suspend lender", "suspend rival", "suspend appraiser", "freeze "+d, "dispute "+d)
	kind, what, _ := strings.Cut(target, " ")
	if what == "" || len(w.shelved) > 1 || what == d && !w.has(d) {
		return ""
	}
	w.shelved = append(w.shelved, target)
	return map[string]string{"freeze": "regulator freeze.order ", "suspend": "venue member.suspend ", "dispute": w.one("bank", "provider") + " dispute.open "}[kind] + what
}

func (w *Workload) housekeeping() string {
	k := w.name("K")
	p := pickOne(w, w.products)
	switch w.rng.IntN(11) {
	case 8:
		if l := pickOne(w, w.labels); w.s.labels[l] != nil {
			return "again " + l
		}
	case 9:
		if l := pickOne(w, w.labels); w.s.labels[l] != nil {
			return "venue snapshot.record @id=" + l + " @notAfter=+5m"
		}
	case 0, 10:
		if len(w.keys) == 0 || w.chance(40) {
			if err := w.s.Run("newkey " + k); err != nil {
				return ""
			}
			w.keys = append(w.keys, k)
			return "bank key.add " + k + " person=bank.maker" + w.one("", " key.notAfter=+1d")
		}
		return w.one("bank key.revoke ", "bank member.check lender by=", "bank member.renew_file by=") + pickOne(w, w.keys)
	case 1:
		return w.one("venue snapshot.record", "venue reads.anchor")
	case 2:
		if w.has(p) {
			return w.one("bank", "lender") + " correction.open " + w.name("R") + " on=" + p + ".product"
		}
	case 3:
		return w.one("venue", "venue", "bank") + " erasure.record commitments=" + k
	case 4:
		return "regulator export.decide " + w.name("E") + " on=provider route=" + w.one("EXEMPT", "ASSESS", "SOMEHOW")
	case 5:
		return "rival authority.grant " + w.name("A")
	case 6:
		return "venue member.check lender passed=" + w.one("true", "false")
	case 7:
		return w.one("bank", "lender") + " member.renew_file"
	}
	return ""
}

// spoilt is a line that was likely to be accepted, with something wrong about it.
func (w *Workload) spoilt() string {
	var line string
	switch w.rng.IntN(3) {
	case 0:
		line = w.product()
	case 1:
		line = w.deal()
	case 2:
		line = w.consent()
	}
	if line == "" || strings.HasPrefix(line, "wait") || strings.HasPrefix(line, "use") || strings.Contains(line, " by=") {
		return ""
	}
	member, rest, _ := strings.Cut(line, " ")
	if k := pickOne(w, w.keys); member == "bank" && k != "" && w.chance(40) {
		return line + " by=" + k + ",checker"
	}
	switch w.rng.IntN(11) {
	case 10: // nothing spoilt: it will be sent again
		l := w.name("L")
		w.labels = append(w.labels, l)
		return line + " label=" + l
	case 0:
		return line + " sig=" + w.one("flip", "short", "none")
	case 1:
		return line + " by=" + w.one("maker", "checker", "admin", "machine", "receipt", "maker,maker", "STRANGER", "maker,checker,rival.maker")
	case 2:
		return line + " open=" + w.one("none", "unneeded")
	case 3:
		return line + ` edit='|"kind":|"Kind":|'`
	case 4:
		return line + " @ledger=bund.test/another"
	case 5:
		return line + " @notBefore=-20m @notAfter=-10m"
	case 6:
		return line + " pad=1"
	case 7:
		return line + ` edit='|"version":"1"|"version":"2"|'`
	case 8:
		return line + " @notBefore=+10m"
	}
	stranger := map[string]string{"provider": "rival ", "bank": "lender ", "venue": "bank ", "custodian": "provider "}[member]
	if stranger == "" {
		stranger = "rival "
	}
	return stranger + rest
}

func (w *Workload) id(name string) contracts.ID { return w.s.names[name] }
func (w *Workload) has(name string) bool        { return name != "" && w.s.names[name] != "" }

func (w *Workload) there(key string) bool {
	b, err := w.s.Oracle.Get(key)
	return err == nil && b != nil
}

func (w *Workload) version(name string) *contracts.Version {
	if !w.has(name) {
		return nil
	}
	v, err := read[contracts.Version](w.s, contracts.KeyVersion(w.id(name)))
	if err != nil {
		return nil
	}
	return v
}

// Simulation is a workload under audit, over the rules and, when there is one, another executor.
type Simulation struct {
	Scene    *Scene
	Coverage *Coverage
	Lines    []string // all so far: a script that leads here
	work     *Workload
	object   func() error
}

// NewSimulation begins one. The seed decides everything.
func NewSimulation(ledger string, seed uint64, exec Executor) (*Simulation, error) {
	s := NewScene(ledger, exec, seed)
	m := &Simulation{Scene: s, Coverage: &Coverage{Accepted: map[string]int{}, Refused: map[contracts.Code]int{}}}
	s.observe = m.Coverage.observe
	m.object = s.Watch(NewAuditor(ledger, true))
	m.work = NewWorkload(s, seed)
	for _, line := range m.work.Opening() {
		if err := m.do(line); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Step does one more line and lets the auditor look.
func (m *Simulation) Step() error { return m.do(m.work.Next()) }

func (m *Simulation) do(line string) error {
	m.Lines = append(m.Lines, line)
	err := m.Scene.Run(line)
	var r *contracts.Refusal
	if err != nil && !errors.As(err, &r) { // time that can't move is a refusal of the script's own
		return fmt.Errorf("%s: %w", line, err)
	}
	if err := m.object(); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// End compares an executor's state with the rules'.
func (m *Simulation) End() error { return m.Scene.sameState() }
