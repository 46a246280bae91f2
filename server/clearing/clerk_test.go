package clearing_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/clearing"
	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
	"github.com/bund-exchange/bund/server/trading"
)

var ctx = context.Background()

// office is a market with a clerk.
type office struct {
	*projectiontest.Market
	*testing.T
	clerk    *clearing.Clerk
	openings trading.Openings
	listing  *contractstest.Listing
}

// inline projects when somebody waits: a test has no projector in the background.
type inline struct{ *projectiontest.Market }

func (p inline) WaitFor(context.Context, uint64) error {
	p.Project()
	return nil
}

func open(t *testing.T) *office {
	t.Helper()
	m := projectiontest.Begin(t, func(db *sqlx.DB) ledger.Openings { return trading.Openings{DB: db} }, catalog.Schema(), trading.Schema())
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	o := &office{Market: m, T: t, openings: trading.Openings{DB: m.DB}, listing: m.Listed()}
	desk := &trading.Desk{DB: m.DB, Ledger: m.Ledger, Now: time.Now, Log: quiet}
	o.clerk = &clearing.Clerk{DB: m.DB, Desk: desk, Openings: o.openings, Projection: inline{m}, Ledger: projectiontest.LedgerID,
		Key: m.Venue.Machine, Now: time.Now, Log: quiet}
	return o
}

func (o *office) agree(change func(*contracts.Terms)) *contractstest.Deal {
	o.Helper()
	terms := contractstest.Terms()
	change(&terms)
	d, err := o.Agree(o.listing, contracts.Trade, contractstest.Policy(policy.PreLoan), terms)
	o.Must(err)
	return d
}

// works lets the clerk look twice and checks which commands it sent: what it did once is not due again.
func (o *office) works(want ...string) {
	o.Helper()
	from := o.Height()
	for range 2 {
		o.Project()
		o.Must(o.clerk.RunOnce(ctx))
	}
	o.Project()
	es, err := o.Ledger.Entries(ctx, from, 100)
	o.Must(err)
	var got []string
	for _, e := range es {
		for _, v := range e.Events {
			got = append(got, v.Name)
		}
	}
	if !slices.Equal(got, want) {
		o.Errorf("the clerk did %v instead of %v", got, want)
	}
}

// used reports that so many calls were made in all.
func (o *office) used(d *contractstest.Deal, period int64, final bool, calls int64) {
	o.Helper()
	size := calls
	if final {
		size++ // the CLOSE leaf
	}
	o.Must(o.Report(d, period, final, size, contracts.Totals{Calls: calls, Units: calls, Micro: contracts.MicroYuan(calls) * d.Terms.UnitPrice}))
}

// escrow finds the opening of what the escrow holds now, as the market keeps it, and gives the balance.
func (o *office) escrow(d *contractstest.Deal) (balance contracts.Fen) {
	o.Helper()
	b, err := o.Get(contracts.KeyEscrow(d.Agreement))
	o.Must(err)
	d.Escrow = nil
	if b != nil {
		e, err := contracts.Read[contracts.Escrow](b)
		o.Must(err)
		k, err := o.openings.Find(ctx, e.Balance)
		o.Must(err)
		var v contracts.EscrowValue
		o.Must(canon.Unmarshal(k.Opening.Value, &v))
		d.Escrow, balance = &k.Opening, v.Balance
	}
	return balance
}

// deposit records a deposit on top of what the escrow holds now.
func (o *office) deposit(d *contractstest.Deal, amount contracts.Fen) {
	o.Helper()
	o.escrow(d)
	o.Must(o.Deposit(d, amount))
}

func (o *office) until(s string) {
	o.Helper()
	t, err := time.ParseInLocation("2006-01-02 15:04", s, contracts.Shanghai)
	o.Must(err)
	o.Must(o.Advance((t.UnixMilli() - int64(o.Now)) / 1000))
}

func (o *office) grant(d *contractstest.Deal) *contracts.Grant {
	o.Helper()
	b, err := o.Get(contracts.KeyGrant(d.Agreement))
	o.Must(err)
	g, err := contracts.Read[contracts.Grant](b)
	o.Must(err)
	return g
}

func TestPrepaidGrant(t *testing.T) {
	o := open(t)
	d := o.agree(func(*contracts.Terms) {})
	o.works()
	o.deposit(d, 400_000)
	o.works() // the terms ask for 1,000,000 fen
	o.deposit(d, 600_000)
	o.works("grant.active")
	o.used(d, 1, false, 6_000) // 48 %
	o.works()
	o.used(d, 1, false, 6_300)
	o.works("grant.warned")
	o.used(d, 1, false, 10_400) // 83.2 %
	o.works("grant.warned")
	if g := o.grant(d); g.Warned != 80 {
		t.Errorf("warned of %d %%", g.Warned)
	}
	o.used(d, 1, false, 12_000) // 96 %
	o.works("grant.warned")
	o.used(d, 1, false, 12_600) // above the escrow, within the grace of 10,000 fen
	o.works()
	o.used(d, 1, false, 12_700)
	o.works("grant.payment_hold")
	o.deposit(d, 500_000)
	o.works() // still above the first warning
	o.deposit(d, 1_000_000)
	o.works("grant.active")
	if g := o.grant(d); g.State != contracts.GrantActive || g.Warned != 0 {
		t.Errorf("the grant is %s, warned of %d", g.State, g.Warned)
	}
}

// The grace in days runs out by time alone.
func TestGraceDays(t *testing.T) {
	o := open(t)
	d := o.agree(func(*contracts.Terms) {})
	o.deposit(d, 1_000_000)
	o.works("grant.active")
	o.used(d, 1, false, 12_000)
	o.works("grant.warned")
	o.Must(o.Advance(2 * 86400))
	o.works()
	o.Must(o.Advance(1 * 86400))
	o.works("grant.payment_hold")
}

func TestMonthEndToSettlement(t *testing.T) {
	o := open(t)
	d := o.agree(func(*contracts.Terms) {})
	o.deposit(d, 1_000_000)
	o.works("grant.active")
	o.used(d, 1, false, 200)
	o.until("2026-03-31 23:59")
	o.works()
	o.until("2026-04-01 00:00")
	o.works("period.closed")
	o.used(d, 1, true, 400)
	o.works() // neither accepted nor waited for
	o.until("2026-04-05 09:00")
	o.works()
	o.Must(o.Do(o.Buyer.ID, "acceptance.record", contracts.AcceptanceRecord{Agreement: d.Agreement, Period: 1, Report: contracts.HashOf("test/acceptance")}, nil, o.Buyer.Two()...))
	o.works("settlement.settled")
	// 400 calls at 0.80 yuan and the flat fee of 3,000 yuan are 3,320 yuan; the buyer's fee is 1 %.
	if got := o.escrow(d); got != 1_000_000-332_000-3_320 {
		t.Errorf("the escrow holds %d fen", got)
	}
	for _, x := range []struct {
		r             projection.Reader
		member        contracts.ID
		lines         int
		bought, sold  contracts.Fen
		month         contracts.Period
		wantsNotFound bool
	}{
		{r: projection.Reader{Member: o.Buyer.ID}, member: o.Buyer.ID, lines: 1, bought: 332_000 + 3_320, month: "2026-03"},
		{r: projection.Reader{Member: o.Provider.ID}, member: o.Provider.ID, lines: 1, sold: 332_000 - 6_640, month: "2026-03"},
		{r: projection.Reader{Member: o.Regulator.ID, Supervises: true}, member: o.Buyer.ID, lines: 1, bought: 332_000 + 3_320, month: "2026-03"},
		{r: projection.Reader{Member: o.Buyer.ID}, member: o.Buyer.ID, month: "2026-04"},
		{r: projection.Reader{Member: o.Custodian.ID}, member: o.Custodian.ID, month: "2026-03"},
		{r: projection.Reader{Member: o.Provider.ID}, member: o.Buyer.ID, month: "2026-03", wantsNotFound: true},
		{r: projection.Reader{}, member: o.Buyer.ID, month: "2026-03", wantsNotFound: true},
	} {
		s, err := o.clerk.Statement(ctx, x.r, x.member, x.month)
		if x.wantsNotFound {
			if !errors.Is(err, projection.ErrNotFound) {
				t.Errorf("%+v reads %+v: %v", x.r, s, err)
			}
			continue
		}
		o.Must(err)
		if len(s.Lines) != x.lines || s.Bought != x.bought || s.Sold != x.sold || s.Uncounted != 0 {
			t.Errorf("the statement of %s for %s is %+v", x.member, x.month, s)
		}
	}
	// The clerk was away at the next month's end. What was accepted of March says nothing about April.
	o.until("2026-05-02 09:00")
	o.works("period.closed")
	o.used(d, 2, true, 500)
	o.works()
	o.until("2026-05-09 09:00") // silence for seven days
	o.works("settlement.settled")
	s, err := o.clerk.Statement(ctx, projection.Reader{Member: o.Buyer.ID}, o.Buyer.ID, "2026-04")
	o.Must(err)
	if len(s.Lines) != 1 || s.Lines[0].Month != "2026-04" {
		t.Errorf("the statement of April is %+v", s)
	}
}

// Nothing was used and there is no flat fee: the settlement is of zero and leaves the escrow as it is.
func TestSettlementOfNothing(t *testing.T) {
	o := open(t)
	d := o.agree(func(terms *contracts.Terms) { terms.FlatFee = 0 })
	o.deposit(d, 1_000_000)
	o.works("grant.active")
	o.used(d, 1, false, 0)
	o.until("2026-04-01 00:01")
	o.works("period.closed")
	o.used(d, 1, true, 0)
	o.Must(o.Advance(7*86400 - 1))
	o.works()
	o.Must(o.Advance(1)) // silence for seven days is acceptance
	o.works("settlement.settled")
}

func TestPostpaidDisputedAndEnded(t *testing.T) {
	o := open(t)
	d := o.agree(func(terms *contracts.Terms) {
		terms.Billing, terms.Escrow, terms.CreditLine = contracts.Postpaid, 0, 1_000_000
	})
	o.works()
	o.used(d, 1, false, 6_300)
	o.works("grant.warned")
	o.Must(o.Do(o.Provider.ID, "dispute.open", contracts.DisputeOpen{Agreement: d.Agreement, Evidence: contracts.HashOf("test/evidence")}, nil, o.Provider.Maker))
	o.Must(o.Do(o.Provider.ID, "agreement.terminate", contracts.AgreementTerminate{Agreement: d.Agreement, Effective: o.Now, Reason: "test"}, nil,
		append(o.Provider.Two(), o.Buyer.Two()...)...))
	o.works("period.closed")
	o.used(d, 1, true, 6_400)
	o.Must(o.Advance(8 * 86400))
	o.works() // the dispute is open
	o.Must(o.Do(o.Venue.ID, "dispute.decide", contracts.DisputeDecide{Agreement: d.Agreement, Decision: contracts.HashOf("test/decision")}, nil, o.Venue.Two()...))
	o.works("settlement.settled")
	o.until("2026-05-01 00:05")
	o.works() // it has ended, and its last period is closed
}

func TestExpiry(t *testing.T) {
	o := open(t)
	d := o.agree(func(*contracts.Terms) {})
	unused := o.agree(func(*contracts.Terms) {})
	o.deposit(d, 1_000_000)
	o.works("grant.active")
	o.used(d, 1, false, 100)
	o.Must(o.Advance(180 * 86400))
	// Terms have ended and months were missed; what was used is closed for the last time.
	o.works("agreement.expired", "grant.revoked", "agreement.expired", "grant.revoked", "period.closed")
	if g := o.grant(unused); g.State != contracts.GrantRevoked {
		t.Errorf("the grant is %s", g.State)
	}
	if g := o.grant(d); g.State != contracts.GrantRevoked {
		t.Errorf("the grant is %s", g.State)
	}
}

// refusing is a desk whose ledger says no, and counts.
type refusing struct{ asked map[string]int }

func (r *refusing) Submit(_ context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	cmd, err := contracts.Decode(sub)
	if err != nil {
		return nil, err
	}
	r.asked[cmd.Kind]++
	return nil, &ledger.Refused{Refusal: &contracts.Refusal{Code: "freeze.frozen"}}
}

// A refusal is an answer: it isn't asked for again with every look, but after a change and after a while.
func TestRefusalIsAnAnswer(t *testing.T) {
	o := open(t)
	d := o.agree(func(*contracts.Terms) {})
	o.deposit(d, 1_000_000)
	desk := &refusing{map[string]int{}}
	o.clerk.Desk = desk
	look := func(want int) {
		t.Helper()
		o.Project()
		o.Must(o.clerk.RunOnce(ctx))
		if got := desk.asked["grant.activate"]; got != want {
			t.Errorf("asked %d times instead of %d", got, want)
		}
	}
	look(1)
	look(1)
	o.deposit(d, 1)
	look(2)
	look(2)
	o.Must(o.Advance(601))
	look(3)
}

// failing is a desk whose answer got lost.
type failing struct{}

func (failing) Submit(context.Context, contracts.Submission) (*ledger.Receipt, error) {
	return nil, fmt.Errorf("%w: test", ledger.ErrOutcomeUnknown)
}

func TestFailureIsToldAndTriedAgain(t *testing.T) {
	o := open(t)
	d := o.agree(func(*contracts.Terms) {})
	o.deposit(d, 1_000_000)
	desk := o.clerk.Desk
	o.clerk.Desk = failing{}
	o.Project()
	if err := o.clerk.RunOnce(ctx); !errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Errorf("an unknown outcome: %v", err)
	}
	o.clerk.Desk = desk
	o.works("grant.active")
}

// An erased value stops only the agreement that rests on it.
func TestErasedOpening(t *testing.T) {
	o := open(t)
	gone, other := o.agree(func(*contracts.Terms) {}), o.agree(func(*contracts.Terms) {})
	o.deposit(gone, 1_000_000)
	o.deposit(other, 1_000_000)
	o.Must(o.openings.Destroy(ctx, []contracts.Hash{gone.Offer.Terms}))
	o.works("grant.active")
	if g := o.grant(other); g.State != contracts.GrantActive {
		t.Errorf("the other grant is %s", g.State)
	}
}

func TestRunActsAsTheLedgerGrows(t *testing.T) {
	o := open(t)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o.Project()
	o.clerk.Projection = o.Projector
	o.clerk.Every = time.Hour
	ended := make(chan error, 2)
	go func() { ended <- o.Projector.Run(ctx) }()
	go func() { ended <- o.clerk.Run(ctx) }()
	d := o.agree(func(*contracts.Terms) {})
	o.deposit(d, 1_000_000)
	for from := o.Height(); o.grant(d).State != contracts.GrantActive; from++ {
		o.Must(o.Ledger.Wait(ctx, from))
	}
	stop()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
}

// Two clerks on two replicas: whoever has the lock works, and neither does again what the other did.
func TestTwoClerks(t *testing.T) {
	o := open(t)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o.Project()
	ended := make(chan error, 3)
	go func() { ended <- o.Projector.Run(ctx) }()
	desk := &watched{desk: o.clerk.Desk}
	for range 2 {
		c := &clearing.Clerk{DB: o.DB, Desk: desk, Openings: o.openings, Projection: o.Projector, Ledger: projectiontest.LedgerID,
			Key: o.Venue.Machine, Now: time.Now, Log: o.clerk.Log, Every: 5 * time.Millisecond}
		go func() { ended <- c.Run(ctx) }()
	}
	done := func(ok func() bool) {
		for from := o.Height(); !ok(); from = o.Height() {
			o.Must(o.Ledger.Wait(ctx, from))
		}
	}
	d := o.agree(func(*contracts.Terms) {})
	o.deposit(d, 1_000_000)
	done(func() bool { return o.grant(d).State == contracts.GrantActive })
	for i, calls := range []int64{6_300, 10_400, 12_000} {
		o.used(d, 1, false, calls)
		done(func() bool { return o.grant(d).Warned == contractstest.Rules().WarnPercents[i] })
	}
	o.used(d, 1, false, 12_700)
	done(func() bool { return o.grant(d).State == contracts.GrantOnHold })
	o.deposit(d, 2_000_000)
	done(func() bool { return o.grant(d).State == contracts.GrantActive })
	stop()
	for range 3 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
	want := map[string]int{"grant.activate": 1, "grant.warn": 3, "grant.hold": 1, "grant.release": 1}
	if !maps.Equal(desk.asked, want) || desk.refused > 0 {
		t.Errorf("the clerks asked for %v, of which %d were refused", desk.asked, desk.refused)
	}
}

// The working clerk's session ends under it: the other takes over, and for a moment there may be two. The ledger takes each
// thing once.
func TestClerkIsTakenOver(t *testing.T) {
	o := open(t)
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	o.Project()
	ended := make(chan error, 3)
	go func() { ended <- o.Projector.Run(ctx) }()
	desks := [2]*watched{}
	for i := range desks {
		desks[i] = &watched{desk: o.clerk.Desk}
		c := &clearing.Clerk{DB: o.DB, Desk: desks[i], Openings: o.openings, Projection: o.Projector, Ledger: projectiontest.LedgerID,
			Key: o.Venue.Machine, Now: time.Now, Log: o.clerk.Log, Every: 5 * time.Millisecond}
		go func() { ended <- c.Run(ctx) }()
	}
	until := func(ok func() bool) {
		t.Helper()
		for !ok() {
			if ctx.Err() != nil {
				t.Fatal("it doesn't come to that")
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	d := o.agree(func(*contracts.Terms) {})
	o.deposit(d, 1_000_000)
	until(func() bool { return o.grant(d).State == contracts.GrantActive })
	first, second := desks[0], desks[1]
	if second.accepted()["grant.activate"] == 1 {
		first, second = second, first
	}
	// waiting is the session of the clerk that waits for its turn.
	waiting := func() (pid int) {
		var pids []int
		o.Must(o.DB.Select(&pids, `SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
			WHERE locktype = 'advisory' AND NOT granted AND datname = current_database() AND application_name LIKE '%job clearing'`))
		if len(pids) == 1 {
			return pids[0]
		}
		return 0
	}
	until(func() bool { return waiting() != 0 })
	seconds := waiting()
	const terminate = `SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE locktype = 'advisory' AND granted AND datname = current_database() AND application_name LIKE '%job clearing'`
	var ends int
	if err := o.DB.Get(&ends, terminate); err != nil || ends != 1 {
		t.Fatalf("%d sessions ended: %v", ends, err)
	}
	o.used(d, 1, false, 6_300) // whoever does it: the first learns of its loss within seconds
	until(func() bool { return o.grant(d).Warned == contractstest.Rules().WarnPercents[0] })
	until(func() bool { pid := waiting(); return pid != 0 && pid != seconds }) // it waits again, behind the second
	for i, calls := range []int64{10_400, 12_000} {
		o.used(d, 1, false, calls)
		until(func() bool { return o.grant(d).Warned == contractstest.Rules().WarnPercents[i+1] })
	}
	o.used(d, 1, false, 12_700)
	until(func() bool { return o.grant(d).State == contracts.GrantOnHold })
	o.deposit(d, 2_000_000)
	until(func() bool { return o.grant(d).State == contracts.GrantActive })
	stop()
	for range 3 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
	total := first.accepted()
	for kind, n := range second.accepted() {
		total[kind] += n
	}
	if want := map[string]int{"grant.activate": 1, "grant.warn": 3, "grant.hold": 1, "grant.release": 1}; !maps.Equal(total, want) {
		t.Errorf("the ledger has taken %v, want %v", total, want)
	}
	if by := second.accepted(); by["grant.warn"] < 2 || by["grant.hold"] != 1 || by["grant.release"] != 1 {
		t.Errorf("the second has done %v", by)
	}
}

// watched counts what clerks ask for and what of it is refused.
type watched struct {
	desk    clearing.Desk
	mu      sync.Mutex
	asked   map[string]int
	refused int
	taken   map[string]int
}

func (w *watched) accepted() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.taken)
}

func (w *watched) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	cmd, err := contracts.Decode(sub)
	if err != nil {
		return nil, err
	}
	r, err := w.desk.Submit(ctx, sub)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == nil {
		w.asked, w.taken = map[string]int{}, map[string]int{}
	}
	w.asked[cmd.Kind]++
	if err != nil {
		w.refused++
	} else if !r.Repeated {
		w.taken[cmd.Kind]++
	}
	return r, err
}

// An agreement without an escrow needs no deposit, and one that is free of charge never runs out of money.
func TestFreeOfCharge(t *testing.T) {
	o := open(t)
	d := o.agree(func(terms *contracts.Terms) {
		terms.UnitPrice, terms.FlatFee, terms.Escrow, terms.GraceAmount = 0, 0, 0, 0
	})
	o.works("grant.active")
	o.used(d, 1, false, 100)
	o.works()
}
