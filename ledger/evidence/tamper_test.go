package evidence_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/evidence/evidencetest"
)

// finding is a failure that must be found: a check, and how its place begins (%p stands for the position that the
// tamper gives).
type finding struct{ check, where, detail string }

// tamper is something that a dishonest venue does. It holds the log's key, so manifest and checkpoint are signed anew;
// its witnesses cosign whatever it shows them, unless the case says how many do.
type tamper struct {
	name      string
	rules     func(contracts.State, contracts.Env, *contracts.Command) (*contracts.Result, error) // the ledger ran on these
	edit      func(l *evidencetest.Ledger) (position int)
	files     func(t *testing.T, l *evidencetest.Ledger, dir string)
	witnesses int // 0 is all three, -1 none
	closed    bool
	options   func(t *testing.T) func(*evidence.Config)
	want      []finding
}

func rechained(edit func(l *evidencetest.Ledger) int) func(*evidencetest.Ledger) int {
	return func(l *evidencetest.Ledger) int {
		p := edit(l)
		l.Rechain()
		return p
	}
}

// entryOf changes the n-th entry of a kind and mends the chain.
func entryOf(kind string, n int, edit func(e *ledger.Entry)) func(*evidencetest.Ledger) int {
	return rechained(func(l *evidencetest.Ledger) int {
		p := l.Find(kind, n)
		edit(l.Entries[p])
		return p
	})
}

func editFile(name string, edit func([]byte) []byte) func(*testing.T, *evidencetest.Ledger, string) {
	return func(t *testing.T, l *evidencetest.Ledger, dir string) {
		t.Helper()
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, edit(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.Resign(dir, nil); err != nil {
			t.Fatal(err)
		}
	}
}

var tampers = []tamper{
	{name: "an entry is dropped", edit: func(l *evidencetest.Ledger) int {
		p := l.Find("consent.register", 0)
		l.Entries = slices.Delete(l.Entries, p, p+1)
		return p
	}, want: []finding{{evidence.CheckChain, "entries.bin: entry %p: prev", ""}}},

	{name: "an entry is dropped and the chain mended, without the witnesses", witnesses: 1, edit: rechained(func(l *evidencetest.Ledger) int {
		p := l.Find("consent.register", 0)
		l.Entries = slices.Delete(l.Entries, p, p+1)
		return p
	}), want: []finding{{evidence.CheckWitnesses, "checkpoint: signatures", "1 cosignatures, the trust root wants 2"}}},

	{name: "an entry is dropped and the chain mended, with the witnesses", edit: rechained(func(l *evidencetest.Ledger) int {
		p := l.Find("member.admit", 3)
		l.Entries = slices.Delete(l.Entries, p, p+1)
		return p
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry ", "the rules don't accept it"}}},

	{name: "an entry is dropped and the chain mended, a checkpoint was seen before", edit: rechained(func(l *evidencetest.Ledger) int {
		p := l.Find("consent.register", 0)
		l.Entries = slices.Delete(l.Entries, p, p+1)
		return p
	}), options: func(t *testing.T) func(*evidence.Config) { w := trade(t); return seen(t, w.Ledger, len(w.Entries)-3) },
		want: []finding{{evidence.CheckConsistency, "entries.bin: entry ", "another history"}}},

	{name: "the end is cut off, a checkpoint was seen before", edit: func(l *evidencetest.Ledger) int {
		l.Entries = l.Entries[:len(l.Entries)-5]
		return 0
	}, options: func(t *testing.T) func(*evidence.Config) { w := trade(t); return seen(t, w.Ledger, len(w.Entries)) },
		want: []finding{{evidence.CheckConsistency, "entries.bin: count", "has less"}}},

	{name: "two entries change places", edit: func(l *evidencetest.Ledger) int {
		p := l.Find("agreement.propose", 0)
		l.Entries[p], l.Entries[p+1] = l.Entries[p+1], l.Entries[p]
		return p
	}, want: []finding{{evidence.CheckChain, "entries.bin: entry %p: prev", ""}}},

	{name: "two entries change places and the chain is mended", edit: rechained(func(l *evidencetest.Ledger) int {
		p := l.Find("agreement.propose", 0)
		l.Entries[p], l.Entries[p+1] = l.Entries[p+1], l.Entries[p]
		return p
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry %p: command", ""}}},

	{name: "a write set is altered and the chain mended", edit: entryOf("agreement.finalize", 0, func(e *ledger.Entry) {
		for i, w := range e.Writes {
			if strings.HasPrefix(w.Key, "grant/") {
				e.Writes[i].Value = bytes.Replace(w.Value, []byte(`"quotaCalls":"10000"`), []byte(`"quotaCalls":"90000"`), 1)
			}
		}
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry %p: writes.grant/", "something else"}}},

	{name: "a write is added", edit: entryOf("consent.register", 0, func(e *ledger.Entry) {
		e.Writes = append(e.Writes, contracts.Write{Key: "zz", Value: []byte(`"x"`)})
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry %p: writes", ""}}},

	{name: "an event is renamed", edit: entryOf("grant.activate", 0, func(e *ledger.Entry) { e.Events[0].Name = "grant.revoked" }),
		want: []finding{{evidence.CheckRules, "entries.bin: entry %p: events", ""}}},

	{name: "a rulebook that doesn't exist", edit: entryOf("grant.activate", 0, func(e *ledger.Entry) { e.Rulebook = 2 }),
		want: []finding{{evidence.CheckRules, "entries.bin: entry %p: rulebook", ""}}},

	{name: "a private entry is marked public", edit: entryOf("movement.deposit", 0, func(e *ledger.Entry) { e.Public, e.Audience = true, nil }),
		want: []finding{{evidence.CheckRules, "entries.bin: entry %p: public", ""}}},

	{name: "an object is left out of the leaf", edit: entryOf("movement.deposit", 0, func(e *ledger.Entry) { e.Objects = e.Objects[:len(e.Objects)-1] }),
		want: []finding{{evidence.CheckRules, "entries.bin: entry %p: objects", ""}}},

	{name: "an object is left out of the leaf, no openings", closed: true, edit: entryOf("movement.deposit", 0, func(e *ledger.Entry) { e.Objects = e.Objects[:len(e.Objects)-1] }),
		want: []finding{{evidence.CheckRules, "entries.bin: entry %p: objects", "whatever the missing opening says"}}},

	{name: "an outcome is altered, no openings", closed: true, edit: entryOf("movement.deposit", 0, func(e *ledger.Entry) { e.Events[0].Name = "movement.refund" }),
		want: []finding{{evidence.CheckRules, "entries.bin: entry %p: writes.cmd/", "whatever the missing opening says"}}},

	{name: "the audience is widened", edit: entryOf("movement.deposit", 0, func(e *ledger.Entry) {
		e.Audience = append(e.Audience, "ffffffffffffffffffffffffffffffff")
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry %p: audience", ""}}},

	{name: "an entry is dated back", edit: entryOf("certificate.issue", 0, func(e *ledger.Entry) { e.Time -= ledger.ClocksApart + 1 }),
		want: []finding{{evidence.CheckChain, "entries.bin: entry %p: time", "time falls"}, {evidence.CheckRules, "entries.bin: entry %p: time", "clock"}}},

	{name: "an entry is dated forward", edit: rechained(func(l *evidencetest.Ledger) int {
		p := l.Find("certificate.issue", 0)
		for _, e := range l.Entries[p:] {
			e.Time += 60_000
		}
		return p
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry %p: time", "clock"}}},

	{name: "a command stands twice", edit: rechained(func(l *evidencetest.Ledger) int {
		x := *l.Entries[l.Find("consent.register", 0)]
		x.Time = l.Entries[len(l.Entries)-1].Time
		l.Entries = append(l.Entries, &x)
		return len(l.Entries) - 1
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry %p: command.id", "accepted before"}}},

	{name: "a signature is replaced", edit: entryOf("certificate.issue", 0, func(e *ledger.Entry) {
		w, _ := honest()
		k := w.Market.Custodian.Machine
		e.Signatures[1] = contracts.Signature{Key: k.Public, Sig: k.Sign(e.Raw)}
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry %p: signatures", ""}}},

	{name: "one person's signature is taken away", edit: entryOf("movement.deposit", 0, func(e *ledger.Entry) { e.Signatures = e.Signatures[:1] }),
		want: []finding{{evidence.CheckRules, "entries.bin: entry %p: signatures", ""}}},

	{name: "a command is altered", edit: entryOf("authority.grant", 0, func(e *ledger.Entry) {
		e.Raw = bytes.Replace(e.Raw, []byte(`"ceiling":"2000000"`), []byte(`"ceiling":"3000000"`), 1)
	}), want: []finding{{evidence.CheckSignatures, "entries.bin: entry %p: signatures", "does not verify"}}},

	{name: "the venue signs for the bank", edit: rechained(func(l *evidencetest.Ledger) int {
		w, _ := honest()
		m := w.Market
		sub, _ := signing.Sign(contracts.Unsigned{Ledger: l.ID, Member: m.Buyer.ID, Kind: "acceptance.record", NotBefore: m.Now, Random: [10]byte{1},
			Body: contracts.AcceptanceRecord{Agreement: w.Prepaid.Agreement, Period: 1, Report: contracts.HashOf("test/acceptance")}}, nil, m.Venue.Maker, m.Venue.Check)
		p := l.Find("acceptance.record", 0)
		l.Entries[p].Raw, l.Entries[p].Signatures = sub.Raw, sub.Signatures
		return p
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry %p: signatures", "key.foreign"}}},

	{name: "a command of another ledger", edit: rechained(func(l *evidencetest.Ledger) int {
		w, _ := honest()
		m := w.Market
		sub, _ := signing.Sign(contracts.Unsigned{Ledger: "bund.test/other", Member: m.Buyer.ID, Kind: "consent.revoke", NotBefore: m.Now, Random: [10]byte{2},
			Body: contracts.ConsentRevoke{Consent: "00000000000000000000000000000001"}}, nil, m.Buyer.Machine)
		p := len(l.Entries) - 1
		l.Entries[p].Raw, l.Entries[p].Signatures = sub.Raw, sub.Signatures
		return p
	}), want: []finding{{evidence.CheckRules, "entries.bin: entry %p: command.ledger", ""}}},

	{name: "a foreign genesis", edit: func(l *evidencetest.Ledger) int {
		other := contractstest.NewPure(l.ID)
		if err := contractstest.NewMarket(l.ID, other, 99).Begin(); err != nil {
			panic(err)
		}
		o, err := evidencetest.Of(other)
		if err != nil {
			panic(err)
		}
		l.Entries, l.Openings = o.Entries, o.Openings
		return 0
	}, want: []finding{{evidence.CheckChain, "entries.bin: entry 0: hash", "not the genesis"}}},

	{name: "an unbalanced journal", rules: evidencetest.Mutate("settlement.settle", func(_ *contracts.Command, res *contracts.Result) {
		evidencetest.Reseal(res, contracts.TagSettlement, func(v *contracts.SettlementValue) { v.Postings[1].Credit++ })
	}), edit: func(l *evidencetest.Ledger) int { return l.Find("settlement.settle", 0) },
		want: []finding{{evidence.CheckRules, "entries.bin: entry %p: writes.clr/settlement/", ""}, {evidence.CheckMoney, "entries.bin: entry %p: writes.clr/settlement/", "debits are"}}},

	{name: "the venue takes a fen more", rules: evidencetest.Mutate("settlement.settle", func(_ *contracts.Command, res *contracts.Result) {
		evidencetest.Reseal(res, contracts.TagSettlement, func(v *contracts.SettlementValue) {
			v.ProviderFee, v.ProviderNet = v.ProviderFee+1, v.ProviderNet-1
			for i, p := range v.Postings {
				if p.Item == "fee_provider" {
					v.Postings[i].Debit, v.Postings[i].Credit = p.Debit+min(p.Debit, 1), p.Credit+min(p.Credit, 1)
				}
			}
		})
	}), edit: func(l *evidencetest.Ledger) int { return l.Find("settlement.settle", 0) },
		want: []finding{{evidence.CheckMoney, "entries.bin: entry %p: writes.clr/settlement/", "the books make it"}}},

	{name: "calls that nobody acknowledged are billed", rules: evidencetest.Mutate("settlement.settle", func(_ *contracts.Command, res *contracts.Result) {
		evidencetest.Reseal(res, contracts.TagSettlement, func(v *contracts.SettlementValue) { v.Units++ })
	}), edit: func(l *evidencetest.Ledger) int { return l.Find("settlement.settle", 0) },
		want: []finding{{evidence.CheckMoney, "entries.bin: entry %p: writes.clr/settlement/", "401 fen or units, the books make it 400"}}},

	{name: "the escrow loses a fen", rules: evidencetest.Mutate("movement.refund", func(_ *contracts.Command, res *contracts.Result) {
		evidencetest.Reseal(res, contracts.TagEscrow, func(v *contracts.EscrowValue) { v.Balance++ })
	}), edit: func(l *evidencetest.Ledger) int { return l.Find("movement.refund", 0) },
		want: []finding{{evidence.CheckMoney, "entries.bin: entry %p: writes.clr/escrow/", "the escrow is 1 fen, movements and settlements make 0"}}},

	{name: "a certificate of something else", rules: evidencetest.Mutate("certificate.issue", func(cmd *contracts.Command, res *contracts.Result) {
		body := cmd.Body().(*contracts.CertificateIssue)
		evidencetest.Rewrite(res.Writes, contracts.KeyCertificate(body.Agreement, body.Period), func(c *contracts.Certificate) { c.Size++ })
	}), edit: func(l *evidencetest.Ledger) int { return l.Find("certificate.issue", 0) },
		want: []finding{{evidence.CheckCertificates, "entries.bin: entry %p: writes.certificate/", "receipt log"}}},

	{name: "a certificate's number has a wrong check digit", edit: entryOf("certificate.issue", 0, func(e *ledger.Entry) {
		for i, w := range e.Writes {
			if strings.HasPrefix(w.Key, "serial/") {
				d := w.Key[len(w.Key)-1]
				e.Writes[i].Key = w.Key[:len(w.Key)-1] + string('0'+(d-'0'+1)%10)
			}
		}
	}), want: []finding{{evidence.CheckCertificates, "entries.bin: entry %p: writes.serial/", "check digit"}}},

	{name: "an amount in an opening is altered", edit: func(l *evidencetest.Ledger) int { return 0 },
		files: editFile(evidence.OpeningsFile, func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"amount":"1000000"`), []byte(`"amount":"9000000"`), 1)
		}), want: []finding{{evidence.CheckOpenings, "openings.bin: opening ", "commitment"}}},

	{name: "an opening is missing", edit: func(l *evidencetest.Ledger) int {
		for _, c := range slices.Sorted(maps.Keys(l.Openings)) {
			if l.Openings[c].Tag == contracts.TagMovement {
				delete(l.Openings, c)
				break
			}
		}
		return 0
	}, want: []finding{{evidence.CheckOpenings, "entries.bin: entry ", "no entry records its erasure"}}},

	{name: "another opening's erasure is shown", edit: func(l *evidencetest.Ledger) int {
		w, _ := honest()
		delete(l.Openings, w.Prepaid.Offer.Terms)
		exec := w.Market.Exec
		w.Market.Exec = l
		defer func() { w.Market.Exec = exec }()
		if err := w.Market.Do(w.Market.Venue.ID, "erasure.record", contracts.ErasureRecord{Commitments: []contracts.Hash{w.Postpaid.Offer.Terms}, Reason: "x"}, nil, w.Market.Venue.Maker); err != nil {
			panic(err)
		}
		return 0
	}, want: []finding{{evidence.CheckOpenings, "entries.bin: entry ", "no entry records its erasure"}}},

	{name: "two openings change places", edit: func(l *evidencetest.Ledger) int { return 0 }, files: editFile(evidence.OpeningsFile, func(b []byte) []byte {
		n := 4 + int(b[0])<<24 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
		m := n + 4 + int(b[n])<<24 + int(b[n+1])<<16 + int(b[n+2])<<8 + int(b[n+3])
		return slices.Concat(b[n:m], b[:n], b[m:])
	}), want: []finding{{evidence.CheckOpenings, "openings.bin: opening 1: commitment", "out of order"}}},

	{name: "no witness", witnesses: -1, edit: func(l *evidencetest.Ledger) int { return 0 }, want: []finding{{evidence.CheckWitnesses, "checkpoint: signatures", "lone operator"}}},

	{name: "a forged cosignature", edit: func(l *evidencetest.Ledger) int { return 0 }, files: editFile(evidence.CheckpointFile, func(b []byte) []byte {
		i := bytes.LastIndexByte(b, ' ') + 20
		b[i] = "AB"[b2i(b[i] == 'A')]
		return b
	}), want: []finding{{evidence.CheckTree, "checkpoint: signatures", ""}}},

	{name: "a cosignature of a namesake", edit: func(l *evidencetest.Ledger) int {
		other, err := evidencetest.NewKeys(l.ID)
		if err != nil {
			panic(err)
		}
		k := *l.Keys
		k.Witnesses = other.Witnesses
		l.Keys = &k
		return 0
	}, want: []finding{{evidence.CheckWitnesses, "checkpoint: signatures", "trust root doesn't name"}}},

	{name: "one witness twice", edit: func(l *evidencetest.Ledger) int {
		k := *l.Keys
		k.Witnesses = append(slices.Clone(k.Witnesses[:2]), k.Witnesses[0])
		l.Keys = &k
		return 0
	}, want: []finding{{evidence.CheckWitnesses, "checkpoint: signatures", "twice"}}},

	{name: "a head of another log", edit: func(l *evidencetest.Ledger) int { return 0 }, files: func(t *testing.T, l *evidencetest.Ledger, dir string) {
		other, err := evidencetest.New("bund.test/other")
		if err != nil {
			t.Fatal(err)
		}
		other.Entries = l.Entries
		cp, err := other.Checkpoint(3)
		if err != nil {
			t.Fatal(err)
		}
		editFile(evidence.CheckpointFile, func([]byte) []byte { return cp })(t, l, dir)
	}, want: []finding{{evidence.CheckTree, "checkpoint: signatures", ""}}},

	{name: "a head of less", edit: func(l *evidencetest.Ledger) int { return 0 }, files: func(t *testing.T, l *evidencetest.Ledger, dir string) {
		less := l.Clone()
		less.Entries = less.Entries[:5]
		cp, err := less.Checkpoint(3)
		if err != nil {
			t.Fatal(err)
		}
		editFile(evidence.CheckpointFile, func([]byte) []byte { return cp })(t, l, dir)
	}, want: []finding{{evidence.CheckTree, "checkpoint: size", "the head is of 5 entries"}}},

	{name: "a head of other entries", edit: func(l *evidencetest.Ledger) int { return 0 }, files: func(t *testing.T, l *evidencetest.Ledger, dir string) {
		other := l.Clone()
		other.Entries[5].Audience = append(other.Entries[5].Audience, "ffffffffffffffffffffffffffffffff")
		cp, err := other.Checkpoint(3)
		if err != nil {
			t.Fatal(err)
		}
		editFile(evidence.CheckpointFile, func([]byte) []byte { return cp })(t, l, dir)
	}, want: []finding{{evidence.CheckTree, "checkpoint: root", ""}}},

	{name: "a file is missing", edit: func(l *evidencetest.Ledger) int { return 0 }, files: func(t *testing.T, l *evidencetest.Ledger, dir string) {
		os.Remove(filepath.Join(dir, evidence.CheckpointFile))
	}, want: []finding{{evidence.CheckFiles, "checkpoint: name", "missing"}, {evidence.CheckTree, "checkpoint: signatures", ""}}},

	{name: "a file too many", edit: func(l *evidencetest.Ledger) int { return 0 }, files: func(t *testing.T, l *evidencetest.Ledger, dir string) {
		if err := os.WriteFile(filepath.Join(dir, "readme"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}, want: []finding{{evidence.CheckFiles, "readme: name", "doesn't know"}}},

	{name: "a manifest of another ledger", edit: func(l *evidencetest.Ledger) int { return 0 }, files: func(t *testing.T, l *evidencetest.Ledger, dir string) {
		if err := l.Resign(dir, func(m *evidence.Manifest) { m.Ledger = "bund.test/other" }); err != nil {
			t.Fatal(err)
		}
	}, want: []finding{{evidence.CheckManifest, "manifest: ledger", ""}}},

	{name: "a manifest with other numbers", edit: func(l *evidencetest.Ledger) int { return 0 }, files: func(t *testing.T, l *evidencetest.Ledger, dir string) {
		if err := l.Resign(dir, func(m *evidence.Manifest) { m.Entries, m.Openings = m.Entries+1, m.Openings+1 }); err != nil {
			t.Fatal(err)
		}
	}, want: []finding{{evidence.CheckEntries, "entries.bin: count", ""}, {evidence.CheckOpenings, "openings.bin: offset ", ""}}},

	{name: "a manifest of another key", edit: func(l *evidencetest.Ledger) int { return 0 }, files: func(t *testing.T, l *evidencetest.Ledger, dir string) {
		k, err := evidencetest.NewKeys(l.ID)
		if err != nil {
			t.Fatal(err)
		}
		x := *l
		x.Keys = k
		if err := x.Resign(dir, nil); err != nil {
			t.Fatal(err)
		}
	}, want: []finding{{evidence.CheckManifest, "manifest: signature", ""}}},

	{name: "entries end in the middle", edit: func(l *evidencetest.Ledger) int { return 0 }, files: editFile(evidence.EntriesFile, func(b []byte) []byte { return b[:len(b)-7] }),
		want: []finding{{evidence.CheckEntries, "entries.bin: offset ", "length"}, {evidence.CheckTree, "checkpoint: size", ""}}},
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestTampering(t *testing.T) {
	for _, x := range tampers {
		t.Run(x.name, func(t *testing.T) {
			l := trade(t).Ledger
			if x.rules != nil {
				fresh, err := evidencetest.New(ledgerID)
				if err != nil {
					t.Fatal(err)
				}
				fresh.Apply = x.rules
				if _, err := evidencetest.NewTrade(fresh); err != nil {
					t.Fatal(err)
				}
				l = fresh
			}
			trusted := l
			l = l.Clone()
			p := x.edit(l)
			n := 3
			if x.witnesses != 0 {
				n = max(0, x.witnesses)
			}
			cp, err := l.Checkpoint(n)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "export")
			if err := l.ExportWith(dir, !x.closed, cp); err != nil {
				t.Fatal(err)
			}
			if x.files != nil {
				x.files(t, l, dir)
			}
			var options []func(*evidence.Config)
			if x.options != nil {
				options = append(options, x.options(t))
			}
			r := audit(t, dir, trusted, options...)
			if r.OK() {
				t.Error("not found")
			}
			for _, f := range x.want {
				c := r.Check(f.check)
				where := strings.ReplaceAll(f.where, "%p", strconv.Itoa(p))
				if c.Verdict != evidence.Failed || !strings.HasPrefix(c.Where, where) || !strings.Contains(c.Detail, f.detail) || c.DetailZh == "" {
					t.Errorf("%s: %s at %q: %s; want failed at %q: %s", f.check, c.Verdict, c.Where, c.Detail, where, f.detail)
				}
			}
			for _, c := range r.Checks {
				if c.Verdict == evidence.Failed && strings.Count(c.Where, ": ") == 0 {
					t.Errorf("%s fails without a field: %q", c.Name, c.Where)
				}
			}
			if t.Failed() {
				show(t, r)
			}
		})
	}
}
