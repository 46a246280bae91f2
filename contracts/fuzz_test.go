package contracts_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/signing"
)

// goldenRaw gives the committed signed bytes of every kind.
func goldenRaw(t testing.TB) (raw [][]byte) {
	t.Helper()
	file, err := os.ReadFile(goldenCommands)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		if rest, ok := strings.CutPrefix(line, "raw "); ok {
			raw = append(raw, []byte(strings.TrimSuffix(rest, "\n")))
		}
	}
	return raw
}

func documented(t *testing.T, err error) *contracts.Refusal {
	t.Helper()
	var r *contracts.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("a failure where only a refusal can be: %v", err)
	}
	if _, ok := contracts.Lookup(r.Code); !ok {
		t.Fatalf("the code %s is not documented", r.Code)
	}
	return r
}

// FuzzDecode: whatever bytes come, Decode answers with a documented refusal, or with the command of which they are the
// only form.
func FuzzDecode(f *testing.F) {
	for _, raw := range goldenRaw(f) {
		f.Add(raw)
		f.Add(bytes.Replace(raw, []byte(`"kind"`), []byte(`"Kind"`), 1))
		f.Add(append(bytes.Clone(raw), ' '))
	}
	f.Add([]byte(`{}`))
	f.Add([]byte("\xff\xfe"))
	f.Add([]byte(`{"body":null}`))
	key := signing.Ed25519([32]byte{1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		sub := contracts.Submission{Raw: raw, Signatures: []contracts.Signature{{Key: key.Public, Sig: key.Sign(raw)}}}
		if _, err := contracts.Decode(sub); err != nil {
			documented(t, err)
		}
		// Signed by the key that it names it goes further: then these bytes are its only form.
		var e contracts.Envelope
		if canon.Unmarshal(raw, &e) != nil {
			return
		}
		e.Key, e.Suite = key.Public.ID(), key.Public.Suite()
		again := canon.Marshal(e)
		sub = contracts.Submission{Raw: again, Signatures: []contracts.Signature{{Key: key.Public, Sig: key.Sign(again)}}}
		cmd, err := contracts.Decode(sub)
		if err != nil {
			documented(t, err)
			return
		}
		if !bytes.Equal(canon.Marshal(cmd.Envelope), again) || !bytes.Equal(canon.Marshal(cmd.Body()), cmd.Envelope.Body) {
			t.Fatalf("another form of the same command is accepted: %q", again)
		}
	})
}

// stage is a market in which most kinds can be accepted, with a body of each kind as a starting point.
type stage struct {
	scene  *contractstest.Scene
	bodies map[string][]byte
	actor  map[string]string // who signs a kind
}

var stageScript = []string{
	"market", "authorised A1", "newkey PHONE", "newkey K1", "actor late roles=buyer", "late member.apply", "listed P1", "running D1 on=P1",
	"bank consent.register C1 on=P1", "bank consent.present C2 on=P1", "authority consent.sample C1", "bank negotiation.request D2 on=P1", "provider negotiation.offer D2",
	"bank negotiation.request D3 on=P1", "provider negotiation.offer D3", "bank negotiation.accept D3", "bank negotiation.request D4 on=P1 billing=postpaid", "provider negotiation.offer D4",
	"bank negotiation.accept D4", "provider agreement.propose D4", "bank agreement.verify D4", "provider usage.report D1 calls=6000", "venue period.close D1",
	"provider usage.report D1 final=true", "bank acceptance.record D1", "bank correction.open R1 on=P1.product", "reviewed P2", "bank product.object O1 on=P2",
	"venue rulebook.adopt rulebook.evaluationsPerSubject=4", "actor lender roles=buyer", "admitted lender", "actor summer roles=delivery", "admitted summer", "summer node.register url=https://summer.example",
	"actor adder roles=consulting", "admitted adder", "adder node.register url=https://adder.example",
	"listed P4 facts.modes=joint_score,joint_statistics,private_lookup facts.policy.operations=joint_score,joint_statistics,private_lookup facts.policy.minimumCohort=30",
	"agreed D7 on=P4 billing=postpaid offer.policy.operations=joint_score offer.policy.minimumCohort=30", "bank model.register M1 on=D7", "bank model.register M2 on=D7", "assessor model.attest M2",
	"provider statistics.propose S1 on=P4", "provider lookup.commit P4",
}

// wishes are one more line of each kind, taken for their bodies alone; most would be accepted.
var wishes = []string{
	"venue rulebook.adopt", "venue calendar.publish", "venue clock.advance", "venue clock.release", "venue member.check late", "venue member.admit late", "venue member.turn_away late",
	"venue member.suspend bank", "venue member.reinstate bank", "venue member.exit bank", "bank member.renew_file", "bank person.appoint bank.x key=K1", "bank person.dismiss bank.auditor",
	"bank key.add K1", "bank key.revoke bank.auditor", "bank node.retire bank.node", "authority authority.grant A2", "authority authority.withdraw A1", "provider product.draft P3",
	"provider product.amend P2", "provider dataset.report P2", "provider product.submit P2", "venue product.review P2", "bank product.object O2 on=P2", "venue product.answer O1 on=P2",
	"venue product.register P2", "venue product.list P2", "provider product.price P1", "venue product.suspend P1", "venue product.resume P1", "venue product.delist P1",
	"assessor attestation.issue T1 on=P2", "assessor attestation.withdraw P2.quality", "bank negotiation.request D5 on=P1", "bank negotiation.counter D2", "provider negotiation.offer D2",
	"bank negotiation.accept D2", "bank negotiation.terminate D2", "provider agreement.propose D3", "bank agreement.verify D4", "provider agreement.finalize D4", "provider agreement.amend D1",
	"provider agreement.renew D1", "venue agreement.expire D1", "bank agreement.terminate D1 effective=+40d", "bank acceptance.record D1", "venue grant.activate D1", "provider grant.allocate D1",
	"venue grant.warn D1", "venue grant.hold D1", "venue grant.release D1", "provider grant.suspend D1", "provider grant.resume D1", "provider grant.revoke D1", "bank consent.register C3 on=P1",
	"bank consent.present C4 on=P1", "bank consent.revoke C1", "authority consent.sample C1", "bank consent.produce C1", "venue period.close D1", "provider usage.report D1 calls=5",
	"custodian movement.deposit D1", "custodian movement.refund D1", "custodian movement.payout D1", "custodian movement.collection D1", "venue settlement.settle D1", "venue certificate.issue D1",
	"regulator freeze.order D1", "regulator freeze.lift D1", "bank dispute.open D1", "venue dispute.decide D1", "bank correction.open R2 on=P1.product", "provider correction.decide R1",
	"regulator export.decide E1 on=provider", "bank erasure.record of=D1", "venue snapshot.record", "venue reads.anchor", "venue loss.accept", "bank node.register", "late member.apply",
	"provider lookup.commit P4", "bank model.register M3 on=D7", "assessor model.attest M1", "bank model.withdraw M2", "provider statistics.propose S2 on=P4", "bank statistics.join S1", "provider statistics.end S1",
}

func newStage(t testing.TB) *stage {
	t.Helper()
	s := &stage{contractstest.NewScene("bund.test/fuzz", nil, 1), map[string][]byte{}, map[string]string{}}
	for _, line := range stageScript {
		if err := s.scene.Run(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if st := s.scene.Last(); st.Refusal != nil {
			t.Fatalf("%s: %v", line, st.Refusal)
		}
	}
	for _, line := range wishes {
		// Spoilt, so that every wish is refused and the stage stays as it is.
		if err := s.scene.Run(line + " sig=flip"); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var e contracts.Envelope
		if err := canon.Unmarshal(s.scene.Last().Submission.Raw, &e); err != nil {
			t.Fatal(err)
		}
		s.bodies[e.Kind] = bytes.Clone(e.Body)
		s.actor[e.Kind], _, _ = strings.Cut(line, " ")
	}
	return s
}

// command signs a body of a kind as its proper signers would.
func (s *stage) command(t *testing.T, kind string, body []byte) (*contracts.Command, error) {
	t.Helper()
	a, keys, err := s.scene.Signers(s.actor[kind], kind)
	if err != nil {
		t.Fatal(err)
	}
	member := a.ID
	if kind == "member.apply" {
		member = ""
	}
	sub, _ := signing.Sign(contracts.Unsigned{Ledger: s.scene.M.Ledger, Member: member, Kind: kind, Body: canon.Raw(body), NotBefore: s.scene.M.Now, Random: [10]byte{1}}, nil, keys...)
	cmd, err := contracts.Decode(sub)
	if err == nil {
		cmd.Find = func(_ string, c contracts.Hash) (contracts.Opening, bool) {
			k, ok := s.scene.Oracle.Openings[c]
			return k.Opening, ok
		}
	}
	return cmd, err
}

// FuzzApply: whatever well-formed body the proper signers sign, Apply answers with a documented refusal or a write set
// that is in order, the same every time. It never fails: a failure would stop a ledger.
func FuzzApply(f *testing.F) {
	s := newStage(f)
	kinds := contracts.Kinds()
	for i, k := range kinds {
		if k.Name != "genesis" {
			f.Add(uint8(i), s.bodies[k.Name])
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		name := kinds[int(kind)%len(kinds)].Name
		var raw canon.Raw
		if name == "genesis" || canon.Unmarshal(body, &raw) != nil {
			return
		}
		cmd, err := s.command(t, name, body)
		if err != nil {
			documented(t, err)
			return
		}
		env := contracts.Env{Ledger: s.scene.M.Ledger, Now: s.scene.M.Now}
		res, err := contracts.Apply(s.scene.Oracle, env, cmd)
		again, err2 := contracts.Apply(s.scene.Oracle, env, cmd)
		if !reflect.DeepEqual(res, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("%s: two answers to one command", name)
		}
		if err != nil {
			documented(t, err)
			return
		}
		if !slices.IsSortedFunc(res.Writes, func(a, b contracts.Write) int { return strings.Compare(a.Key, b.Key) }) || res.Public == (len(res.Audience) > 0) {
			t.Fatalf("%s: writes out of order, or an audience of a public entry: %+v", name, res)
		}
		for _, w := range res.Writes {
			for _, c := range []byte(w.Key) {
				if c <= ' ' || c > '~' {
					t.Fatalf("%s: the key %q", name, w.Key)
				}
			}
		}
	})
}

// TestStage fails when the stage that FuzzApply starts from grows stale: most wishes must be accepted there.
func TestStage(t *testing.T) {
	s := newStage(t)
	accepted := 0
	for kind, body := range s.bodies {
		cmd, err := s.command(t, kind, body)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if _, err := contracts.Apply(s.scene.Oracle, contracts.Env{Ledger: s.scene.M.Ledger, Now: s.scene.M.Now}, cmd); err == nil {
			accepted++
		} else {
			documented(t, err)
		}
	}
	if len(s.bodies) != len(contracts.Kinds())-1 || accepted < 40 {
		t.Errorf("%d kinds, %d accepted", len(s.bodies), accepted)
	}
}

// leaves lists the places of the strings in canonical JSON, without the member names: from, to, between the quotes.
func leaves(b []byte) (at [][2]int) {
	for i := 0; i < len(b); i++ {
		if b[i] != '"' {
			continue
		}
		j := i + 1
		for b[j] != '"' {
			if b[j] == '\\' {
				j++
			}
			j++
		}
		if j+1 >= len(b) || b[j+1] != ':' {
			at = append(at, [2]int{i + 1, j})
		}
		i = j
	}
	return at
}

// TestApplyMutatedBodies changes one leaf of a sensible body at a time into something that doesn't belong there. The
// rules may say yes or no; they never fail, panic or write twice.
func TestApplyMutatedBodies(t *testing.T) {
	s := newStage(t)
	rng := rand.New(rand.NewPCG(5, 5))
	odd := []string{"", "0", "1", "-1", "2", "9223372036854775807", "10000000000000", "1772413200000", "7258118399999", "unknown", "外滩",
		string(s.scene.M.Provider.ID), string(s.scene.M.Buyer.ID), string(s.scene.M.Venue.ID), string(s.scene.M.Provider.Node), strings.Repeat("0", 32), strings.Repeat("f", 64)}
	env := contracts.Env{Ledger: s.scene.M.Ledger, Now: s.scene.M.Now}
	accepted, refused, malformed := 0, 0, 0
	for _, k := range contracts.Kinds() {
		body := s.bodies[k.Name]
		at := leaves(body)
		for range min(25, 6*len(at)) {
			p := at[rng.IntN(len(at))]
			with := odd[rng.IntN(len(odd))]
			if rng.IntN(3) == 0 {
				q := at[rng.IntN(len(at))]
				with = string(body[q[0]:q[1]])
			}
			changed := slices.Concat(body[:p[0]], []byte(with), body[p[1]:])
			cmd, err := s.command(t, k.Name, changed)
			if err != nil {
				documented(t, err)
				malformed++
				continue
			}
			res, err := contracts.Apply(s.scene.Oracle, env, cmd)
			if err != nil {
				documented(t, err)
				refused++
				continue
			}
			accepted++
			for i, w := range res.Writes {
				if w.Value == nil || i > 0 && w.Key <= res.Writes[i-1].Key {
					t.Fatalf("%s with %q: write set %v", k.Name, with, w.Key)
				}
			}
		}
	}
	t.Logf("%d accepted, %d refused, %d malformed", accepted, refused, malformed)
	if accepted < 50 || refused < 100 || malformed < 100 {
		t.Errorf("%d accepted, %d refused, %d malformed: the mutations have lost their bite", accepted, refused, malformed)
	}
}
