package main

import (
	"strings"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
)

func TestEpochs(t *testing.T) {
	s := newScene(t, "market")
	for _, x := range []struct{ definition, msp, n, says string }{
		{market, "BuyerMSP", "2", "only VenueMSP"},
		{market, "", "2", "only VenueMSP"},
		{clearing, "VenueMSP", "2", "market definition"},
		{market, "VenueMSP", "1", "epoch 1 has begun"},
		{market, "VenueMSP", "3", "epoch 2 has not begun"},
		{market, "VenueMSP", "0", "malformed"},
		{market, "VenueMSP", "02", "malformed"},
	} {
		if m := s.ch.failure(x.definition, x.msp, "epoch", x.n); !strings.Contains(m, x.says) {
			t.Errorf("%+v: it says %q", x, m)
		}
	}
	s.ch.failure(market, "VenueMSP", "epoch")
	s.ch.failure(market, "VenueMSP", "epoch", "2", "3")

	tx := s.ch.mustEndorse(market, "VenueMSP", epochArgs(2), nil)
	again := s.ch.mustEndorse(market, "VenueMSP", epochArgs(2), nil)
	s.ch.mustCommit(tx)
	if s.ch.commit(again) {
		t.Error("an epoch began twice")
	}
	stored, err := s.x.Get(proposal.KeyEpoch(2))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := contracts.Read[proposal.EpochRecord](stored)
	if err != nil || int64(rec.Time) != s.ch.wall.UnixMilli() {
		t.Errorf("epoch 2: %v %v", rec, err)
	}
}

// A transaction that somebody holds back is valid within the next epoch and dead in the one after, at both definitions.
func TestHeldBack(t *testing.T) {
	s := newScene(t, "market", "authorised A1", "listed P1", "agreed D1 on=P1")
	subs := s.hold("bank consent.register C1 on=P1", "bank consent.register C2 on=P1", "custodian movement.deposit D1 amount=1")
	next, _ := s.ch.call(market, proposal.Submit, 1, subs[0])
	dead, _ := s.ch.call(market, proposal.Submit, 1, subs[1])
	deposit, _ := s.ch.call(clearing, proposal.Submit, 1, subs[2])
	for definition, sub := range map[string]contracts.Submission{market: subs[0], clearing: subs[2]} {
		_, r := s.ch.call(definition, proposal.Submit, 2, sub)
		s.want(r, "epoch.unknown")
	}
	s.ch.begin(2)
	s.ch.mustCommit(next)
	s.ch.begin(3)
	if s.ch.commit(dead) || s.ch.commit(deposit) {
		t.Fatal("a transaction became valid two epochs later")
	}
	for definition, sub := range map[string]contracts.Submission{market: subs[1], clearing: subs[2]} {
		tx, r := s.ch.call(definition, proposal.Submit, 1, sub, sub)
		s.want(r, "epoch.stale epoch.stale")
		if len(tx.writes) > 0 {
			t.Errorf("it writes %v", tx.writes)
		}
		for _, epoch := range []uint64{2, 3} {
			_, r = s.ch.call(definition, proposal.Submit, epoch, sub)
			s.want(r, "ok")
		}
	}
}

// On wall time the proposer's clock is bounded by the endorsers'.
func TestClocksApart(t *testing.T) {
	ch := newChannel(t, "bund.test/wall")
	x := newExecutor(ch)
	x.SetWall(contracts.Millis(time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC).UnixMilli()))
	s := newSceneOn(t, x, "wall 2026-03-02T10:00")
	for _, skew := range []time.Duration{-40 * time.Second, 31 * time.Second, time.Hour, -24 * time.Hour} {
		ch.skew = skew
		for _, line := range []string{"venue genesis clock=wall sample=false"} {
			subs := s.hold(line)
			tx, r := ch.call(market, proposal.Submit, 1, subs...)
			s.want(r, "clock.peer")
			if len(tx.writes) > 0 {
				t.Errorf("it writes %v", tx.writes)
			}
			s = newSceneOn(t, x, "wall 2026-03-02T10:00")
		}
	}
	for _, skew := range []time.Duration{-30 * time.Second, 23 * time.Second} {
		ch.skew = skew
		_, r := ch.call(market, proposal.Submit, 1, s.hold("venue genesis clock=wall sample=false")...)
		s.want(r, "ok")
		s = newSceneOn(t, x, "wall 2026-03-02T10:00")
	}
	ch.skew = time.Minute
	if m := ch.failure(market, "VenueMSP", "epoch", "2"); !strings.Contains(m, "clocks") {
		t.Error(m)
	}
}

// On a scripted ledger wall time matters only where scripted time may not run ahead of it.
func TestClocksApartScripted(t *testing.T) {
	s := newScene(t)
	s.ch.skew = time.Hour
	s.play("venue genesis", "custodian member.apply")
	advance := s.hold("wait 1h")
	_, r := s.ch.call(market, proposal.Submit, 1, advance...)
	s.want(r, "clock.peer")
	s.ch.skew = 0
	_, r = s.ch.call(market, proposal.Submit, 1, advance...)
	s.want(r, "ok")
	s.ch.wall = time.UnixMilli(int64(s.M.Now) - 1)
	_, r = s.ch.call(market, proposal.Submit, 1, advance...)
	s.want(r, "clock.ahead")
}
