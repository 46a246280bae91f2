package evidence_test

import (
	"context"
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/evidence/evidencetest"
	"github.com/bund-exchange/bund/ledger/publish"
)

func proofFile(t testing.TB, l *evidencetest.Ledger, position, witnesses int) []byte {
	t.Helper()
	p, err := l.Proof(position, witnesses)
	if err != nil {
		t.Fatal(err)
	}
	return p.Marshal()
}

func TestProof(t *testing.T) {
	w := trade(t)
	trust, err := evidence.TrustOf(w.Trust())
	if err != nil {
		t.Fatal(err)
	}
	for i := range w.Entries {
		p, err := evidence.OpenProof(trust, proofFile(t, w.Ledger, i, 2))
		if err != nil || p.Position != uint64(i) || p.SeenAt.IsZero() {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	at := w.Find("certificate.issue", 0)
	p, err := evidence.OpenProof(trust, proofFile(t, w.Ledger, at, 3))
	if err != nil {
		t.Fatal(err)
	}
	c := p.Certificate()
	if c == nil || c.Agreement != w.Prepaid.Agreement || !contracts.ValidSerial(c.Number) {
		t.Errorf("certificate %+v", c)
	}
	for _, x := range []struct {
		name string
		b    func() []byte
	}{
		{"too few witnesses", func() []byte { return proofFile(t, w.Ledger, at, 1) }},
		{"without the entry", func() []byte {
			p, _ := w.Proof(at, 3)
			p.Extra = nil
			return p.Marshal()
		}},
		{"another entry", func() []byte {
			p, _ := w.Proof(at, 3)
			p.Extra = w.Entries[at-1].Encode()
			return p.Marshal()
		}},
		{"another index", func() []byte {
			p, _ := w.Proof(at, 3)
			p.Index--
			return p.Marshal()
		}},
		{"a witness nobody knows", func() []byte {
			k, _ := evidencetest.NewKeys(ledgerID)
			l := *w.Ledger
			own := *l.Keys
			own.Witnesses = append(own.Witnesses[:2:2], k.Witnesses[2])
			l.Keys = &own
			return proofFile(t, &l, at, 3)
		}},
		{"a command that nobody signed", func() []byte {
			l := w.Clone()
			l.Entries[at].Signatures[0].Sig = make([]byte, 64)
			l.Rechain()
			return proofFile(t, l, at, 3)
		}},
		{"another genesis", func() []byte {
			l := w.Clone()
			l.Entries[0].Audience = []contracts.ID{"00000000000000000000000000000001"}
			return proofFile(t, l, 0, 3)
		}},
	} {
		if _, err := evidence.OpenProof(trust, x.b()); err == nil || !strings.Contains(err.Error(), ":") {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

// No byte of a proof file can be changed.
func TestProofFlips(t *testing.T) {
	w := trade(t)
	trust, err := evidence.TrustOf(w.Trust())
	if err != nil {
		t.Fatal(err)
	}
	b := proofFile(t, w.Ledger, w.Find("certificate.issue", 0), 3)
	for _, at := range offsets(len(b), *flips*5, *flipSeed) {
		b[at] ^= 1 << (at % 8)
		if _, err := evidence.OpenProof(trust, b); err == nil || !strings.Contains(err.Error(), ":") {
			t.Errorf("byte %d of %d: %v", at, len(b), err)
		}
		b[at] ^= 1 << (at % 8)
	}
}

// source is a ledger in memory as others read it.
type source struct{ *evidencetest.Ledger }

func (s source) Entries(_ context.Context, from uint64, limit int) (out []*ledger.Stored, err error) {
	for _, e := range s.Ledger.Entries[from:min(from+uint64(limit), uint64(len(s.Ledger.Entries)))] {
		b := e.Encode()
		out = append(out, &ledger.Stored{Entry: e, Encoded: b, Hash: ledger.Hash(b)})
	}
	return out, nil
}

func (s source) Proof(_ context.Context, index uint64) (publish.Proof, error) {
	p, err := s.Ledger.Proof(int(index), 3)
	p.Extra = nil
	return p, err
}

// One trade leaves the market by itself, and bears out its certificate.
func TestTradeProofs(t *testing.T) {
	w := trade(t)
	trust, err := evidence.TrustOf(w.Trust())
	if err != nil {
		t.Fatal(err)
	}
	src := source{w.Ledger}
	es, err := evidence.TradeEntries(t.Context(), src, uint64(len(w.Entries)), w.Prepaid.Agreement)
	if err != nil {
		t.Fatal(err)
	}
	names, err := evidence.WriteProofs(t.Context(), t.TempDir(), src, es)
	if err != nil {
		t.Fatal(err)
	}
	var all []*evidence.Proven
	var certificate *evidence.Proven
	kinds := map[string]int{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := evidence.OpenProof(trust, b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		kinds[p.Command.Kind]++
		all = append(all, p)
		if p.Certificate() != nil {
			certificate = p
		}
		for _, id := range p.Objects {
			if id == w.Postpaid.Agreement || id == w.Postpaid.Negotiation {
				t.Errorf("%s shows another trade", name)
			}
		}
	}
	for _, k := range []string{"negotiation.request", "agreement.propose", "agreement.finalize", "movement.deposit", "usage.report", "settlement.settle", "movement.payout", "certificate.issue"} {
		if kinds[k] == 0 {
			t.Errorf("no %s among the proofs", k)
		}
	}
	borne, err := evidence.CheckTrade(certificate, all)
	if err != nil || strings.Join(borne, " ") != "agreement report settlement" {
		t.Errorf("borne out: %v, %v", borne, err)
	}
	if borne, err := evidence.CheckTrade(certificate, nil); err != nil || borne != nil {
		t.Errorf("alone: %v, %v", borne, err)
	}
	if _, err := evidence.CheckTrade(all[0], all); err == nil {
		t.Error("an entry that issues no certificate")
	}
	// A certificate that contradicts its trade.
	for _, old := range []string{`"size":"401"`, `"settlement":"STL-`, `"digest":"`} {
		l := w.Clone()
		e := l.Entries[certificate.Position]
		for i, x := range e.Writes {
			if strings.HasPrefix(x.Key, "certificate/") {
				s := string(x.Value)
				at := strings.Index(s, old) + len(old) - 2
				if c := s[at]; c == 'f' {
					s = s[:at] + "e" + s[at+1:]
				} else if strings.HasPrefix(old, `"digest`) {
					at += 2
					s = s[:at] + string("0f"[b2i(s[at] == '0')]) + s[at+1:]
				} else {
					s = s[:at] + "7" + s[at+1:]
				}
				e.Writes[i].Value = []byte(s)
			}
		}
		p, err := evidence.OpenProof(trust, proofFile(t, l, int(certificate.Position), 3))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := evidence.CheckTrade(p, all); err == nil || !strings.HasPrefix(err.Error(), "certificate: ") {
			t.Errorf("%s altered: %v", old, err)
		}
	}
}

func FuzzOpenProof(f *testing.F) {
	w, err := honest()
	if err != nil {
		f.Fatal(err)
	}
	trust, err := evidence.TrustOf(w.Trust())
	if err != nil {
		f.Fatal(err)
	}
	b := proofFile(f, w.Ledger, 3, 2)
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra " + base64.StdEncoding.EncodeToString([]byte("x")) + "\nindex 0\n\nx\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := evidence.OpenProof(trust, b); err == nil && p.Position >= uint64(len(w.Entries)) {
			t.Fatal("an entry that isn't in the ledger")
		}
	})
}
