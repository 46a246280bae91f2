package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/packed"
	"github.com/bund-exchange/bund/contracts/proposal"
)

// TestOpeningsStayOut searches answers, write sets, failures and logs of a whole trade for what its openings hold.
func TestOpeningsStayOut(t *testing.T) {
	s := newScene(t, "market", "authorised A1", "listed P1", "agreed D1 on=P1 terms.unitPrice=1234567 terms.flatFee=7654321 terms.escrow=3141592",
		"custodian movement.deposit D1 amount=27182818 ref=JP-SECRET-REF", "venue grant.activate D1", "provider usage.report D1 calls=1357",
		"venue period.close D1", "provider usage.report D1 final=true", "bank acceptance.record D1", "venue settlement.settle D1")
	payout := s.hold("custodian movement.payout D1")[0]

	// And of what is wrong with them.
	altered := payout
	altered.Openings = append([]contracts.Opening{}, payout.Openings...)
	altered.Openings[0].Salt[0] ^= 1
	unneeded := payout
	unneeded.Openings = append(append([]contracts.Opening{}, payout.Openings...), contracts.Opening{Salt: [32]byte{9}, Value: []byte("SECRET")})
	missing := payout
	missing.Openings = nil
	refused := 0
	for _, sub := range []contracts.Submission{altered, unneeded, missing} {
		_, r := s.ch.call(clearing, proposal.Submit, 1, sub)
		if r.Answers[0].Refused != nil {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("%d of 3 wrong openings were refused", refused)
	}
	call := proposal.Call{Function: proposal.Submit, Epoch: 1, Commands: []contracts.Submission{payout}}
	good := proposal.Openings(call.Commands)
	for _, bad := range [][]byte{good[:len(good)-1], append(append([]byte{}, good...), "SECRET"...), []byte("SECRET"), {255}} {
		if tx := s.ch.endorse(clearing, "VenueMSP", call.Args(), map[string][]byte{proposal.TransientOpenings: bad}); tx.response.Status != 500 {
			t.Errorf("openings of %d bytes gave %d", len(bad), tx.response.Status)
		}
	}

	secrets := map[string]string{"SECRET": "a reference"}
	for _, n := range []string{"1234567", "7654321", "3141592", "27182818"} {
		secrets[n] = "an amount"
	}
	for _, k := range s.Oracle.Openings {
		secrets[string(k.Opening.Salt[:])] = "a salt of " + k.Tag
	}
	if len(secrets) < 12 {
		t.Fatalf("only %d secrets to look for", len(secrets))
	}
	all := append(bytes.Join(s.ch.seen, []byte("\n")), s.ch.logs.Bytes()...)
	if !bytes.Contains(all, []byte(s.M.Provider.ID)) {
		t.Fatal("the search doesn't find what is public")
	}
	for secret, what := range secrets {
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret)),
			string(packed.Pack([]byte(secret))), string(packed.Pack([]byte(hex.EncodeToString([]byte(secret)))))} {
			if bytes.Contains(all, []byte(form)) {
				t.Errorf("%s is in the open", what)
			}
		}
	}
}
