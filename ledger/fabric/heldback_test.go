package fabric_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric"
)

// endorse gets a command endorsed as a gateway of the venue may, and holds it.
func (s *scene) endorse(t *testing.T, l *fabric.Ledger, sub contracts.Submission, msps ...string) *fabric.Held {
	t.Helper()
	name := s.net.Profile().Market
	if cmd, err := contracts.Decode(sub); err == nil && isClearing(cmd.Kind) {
		name = s.net.Profile().Clearing
	}
	h, _ := s.hold(t, l, name, sub, msps...)
	return h
}

func isClearing(kind string) bool {
	return slices.ContainsFunc(contracts.Kinds(), func(k contracts.KindDoc) bool { return k.Name == kind && k.Clearing })
}

// hold endorses and gives the epoch that the transaction names. Endorsers that lag are asked again.
func (s *scene) hold(t *testing.T, l *fabric.Ledger, name string, sub contracts.Submission, msps ...string) (*fabric.Held, uint64) {
	t.Helper()
	ctx := soon(t)
	for {
		epoch, err := l.Epoch()
		must(t, err)
		h, err := l.Endorse(ctx, name, proposal.Call{Function: proposal.Submit, Epoch: epoch, Commands: []contracts.Submission{sub}}, msps...)
		if err == nil {
			return h, epoch
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// unsent gives the submission that a step of the market makes, without making it.
func (s *scene) unsent(t *testing.T, step func() error) contracts.Submission {
	t.Helper()
	g := &grab{}
	was := s.market.Exec
	s.market.Exec = g
	defer func() { s.market.Exec = was }()
	must(t, step())
	return g.sub
}

type grab struct{ sub contracts.Submission }

func (g *grab) Submit(_ context.Context, sub contracts.Submission) error {
	g.sub = sub
	return nil
}

// quick is a ledger of the venue that begins an epoch every two seconds.
func (s *scene) quick(t *testing.T, folder string) *fabric.Ledger {
	t.Helper()
	cfg := s.config("venue", folder)
	cfg.EpochEvery = 2 * time.Second
	return open(t, cfg)
}

// begun waits until an epoch has begun.
func begun(t *testing.T, l *fabric.Ledger, epoch uint64) {
	t.Helper()
	ctx := soon(t)
	for {
		n, err := l.Newest()
		must(t, err)
		if n >= epoch {
			return
		}
		lie(ctx, 20*time.Millisecond)
		must(t, ctx.Err())
	}
}

// testHeldBack: a gateway that sends an endorsed transaction late changes something within its epochs only.
func testHeldBack(t *testing.T, s *scene) {
	l := s.quick(t, "quick")
	defer l.Close()
	subs := s.market.Consents(20, 400)
	market := s.net.Profile().Market

	// One epoch later it may still commit. On a slow machine the second one may begin before the block.
	within := false
	for try := range 5 {
		h, epoch := s.hold(t, l, market, subs[try], "VenueMSP", "ProviderMSP")
		begun(t, l, epoch+1)
		verdict, err := h.Order(soon(t))
		must(t, err)
		newest, err := l.Newest()
		must(t, err)
		if verdict == "VALID" {
			within = true
			s.ledger.sent[idOf(subs[try])] = subs[try]
			break
		}
		if newest < epoch+2 {
			t.Fatalf("held back over one epoch, named %d of %d: %s", epoch, newest, verdict)
		}
	}
	if !within {
		t.Fatal("nothing that was held back over one epoch was committed")
	}

	// Two epochs later it is nothing, and the same bytes can still be submitted.
	sub := subs[10]
	h, epoch := s.hold(t, l, market, sub, "VenueMSP", "ProviderMSP")
	begun(t, l, epoch+2)
	before := height(t, l)
	verdict, err := h.Order(soon(t))
	must(t, err)
	if verdict != "MVCC_READ_CONFLICT" || height(t, l) != before {
		t.Fatalf("held back over two epochs: %s, height %d, then %d", verdict, before, height(t, l))
	}
	if a, err := l.Lookup(soon(t), idOf(sub)); err != nil || a.Status != ledger.NotFound {
		t.Fatalf("%+v, %v", a, err)
	}
	if r, err := s.ledger.Submit(soon(t), sub); err != nil || r.Repeated {
		t.Fatalf("%+v, %v", r, err)
	}

	// A command that was accepted meanwhile is not accepted again.
	h, _ = s.hold(t, l, market, subs[11], "VenueMSP", "ProviderMSP")
	r, err := s.ledger.Submit(soon(t), subs[11])
	must(t, err)
	before = r.Position + 1
	if verdict, err = h.Order(soon(t)); err != nil || verdict != "MVCC_READ_CONFLICT" || height(t, l) != before {
		t.Fatalf("accepted meanwhile: %s, %v, height %d, then %d", verdict, err, before, height(t, l))
	}
}

// testNever: on wall time Lookup says never only when a transaction that somebody holds back is dead, too.
func testNever(t *testing.T, s *scene) {
	m := s.market
	must(t, m.Do(m.Venue.ID, "clock.release", contracts.ClockRelease{Reason: "the clock of this test"}, nil, m.Venue.Machine))
	l := s.quick(t, "quick")
	defer l.Close()
	const lastsSec = 8 // the commands were signed 592 s ago
	m.Now = contracts.Millis(time.Now().UnixMilli()).Add(lastsSec - 600)
	subs := m.Consents(3, 500)
	deadline, err := ledger.Deadline(idOf(subs[0]))
	must(t, err)
	// The last endorsements that can be had, held by somebody who says nothing of them.
	var h, late *fabric.Held
	var epoch uint64
	for try := 0; ; try++ {
		x, err := l.Endorse(soon(t), s.net.Profile().Market, call(t, l, subs[0]), "VenueMSP", "BuyerMSP")
		if err == nil {
			if reply, err := x.Reply(1); err != nil || reply.Answers[0].Accepted == nil {
				if try == 0 {
					t.Fatalf("%+v, %v", reply, err)
				}
				break
			}
			h = x
		}
		late, epoch = s.hold(t, l, s.net.Profile().Market, subs[2], "VenueMSP", "ProviderMSP")
	}
	if contracts.Millis(time.Now().UnixMilli()) < deadline {
		t.Fatal("refused before its time was over")
	}
	// Not found is not never: what was endorsed in time may still come.
	a, err := l.Lookup(soon(t), idOf(subs[2]))
	must(t, err)
	if a.Status != ledger.NotFound {
		t.Fatalf("just past the deadline: %s", a.Status)
	}
	verdict, err := late.Order(soon(t))
	must(t, err)
	newest, err := l.Newest()
	must(t, err)
	if verdict != "VALID" && newest < epoch+2 {
		t.Fatalf("endorsed in time and held for a moment: %s", verdict)
	}
	if verdict == "VALID" {
		s.ledger.sent[idOf(subs[2])] = subs[2]
	}
	if _, err := l.Submit(soon(t), subs[1]); refusedWith(err) != "command.expired" {
		t.Fatalf("submitted past its deadline: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for {
		a, err := l.Lookup(ctx, idOf(subs[0]))
		must(t, err)
		if a.Status == ledger.Never {
			break
		}
		if a.Status != ledger.NotFound {
			t.Fatalf("%+v", a)
		}
		newest, err := l.Newest()
		must(t, err)
		begun(t, l, newest+1)
	}
	before := height(t, l)
	verdict, err = h.Order(soon(t))
	must(t, err)
	if verdict == "VALID" || height(t, l) != before {
		t.Fatalf("Lookup said never, and then the command came: %s", verdict)
	}
	a, err = l.Lookup(soon(t), idOf(subs[0]))
	must(t, err)
	if a.Status != ledger.Never {
		t.Fatalf("after never: %s", a.Status)
	}
}

func call(t *testing.T, l *fabric.Ledger, sub contracts.Submission) proposal.Call {
	epoch, err := l.Epoch()
	must(t, err)
	return proposal.Call{Function: proposal.Submit, Epoch: epoch, Commands: []contracts.Submission{sub}}
}
