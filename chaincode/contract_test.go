package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
)

func TestGets(t *testing.T) {
	s := newScene(t, "market")
	tx := s.ch.mustEndorse(market, "RegulatorMSP", [][]byte{[]byte("gets"), []byte("genesis"), []byte("absent"), []byte("rulebook")}, nil)
	got, err := proposal.ParseValues(tx.response.Payload, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]byte{s.ch.spaces[market]["genesis"].value, nil, s.ch.spaces[market]["rulebook"].value}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	for _, key := range []string{"", " ", "a\x00b", "键", strings.Repeat("k", maxKeyBytes+1)} {
		s.ch.failure(market, "VenueMSP", "gets", key)
	}
	s.ch.failure(market, "VenueMSP", "gets")
}

// A panic is a failure with a fixed text, and the log has places in the code but nothing of what was at hand.
func TestPanic(t *testing.T) {
	s := newScene(t, "market")
	sub := s.renewFile(s.M.Provider, "x")
	for _, p := range s.ch.peers {
		for _, c := range p.definitions {
			c.records = nil // any programmer's error
		}
	}
	m := s.ch.failure(market, "VenueMSP", args(proposal.Call{Function: proposal.Submit, Epoch: 1, Commands: []contracts.Submission{sub}})...)
	if m != errPanicked.Error() {
		t.Errorf("it says %q", m)
	}
	if log := s.ch.logs.String(); !strings.Contains(log, "chaincode.(*state).Record") || strings.Contains(log, string(s.M.Provider.ID)) {
		t.Errorf("the log says %s", log)
	}
}

func TestUnknownFunctions(t *testing.T) {
	ch := newChannel(t, "bund.test/functions")
	ch.begin(1)
	for _, args := range [][]string{{""}, {"init"}, {"Submit", "1", "x"}, {"submit"}, {"submit", "1"}, {"open", "1"}, {"submit", "one", "x"}, {"submit", "1", ""}} {
		for _, definition := range []string{market, clearing} {
			ch.failure(definition, "VenueMSP", args...)
		}
	}
	if tx := ch.endorse(market, "VenueMSP", nil, nil); tx.response.Status != 500 {
		t.Error("no arguments at all are answered")
	}
}

// FuzzInvoke: whatever is asked, the process lives, and a failure has written nothing.
func FuzzInvoke(f *testing.F) {
	s := newScene(f, "market", "authorised A1")
	good := proposal.Call{Function: proposal.Submit, Epoch: 1, Commands: []contracts.Submission{s.renewFile(s.M.Provider, "x"), s.appoint(s.M.Buyer)}}
	for _, c := range []proposal.Call{good, {Function: proposal.Open, Epoch: 2, Commands: good.Commands[:1]}} {
		f.Add(bytes.Join(c.Args(), []byte("|")), []byte{}, true)
	}
	f.Add([]byte("gets|genesis|x"), []byte("x"), false)
	f.Add([]byte("epoch|2"), []byte{}, true)
	f.Add([]byte(""), []byte{0}, true)
	f.Fuzz(func(t *testing.T, joined, openings []byte, inMarket bool) {
		s.ch.t = t
		definition := clearing
		if inMarket {
			definition = market
		}
		tx := s.ch.endorse(definition, "VenueMSP", bytes.Split(joined, []byte("|")), map[string][]byte{proposal.TransientOpenings: openings})
		s.ch.seen = nil
		switch {
		case tx.response.Message == errPanicked.Error():
			t.Fatal("the chaincode panicked")
		case tx.response.Status != 200 && tx.response.Status != 500:
			t.Fatalf("status %d", tx.response.Status)
		}
	})
}
