package ledger_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/embedded"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/follow/followtest"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
	"github.com/bund-exchange/bund/ledger/witness/witnesstest"
)

const walkID = "bund.test/walk"

// walkTime is everybody's wall clock: after all that the scripted ledger will say.
var walkTime = time.UnixMilli(int64(contractstest.Start)).Add(90 * 24 * time.Hour)

func wall() time.Time { return walkTime }

// shelf keeps openings, as the market's database does.
type shelf struct {
	mu   sync.Mutex
	kept map[contracts.Hash]contracts.KeptOpening
}

func (s *shelf) Put(_ context.Context, os []ledger.Opening) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range os {
		s.kept[o.Commitment] = o.KeptOpening
	}
	return nil
}

// walk is a market in one process: the embedded ledger, its publisher, two witnesses, the server in front, and the
// follower of the provider's node.
type walk struct {
	t      *testing.T
	dir    string
	key    ed25519.PrivateKey
	signer note.Signer
	logKey string

	openings  *shelf
	witnesses []*witnesstest.Server
	front     *httptest.Server
	trust     follow.TrustRoot

	mu      sync.Mutex
	l       *embedded.Ledger
	p       *publish.Publisher
	handler http.Handler
	f       *follow.Follower

	m     *contractstest.Market
	state map[string][]byte // from write sets, up to read
	read  uint64
	last  *ledger.Receipt
}

func newWalk(t *testing.T) *walk {
	w := &walk{t: t, dir: t.TempDir(), openings: &shelf{kept: map[contracts.Hash]contracts.KeptOpening{}}, state: map[string][]byte{}}
	var err error
	if _, w.key, err = ed25519.GenerateKey(nil); err != nil {
		t.Fatal(err)
	}
	w.signer, w.logKey = publishtest.Key(t, walkID)
	w.trust = follow.TrustRoot{Format: follow.TrustRootFormat, Ledger: walkID, LogKey: w.logKey, Quorum: 2}
	for _, name := range []string{"regulator.example", "bank.example"} {
		s := witnesstest.Start(t, name, w.logKey, wall)
		w.witnesses = append(w.witnesses, s)
		w.trust.Witnesses = append(w.trust.Witnesses, s.Key)
	}
	w.front = httptest.NewServer(w)
	t.Cleanup(w.front.Close)
	w.m = contractstest.NewMarket(walkID, w, 5)
	w.open()
	t.Cleanup(func() { w.stop(false) })
	return w
}

func (w *walk) publishing() publish.Config {
	c := publish.Config{Dir: filepath.Join(w.dir, "tlog"), Ledger: walkID, Signer: w.signer, LogKey: w.logKey, Quorum: 2, Now: wall, Log: followtest.Quiet()}
	for _, s := range w.witnesses {
		c.Witnesses = append(c.Witnesses, publish.Witness{URL: s.URL, Key: s.Key})
	}
	return c
}

// open starts ledger and publisher from what is on the disk.
func (w *walk) open() {
	w.t.Helper()
	known, err := publish.Ask(w.t.Context(), w.publishing())
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := embedded.Open(embedded.Config{Dir: filepath.Join(w.dir, "ledger"), LedgerID: walkID, Key: w.key, AtLeast: known.Size, Openings: w.openings, Now: wall, Log: followtest.Quiet()})
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := publish.Open(w.t.Context(), w.publishing(), l)
	if err != nil {
		w.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	mux.Handle("/entries", p.EntriesHandler(publish.Audience{
		Caller:  func(r *http.Request) (contracts.ID, error) { return contracts.ID(r.Header.Get("Member")), nil },
		MayRead: publish.InAudience,
	}))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.l, w.p, w.handler = l, p, mux
}

// stop ends everything; kill leaves the state store as far behind as it is.
func (w *walk) stop(kill bool) {
	w.t.Helper()
	if w.f != nil {
		if err := w.f.Close(); err != nil {
			w.t.Error(err)
		}
		w.f = nil
	}
	end := w.l.Close
	if kill {
		end = w.l.Abort
	}
	if err := errors.Join(w.p.Close(), end()); err != nil {
		w.t.Error(err)
	}
}

// kill ends the market in the middle and opens it again.
func (w *walk) kill() {
	w.t.Helper()
	before, err := w.l.Height(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.stop(true)
	w.open()
	if after, err := w.l.Height(w.t.Context()); err != nil || after != before {
		w.t.Fatalf("killed at %d, opened at %d: %v", before, after, err)
	}
}

func (w *walk) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	h := w.handler
	w.mu.Unlock()
	h.ServeHTTP(rw, r)
}

// Submit implements contractstest.Executor. Every accepted command is sent a second time and gets the same answer.
func (w *walk) Submit(ctx context.Context, sub contracts.Submission) error {
	r, err := w.l.Submit(ctx, sub)
	if err != nil {
		return err
	}
	again, err := w.l.Submit(ctx, sub)
	if err != nil || !again.Repeated || again.Hash != r.Hash || again.Position != r.Position {
		return errors.Join(errors.New("the same bytes got another answer"), err)
	}
	w.last = r
	return r.Verify(w.key.Public().(ed25519.PublicKey), walkID)
}

// Get gives the market's state from the write sets.
func (w *walk) Get(key string) ([]byte, error) {
	for {
		es, err := w.l.Entries(context.Background(), w.read, 1000)
		if err != nil {
			return nil, err
		}
		if len(es) == 0 {
			return w.state[key], nil
		}
		for _, e := range es {
			for _, x := range e.Writes {
				w.state[x.Key] = x.Value
			}
			w.read++
		}
	}
}

// follow brings the published log and the provider's follower up, as its own process would.
func (w *walk) follow() *follow.Follower {
	w.t.Helper()
	if err := w.p.RunOnce(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if w.f == nil {
		es, err := w.l.Entries(w.t.Context(), 0, 1)
		if err != nil || len(es) != 1 {
			w.t.Fatal("no genesis", err)
		}
		w.trust.Genesis = contracts.Hash(hex.EncodeToString(es[0].Hash[:]))
		w.f, err = follow.Open(follow.Config{Path: filepath.Join(w.dir, "provider.state"), Trust: w.trust, URL: w.front.URL, Me: w.m.Provider.ID, Now: wall,
			Log: followtest.Quiet(), HTTP: &http.Client{Transport: asMember{w.m.Provider.ID}}})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.f.RunOnce(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if h, _ := w.l.Height(w.t.Context()); w.f.Status().Size != h {
		w.t.Fatalf("followed %d of %d", w.f.Status().Size, h)
	}
	return w.f
}

func httpAs(id contracts.ID) *http.Client { return &http.Client{Transport: asMember{id}} }

type asMember struct{ id contracts.ID }

func (a asMember) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Member", string(a.id))
	return http.DefaultTransport.RoundTrip(r)
}

// may asks the gate's question of what the provider's node has followed itself.
func (w *walk) may(u contracts.Use) error {
	f := w.follow()
	if err := f.MayStart(wall(), time.Minute); err != nil {
		return err
	}
	var err error
	f.View(func(v follow.View) { _, _, err = contracts.MayUse(v.Rules(), w.m.Now, u) })
	return err
}

// export writes the ledger up to the published head, as the market's supervision does.
func (w *walk) export(openings bool) string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "export")
	head, ok := w.p.Head()
	if !ok {
		w.t.Fatal("nothing is published")
	}
	x, err := evidence.Create(dir, evidence.Manifest{Ledger: walkID, Requester: string(w.m.Regulator.ID), Reason: "年度检查", Made: contracts.Millis(wall().UnixMilli())}, w.signer)
	if err != nil {
		w.t.Fatal(err)
	}
	for at := uint64(0); at < head.Size; {
		es, err := w.l.Entries(w.t.Context(), at, int(min(head.Size-at, 7)))
		if err != nil || len(es) == 0 {
			w.t.Fatal(err)
		}
		for _, e := range es {
			if err := x.Entry(e.Encoded); err != nil {
				w.t.Fatal(err)
			}
		}
		at += uint64(len(es))
	}
	if openings {
		for _, c := range slices.Sorted(maps.Keys(w.openings.kept)) {
			if err := x.Opening(w.openings.kept[c]); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if err := x.Close(head.Signed); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// TestWalk is the thin walk through the whole ledger in one process: admit, list, agree, pay, one call's receipt,
// report, close, settle, certify; killed and opened again in the middle, twice; then everything is exported and audited by
// somebody who has only the trust root.
func TestWalk(t *testing.T) {
	w := newWalk(t)
	m := w.m
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.Begin())
	auth, err := m.Authorize()
	must(err)
	l, err := m.List(m.Facts(auth))
	must(err)
	w.follow()
	early, _ := w.p.Head()

	d, err := m.Agree(l, contracts.Trade, contractstest.Policy(policy.PreLoan), contractstest.Terms())
	must(err)
	must(m.Deposit(d, 1_000_000))
	w.kill()
	must(m.Activate(d))
	const code contracts.CreditCode = "91310115MA1K00007Q"
	consent, consentKey, err := m.Consent(l, code, policy.PreLoan)
	must(err)

	// The provider's node decides by what it has followed: this call is allowed, others aren't.
	use := contracts.Use{Agreement: d.Agreement, Peer: m.Buyer.ID, Node: m.Provider.Node, Operation: policy.Query, Purpose: policy.PreLoan,
		Fields: contractstest.Fields[:1], Region: "CN-31", Consent: consent, Subject: contracts.Subject(consentKey, code)}
	must(w.may(use))
	stranger := use
	stranger.Peer = m.Custodian.ID
	for name, u := range map[string]contracts.Use{"grant.unknown": stranger, "consent.missing": func() contracts.Use { u := use; u.Consent = ""; return u }()} {
		var r *contracts.Refusal
		if err := w.may(u); !errors.As(err, &r) || string(r.Code) != name {
			t.Errorf("want %s, got %v", name, err)
		}
	}
	must(m.Do(m.Regulator.ID, "freeze.order", contracts.FreezeOrder{Target: d.Agreement, Order: contracts.HashOf("test/order", []byte("1")), Reason: "inquiry"}, nil, m.Regulator.Two()...))
	var frozen *contracts.Refusal
	if err := w.may(use); !errors.As(err, &frozen) || frozen.Code != "freeze.frozen" {
		t.Errorf("frozen: %v", err)
	}
	must(m.Do(m.Regulator.ID, "freeze.lift", contracts.FreezeOrder{Target: d.Agreement, Order: contracts.HashOf("test/order", []byte("2")), Reason: "done"}, nil, m.Regulator.Two()...))
	must(w.may(use))

	// One call at ¥0.80, signed by both receipt keys, and the period's CLOSE leaf.
	must(m.Report(d, 1, false, 1, contracts.Totals{Calls: 1, Units: 1, Micro: 800_000}))
	must(m.Do(m.Venue.ID, "period.close", contracts.PeriodClose{Agreement: d.Agreement, Number: 1, Month: contracts.PeriodOf(m.Now)}, nil, m.Venue.Machine))
	must(m.Report(d, 1, true, 2, contracts.Totals{Calls: 1, Units: 1, Micro: 800_000}))
	w.kill()
	must(m.Do(m.Buyer.ID, "acceptance.record", contracts.AcceptanceRecord{Agreement: d.Agreement, Period: 1, Report: contracts.HashOf("test/acceptance")}, nil, m.Buyer.Two()...))
	// 80 fen and the month's 300,000; 1 % from the buyer, 2 % from the provider.
	must(m.Settle(d, 1, 300_080+3_001))
	settlement := w.opened(contracts.KeySettlement(d.Agreement, 1))
	v, err := contracts.Read[contracts.SettlementValue](settlement.Value)
	must(err)
	if v.Usage != 80 || v.BuyerTotal != 303_081 || v.ProviderNet != 300_080-6_002 {
		t.Fatalf("settlement %+v", v)
	}
	must(m.Move("movement.payout", d, 1, v.ProviderNet, settlement))
	must(m.Do(m.Venue.ID, "certificate.issue", contracts.CertificateIssue{Agreement: d.Agreement, Period: 1}, nil, m.Venue.Two()...))
	promised := w.last.Promise
	w.follow()
	w.audit(early, promised)
	w.certificate(d, promised.Position)
}

// opened gives the opening that a settlement on the ledger commits to.
func (w *walk) opened(key string) contracts.Opening {
	w.t.Helper()
	b, err := w.Get(key)
	if err != nil || b == nil {
		w.t.Fatal("not on the ledger: ", key, err)
	}
	s, err := contracts.Read[contracts.Settlement](b)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.openings.kept[s.Value].Opening
}

func (w *walk) audit(early publish.Head, promised ledger.Promise) {
	t := w.t
	t.Helper()
	trust, err := evidence.TrustOf(w.trust)
	if err != nil {
		t.Fatal(err)
	}
	height, state, err := w.l.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	for _, openings := range []bool{true, false} {
		dir := w.export(openings)
		r, err := evidence.Audit(t.Context(), evidence.Config{Dir: dir, Trust: trust, Seen: [][]byte{early.Signed}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range r.Checks {
			partly := !openings && (c.Name == evidence.CheckRules || c.Name == evidence.CheckOpenings || c.Name == evidence.CheckMoney)
			if c.Verdict != evidence.Verified && !(partly && c.Verdict == evidence.NotCheckable) {
				t.Errorf("openings %v: %s is %s: %s: %s", openings, c.Name, c.Verdict, c.Where, c.Detail)
			}
		}
		if r.State != hex.EncodeToString(state[:]) || r.Check(evidence.CheckChain).Count != int(height) {
			t.Errorf("the auditor's state is %s, the ledger's %x", r.State, state)
		}
		// The operator kept its promise: the entry that it signed for is the one in the export.
		if err := evidence.EachEntry(dir, func(position uint64, b []byte) error {
			if position == promised.Position {
				return promised.Kept(b)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

// certificate takes one trade out of the market: proof files that verify by themselves.
func (w *walk) certificate(d *contractstest.Deal, position uint64) {
	t := w.t
	t.Helper()
	trust, err := evidence.TrustOf(w.trust)
	if err != nil {
		t.Fatal(err)
	}
	height, _ := w.l.Height(t.Context())
	es, err := evidence.TradeEntries(t.Context(), w.l, height, d.Agreement)
	if err != nil {
		t.Fatal(err)
	}
	names, err := evidence.WriteProofs(t.Context(), t.TempDir(), w.p, es)
	if err != nil {
		t.Fatal(err)
	}
	var all []*evidence.Proven
	var certificate *evidence.Proven
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := evidence.OpenProof(trust, b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, p)
		if p.Certificate() != nil {
			certificate = p
		}
	}
	if certificate == nil || certificate.Position != position {
		t.Fatalf("no certificate among %d proofs", len(names))
	}
	borne, err := evidence.CheckTrade(certificate, all)
	if err != nil || strings.Join(borne, " ") != "agreement report settlement" {
		t.Errorf("borne out: %v, %v", borne, err)
	}
}
