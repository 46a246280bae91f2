package trading_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
	"github.com/bund-exchange/bund/server/trading"
)

var ctx = context.Background()

func begin(t *testing.T) (*projectiontest.Market, *trading.Desk) {
	t.Helper()
	m := projectiontest.Begin(t, func(db *sqlx.DB) ledger.Openings { return trading.Openings{DB: db} }, catalog.Schema(), trading.Schema())
	return m, &trading.Desk{DB: m.DB, Ledger: m.Ledger, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func intents(m *projectiontest.Market) (n int) {
	m.Must(m.DB.Get(&n, `SELECT count(*) FROM app.intents`))
	return n
}

// lossy is a ledger whose answers get lost, before or after the command took effect. It checks that the intent was
// durable before the ledger saw the command.
type lossy struct {
	trading.Ledger
	m        *projectiontest.Market
	happened bool
	failure  error
}

func (l lossy) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	if intents(l.m) != 1 {
		return nil, errors.New("the ledger was asked before the intent was durable")
	}
	if l.happened {
		if _, err := l.Ledger.Submit(ctx, sub); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: test", l.failure)
}

// request is a command with an opening: what is lost with an intent is more than its bytes.
func request(m *projectiontest.Market, l *contractstest.Listing) (contracts.Submission, contracts.ID) {
	offer, o := m.Offer(contractstest.Policy(policy.PreLoan), contractstest.Terms())
	sub := m.Sign(m.Buyer.ID, "negotiation.request", contracts.NegotiationRequest{Version: l.Version, Scenario: "sme-tax-loan-pre", Kind: contracts.Trade, Offer: offer},
		[]contracts.Opening{o}, m.Buyer.Two()...)
	return sub, m.LastCommand()
}

func TestDeskLosesNoCommand(t *testing.T) {
	for name, x := range map[string]struct {
		happened bool
		failure  error
		kept     int // intents after the answer
	}{
		"the answer was lost before it happened": {false, ledger.ErrOutcomeUnknown, 1},
		"the answer was lost after it happened":  {true, ledger.ErrOutcomeUnknown, 1},
		"it failed and nothing happened":         {false, ledger.ErrStopped, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, desk := begin(t)
			sub, id := request(m, m.Listed())
			desk.Ledger = lossy{m.Ledger, m, x.happened, x.failure}
			if _, err := desk.Submit(ctx, sub); !errors.Is(err, x.failure) {
				t.Fatalf("the answer is %v", err)
			}
			if n := intents(m); n != x.kept {
				t.Errorf("%d intents are kept instead of %d", n, x.kept)
			}
			desk.Ledger = m.Ledger // the market starts again
			m.Must(desk.Resume(ctx, 0))
			if n := intents(m); n != 0 {
				t.Errorf("%d intents are left", n)
			}
			a, err := desk.Lookup(ctx, id)
			m.Must(err)
			if want := x.kept == 1; (a.Status == ledger.Accepted) != want {
				t.Errorf("the command is %s", a.Status)
			}
			height := m.Height()
			m.Must(desk.Resume(ctx, 0))
			if m.Height() != height {
				t.Error("resuming again did it again")
			}
		})
	}
}

func TestDeskAnswers(t *testing.T) {
	m, desk := begin(t)
	sub, id := request(m, m.Listed())
	first, err := desk.Submit(ctx, sub)
	m.Must(err)
	again, err := desk.Submit(ctx, sub)
	m.Must(err)
	if !again.Repeated || again.Position != first.Position {
		t.Errorf("the same bytes again: %+v after %+v", again, first)
	}
	refused := m.Sign(m.Buyer.ID, "negotiation.accept", contracts.NegotiationStep{Negotiation: contracts.ObjectID(id, "negotiation")}, nil, m.Buyer.Maker)
	var r *contracts.Refusal
	if _, err := desk.Submit(ctx, refused); !errors.As(err, &r) || r.Code != "negotiation.state" {
		t.Errorf("a refusal: %v", err)
	}
	for name, bad := range map[string]contracts.Submission{"no command": {Raw: []byte("{}")}, "too long": {Raw: make([]byte, contracts.MaxCommandBytes+1)}} {
		if _, err := desk.Submit(ctx, bad); !errors.As(err, &r) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := intents(m); n != 0 {
		t.Errorf("%d intents are left", n)
	}
}

// A caller who goes away doesn't take a command along that was kept.
func TestDeskFinishesForACallerWhoLeft(t *testing.T) {
	m, desk := begin(t)
	sub, id := request(m, m.Listed())
	left, leave := context.WithCancel(ctx)
	desk.Ledger = leaving{m.Ledger, leave}
	if _, err := desk.Submit(left, sub); err != nil {
		t.Errorf("the caller left: %v", err)
	}
	a, err := m.Ledger.Lookup(ctx, id)
	m.Must(err)
	if a.Status != ledger.Accepted || intents(m) != 0 {
		t.Errorf("the command is %s, %d intents", a.Status, intents(m))
	}
}

type leaving struct {
	trading.Ledger
	leave func()
}

func (l leaving) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	l.leave()
	return l.Ledger.Submit(ctx, sub)
}

// An intent whose time is over is forgotten and never accepted.
func TestResumeComesTooLate(t *testing.T) {
	m, desk := begin(t)
	sub, id := request(m, m.Listed())
	desk.Ledger = lossy{m.Ledger, m, false, ledger.ErrOutcomeUnknown}
	if _, err := desk.Submit(ctx, sub); !errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	m.Must(m.Advance(601))
	height := m.Height()
	desk.Ledger = m.Ledger
	m.Must(desk.Resume(ctx, 0))
	a, err := desk.Lookup(ctx, id)
	m.Must(err)
	if intents(m) != 0 || m.Height() != height || a.Status != ledger.Never {
		t.Errorf("the command is %s, %d intents, %d entries after %d", a.Status, intents(m), m.Height(), height)
	}
}

// Other bytes under the id of an open command are refused, and the open one is still taken to its end.
func TestOtherBytesDontForgetTheOpenOne(t *testing.T) {
	m, desk := begin(t)
	sub, id := request(m, m.Listed())
	desk.Ledger = lossy{m.Ledger, m, true, ledger.ErrOutcomeUnknown}
	if _, err := desk.Submit(ctx, sub); !errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	desk.Ledger = m.Ledger
	b := id.Bytes()
	u := contracts.Unsigned{Ledger: projectiontest.LedgerID, Member: m.Buyer.ID, Kind: "negotiation.accept",
		Body: contracts.NegotiationStep{Negotiation: contracts.ObjectID(id, "negotiation")}, NotBefore: m.Now, Random: [10]byte(b[6:]), Lead: m.Buyer.Maker.Public}
	raw, same := u.Bytes()
	if same != id {
		t.Fatal("the test's own command has another id")
	}
	other := contracts.Submission{Raw: raw, Signatures: []contracts.Signature{{Key: m.Buyer.Maker.Public, Sig: m.Buyer.Maker.Sign(raw)}}}
	var r *contracts.Refusal
	if _, err := desk.Submit(ctx, other); !errors.As(err, &r) || r.Code != "command.id_reused" {
		t.Errorf("other bytes: %v", err)
	}
	if n := intents(m); n != 1 {
		t.Errorf("%d intents are kept", n)
	}
}
