package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/proposal"
	"github.com/bund-exchange/bund/contracts/signing"
)

func TestBatch(t *testing.T) {
	s := newScene(t, "market")
	a, b := s.M.Provider, s.M.Buyer
	forged := s.renewFile(b, "forged")
	forged.Signatures[0].Sig[3] ^= 1
	first, twice := s.renewFile(a, "1"), s.appoint(b)
	subs := []contracts.Submission{first, s.renewFile(a, "2"), forged, s.badFile(a), twice, twice, s.appoint(s.M.LawFirm)}
	tx, r := s.ch.call(market, proposal.Submit, 1, subs...)
	s.want(r, "ok batch.dependent signature.invalid batch.dependent ok batch.dependent ok")
	want := map[string]bool{}
	for _, i := range []int{0, 4, 6} {
		for _, k := range r.Answers[i].Accepted.Keys {
			want[k] = true
		}
	}
	if len(tx.writes[market]) != len(want) || len(tx.writes) != 1 {
		t.Fatalf("the write set has %d keys, the accepted commands write %d", len(tx.writes[market]), len(want))
	}
	s.ch.mustCommit(tx)

	// Afterwards the same bytes are repeated, and what depended on the first goes through; a batch without anything to
	// write writes nothing.
	tx, r = s.ch.call(market, proposal.Submit, 1, first, twice, s.badFile(a))
	s.want(r, "repeated repeated member.file_expired")
	if len(tx.writes) > 0 {
		t.Errorf("it writes %v", tx.writes)
	}
	_, r = s.ch.call(market, proposal.Submit, 1, subs[1])
	s.want(r, "ok")
}

// What a batch has written isn't read as it was before, remembered records included.
func TestBatchDependentRead(t *testing.T) {
	s := newScene(t, "market")
	suspend := s.M.Sign(s.M.Venue.ID, "member.suspend", contracts.MemberTurn{Subject: s.M.Buyer.ID, Reason: "test"}, nil, s.M.Venue.Two()...)
	reads := s.appoint(s.M.Buyer)
	_, r := s.ch.call(market, proposal.Submit, 1, suspend, reads)
	s.want(r, "ok batch.dependent")
	_, r = s.ch.call(market, proposal.Submit, 1, reads, suspend)
	s.want(r, "ok ok")
}

// Two transactions that were endorsed over the same state: what the first has changed makes the second invalid.
func TestConflict(t *testing.T) {
	s := newScene(t, "market")
	sub := s.appoint(s.M.Buyer)
	one, _ := s.ch.call(market, proposal.Submit, 1, sub)
	two, _ := s.ch.call(market, proposal.Submit, 1, sub, s.appoint(s.M.Provider))
	s.ch.mustCommit(one)
	if s.ch.commit(two) {
		t.Fatal("one command became valid twice")
	}
	_, r := s.ch.call(market, proposal.Submit, 1, sub)
	s.want(r, "repeated")
}

// A command id is used once, at whichever definition: else no auditor could replay the entries.
func TestOneIDTwoDefinitions(t *testing.T) {
	s := newScene(t, "market", "authorised A1", "listed P1", "agreed D1 on=P1")
	deposit, register := "custodian movement.deposit D1 amount=1 label=M1", "bank consent.register C1 on=P1 label=R1"
	s.play(deposit, register)
	for _, line := range []string{"bank consent.register C2 on=P1 @id=M1", "custodian movement.deposit D1 amount=1 @id=R1"} {
		if err := s.Run(line); err != nil {
			t.Fatal(err)
		}
		if r := s.Last().Refusal; r == nil || r.Code != "command.id_reused" {
			t.Errorf("%s: %v", line, r)
		}
	}

	// Nor at both at once.
	deposited := s.hold("custodian movement.deposit D1 amount=2")[0]
	cmd, err := contracts.Decode(deposited)
	if err != nil {
		t.Fatal(err)
	}
	id := cmd.ID.Bytes()
	renewed, _ := signing.Sign(contracts.Unsigned{Ledger: s.ch.ledger, Member: s.M.Provider.ID, Kind: "member.renew_file", NotBefore: cmd.NotBefore, Random: [10]byte(id[6:]),
		Body: contracts.MemberRenewFile{File: contracts.File{Kind: contracts.FileLicence, Digest: contracts.HashOf("test/file")}}}, nil, s.M.Provider.Admin)
	one, r := s.ch.call(market, proposal.Submit, 1, renewed)
	s.want(r, "ok")
	two, r := s.ch.call(clearing, proposal.Submit, 1, deposited)
	s.want(r, "ok")
	s.ch.mustCommit(one)
	if s.ch.commit(two) {
		t.Error("one id was used at both definitions")
	}
}

// Fifty consents cost what one costs: a few messages each way.
func TestFiftyConsents(t *testing.T) {
	s := newScene(t, "market", "authorised A1", "listed P1")
	var lines []string
	for i := range 50 {
		lines = append(lines, fmt.Sprintf("bank consent.register C%d on=P1", i))
	}
	tx, r := s.ch.call(market, proposal.Submit, 1, s.hold(lines...)...)
	if got := codes(r); got != strings.TrimSpace(strings.Repeat("ok ", 50)) {
		t.Fatal(got)
	}
	// Three rounds of reading, the two messages of a call across, and the writes.
	if tx.trips > 6 {
		t.Errorf("fifty consents take %d messages", tx.trips)
	}
	s.ch.mustCommit(tx)
	for _, k := range s.Oracle.Keys() {
		got, _ := s.x.Get(k)
		if want, _ := s.Oracle.Get(k); string(got) != string(want) {
			t.Errorf("%s is %s, want %s", k, got, want)
		}
	}
}

// A batch has one time: a genesis of a scripted ledger and others are decided apart.
func TestBatchWithGenesis(t *testing.T) {
	s := newScene(t)
	subs := s.hold("venue genesis", "custodian member.apply")
	_, r := s.ch.call(market, proposal.Submit, 1, subs...)
	s.want(r, "ok batch.dependent")
	_, r = s.ch.call(market, proposal.Submit, 1, subs[1], subs[0])
	s.want(r, "command.genesis batch.dependent")
}

// What the other definition decides is a failure of the whole call: no client proposes it.
func TestWrongDefinition(t *testing.T) {
	s := newScene(t, "market", "authorised A1", "listed P1", "agreed D1 on=P1")
	subs := s.hold("custodian movement.deposit D1 amount=1", "bank consent.register C1 on=P1")
	for definition, sub := range map[string]contracts.Submission{market: subs[0], clearing: subs[1]} {
		for _, batch := range [][]contracts.Submission{{sub}, {subs[0], subs[1]}} {
			if m := s.ch.failure(definition, "VenueMSP", args(proposal.Call{Function: proposal.Submit, Epoch: 1, Commands: batch})...); !strings.Contains(m, "not for the "+definition) {
				t.Errorf("%s says %q", definition, m)
			}
		}
	}
}
