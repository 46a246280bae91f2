package contracts

// Usage is the last report of an agreement's receipt log: acknowledged totals, one for any number of calls.
type Usage struct {
	Reports int64  `json:"reports"`
	Period  int64  `json:"period"` // number of the period it belongs to, from 1
	Final   bool   `json:"final"`  // of a closed period
	Epoch   int64  `json:"epoch"`
	Size    int64  `json:"size"`
	Root    Hash   `json:"root"`
	Totals  Hash   `json:"totals"` // commitment, tag bund/usage/v1
	Hosted  bool   `json:"hosted"` // the consumer's receipt key lives at a host
	Since   Millis `json:"since"`  // of the first report
	Time    Millis `json:"time"`
}

// KeyUsage is where an agreement's last report stands.
func KeyUsage(agreement ID) string { return "usage/" + string(agreement) }

// ClosedPeriod is a closed accounting period of an agreement. A period begins where the one before was closed, and
// belongs to the month of its use, which whoever closes it names: a month ends before it can be closed.
type ClosedPeriod struct {
	Number int64   `json:"number"`
	Month  Period  `json:"month"`
	Terms  Hash    `json:"terms"` // in force for it
	Flat   bool    `json:"flat"`  // the month's flat fee falls into it
	Closed Millis  `json:"closed"`
	Report *Report `json:"report,omitempty"` // the final usage report

	Acceptance *Acceptance `json:"acceptance,omitempty"` // by the buyer's word
}

// Report is what of a usage report is settled.
type Report struct {
	Epoch  int64  `json:"epoch"`
	Size   int64  `json:"size"`
	Root   Hash   `json:"root"`
	Totals Hash   `json:"totals"`
	Time   Millis `json:"time"`
}

// KeyPeriod is where the n-th period of an agreement stands.
func KeyPeriod(agreement ID, n int64) string {
	return "period/" + string(agreement) + "/" + pad(n)
}

// pad keeps numbers in byte order.
func pad(n int64) string {
	s := itoa(int(n))
	for len(s) < 6 {
		s = "0" + s
	}
	return s
}

// PeriodClose closes the open period: the provider's log gets a CLOSE leaf that names the period's number. By a party or
// the venue's job. Number guards against closing twice. Month is that of the use in it: the month of the close or the one
// before, and none in which the period had not begun.
type PeriodClose struct {
	Agreement ID     `json:"agreement"`
	Number    int64  `json:"number"`
	Month     Period `json:"month"`
}

// Months gives the first and the last month that a period may belong to which begins at one time and is closed at another,
// of an agreement that ends at to. What is closed after the end belongs to the month of the end at the latest: no flat fee
// for a month without an agreement.
func Months(began, closed, to Millis) (first, last Period) {
	closed = min(closed, to-1)
	last = PeriodOf(closed)
	return max(PeriodOf(min(began, closed)), PeriodOf(last.Start()-1)), last
}

// UsageReport brings the acknowledged state of a receipt log, signed by both sides' receipt keys: the consumer's
// acknowledgement and the provider's report of the same statement. A final one ends exactly behind the CLOSE leaf.
type UsageReport struct {
	Agreement ID     `json:"agreement"`
	Period    int64  `json:"period"`
	Final     bool   `json:"final"`
	Epoch     int64  `json:"epoch"`
	Size      int64  `json:"size"`
	Root      Hash   `json:"root"`
	Totals    Hash   `json:"totals"` // commitment to Totals
	Ack       Signed `json:"ack"`
	Report    Signed `json:"report"`
}

var usageKinds = []*spec{
	kind("period.close", applyPeriodClose, by("")),
	kind("usage.report", applyUsageReport, by(RoleProvider)),
}

func applyPeriodClose(t *tx, b *PeriodClose) *Refusal {
	a, r := t.agreement(b.Agreement, true)
	if r != nil {
		return r
	}
	if b.Number != a.Periods+1 {
		return refuse("period.number", "the open period is number %d", a.Periods+1).at("number")
	}
	began := a.From
	if a.Periods > 0 {
		last, ok := get[ClosedPeriod](t, KeyPeriod(b.Agreement, a.Periods))
		if ok && last.Report == nil {
			return refuse("period.unreported", "the period before has no final report yet").at("number")
		}
		if ok && a.State != AgreementActive && last.Closed >= a.To {
			return refuse("agreement.state", "the agreement is %s and its last period closed", a.State).at("agreement")
		}
		if ok {
			began = max(began, last.Closed)
		}
	}
	if first, last := Months(began, t.env.Now, a.To); b.Month < first || b.Month > last {
		return refuse("period.month", "use of this period is of %s to %s", first, last).at("month")
	}
	p := ClosedPeriod{Number: b.Number, Month: b.Month, Terms: a.Terms, Closed: t.env.Now}
	p.Flat = p.Month != a.FlatMonth
	a.Periods, a.FlatMonth = b.Number, p.Month
	if a.NextTerms != "" {
		a.Terms, a.NextTerms = a.NextTerms, ""
	}
	t.saveAgreement(b.Agreement, a, "period.closed")
	t.put(KeyPeriod(b.Agreement, b.Number), p)
	return nil
}

func applyUsageReport(t *tx, b *UsageReport) *Refusal {
	a, r := t.agreement(b.Agreement, false)
	if r != nil {
		return r
	}
	if t.me() != a.Provider {
		return refuse("agreement.unknown", "the provider reports").at("agreement")
	}
	totals, _, r := open[Totals](t, TagUsage, b.Totals, "totals")
	if r != nil {
		return r
	}
	prev, had := get[Usage](t, KeyUsage(b.Agreement))
	before := &Totals{}
	if had {
		if before, _, r = open[Totals](t, TagUsage, prev.Totals, "agreement"); r != nil {
			return r
		}
	} else {
		prev = &Usage{}
	}
	switch {
	case b.Epoch < prev.Epoch || (b.Epoch == prev.Epoch && b.Size < prev.Size):
		return refuse("usage.size", "a log does not shrink").at("size")
	case b.Size < 0 || b.Epoch < 0:
		return refuse("usage.size", "a size is not below zero").at("size")
	case totals.Calls < before.Calls || totals.Units < before.Units || totals.Micro < before.Micro:
		return refuse("usage.totals", "acknowledged totals do not fall").at("totals")
	}
	var closing *ClosedPeriod
	switch open := a.Periods + 1; {
	case !b.Final && b.Period != open:
		return refuse("usage.period", "an interim report is of the open period, number %d", open).at("period")
	case b.Final:
		closing, _ = get[ClosedPeriod](t, KeyPeriod(b.Agreement, b.Period))
		if closing == nil {
			return refuse("usage.period", "this period was not closed").at("period")
		}
		if closing.Report != nil {
			return refuse("usage.final", "this period has its final report").at("period")
		}
	case a.Periods > 0:
		if last, ok := get[ClosedPeriod](t, KeyPeriod(b.Agreement, a.Periods)); ok && last.Report == nil {
			return refuse("usage.period", "the closed period wants its final report first").at("period")
		}
	}
	st := Statement{Agreement: b.Agreement, Epoch: b.Epoch, Size: b.Size, Root: b.Root, Totals: *totals}
	ack, r := t.checkStatement(st, TagAck, b.Ack, a.Buyer, "ack")
	if r != nil {
		return r
	}
	if _, r := t.checkStatement(st, TagReport, b.Report, a.Provider, "report"); r != nil {
		return r
	}
	since := prev.Since
	if !had {
		since = t.env.Now
	}
	hosted := false
	if n, ok := get[Node](t, KeyNode(ack.Node)); ok && ack.Node != "" {
		hosted = n.Host != ""
	}
	if closing != nil {
		closing.Report = &Report{Epoch: b.Epoch, Size: b.Size, Root: b.Root, Totals: b.Totals, Time: t.env.Now}
		t.put(KeyPeriod(b.Agreement, b.Period), closing)
	}
	t.put(KeyUsage(b.Agreement), Usage{Reports: prev.Reports + 1, Period: b.Period, Final: b.Final, Epoch: b.Epoch, Size: b.Size,
		Root: b.Root, Totals: b.Totals, Hosted: hosted, Since: since, Time: t.env.Now})
	t.event("usage.reported", b.Agreement)
	return nil
}

// checkStatement verifies a receipt key's signature over a statement.
func (t *tx) checkStatement(s Statement, tag string, by Signed, member ID, field string) (*Key, *Refusal) {
	k, r := t.receiptKey(by.Key.ID(), member, field+".key")
	if r != nil {
		return nil, r
	}
	if !by.Key.Verify(s.SignedBytes(tag), by.Sig) {
		return nil, refuse("usage.signature", "the signature does not verify over this statement").at(field)
	}
	return k, nil
}
