package gate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/contracts/signing"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/node/gate"
)

// stops are what the market does to stop a use, by the code that the gate then answers.
var stops = []struct {
	name string
	code contracts.Code
	do   func(w *world)
}{
	{"freeze of the agreement", "freeze.frozen", func(w *world) { w.freeze(w.deal.Agreement) }},
	{"freeze of the product", "freeze.frozen", func(w *world) { w.freeze(w.listing.Product) }},
	{"freeze of the provider", "freeze.frozen", func(w *world) { w.freeze(w.Provider.ID) }},
	{"freeze of the bank", "freeze.frozen", func(w *world) { w.freeze(w.Buyer.ID) }},
	{"suspended bank", "member.not_active", func(w *world) { w.suspend(w.Buyer) }},
	{"suspended provider", "member.not_active", func(w *world) { w.suspend(w.Provider) }},
	{"retired node", "node.retired", func(w *world) {
		w.do(w.Provider, "node.retire", contracts.NodeRetire{Node: w.Provider.Node}, w.Provider.Admin)
	}},
	{"suspended grant", "grant.state", func(w *world) { w.turn("grant.suspend", w.Provider.Maker) }},
	{"revoked grant", "grant.state", func(w *world) { w.turn("grant.revoke", w.Provider.Two()...) }},
	{"terminated agreement", "grant.state", func(w *world) {
		must(w.t, w.Do(w.Buyer.ID, "agreement.terminate", contracts.AgreementTerminate{Agreement: w.deal.Agreement, Effective: w.Now, Reason: "over"}, nil,
			append(w.Buyer.Two(), w.Provider.Two()...)...))
	}},
	{"payment hold", "grant.payment_hold", (*world).hold},
	{"suspended product", "version.state", func(w *world) {
		w.do(w.Venue, "product.suspend", contracts.VersionTurn{Version: w.listing.Version, Reason: "complaints"}, w.Venue.Two()...)
	}},
	{"withdrawn source authorisation", "authorization.withdrawn", func(w *world) {
		w.do(w.Authority, "authority.withdraw", contracts.AuthorityWithdraw{Authorization: w.listing.Facts.Authorization, Reason: "policy"}, w.Authority.Maker)
	}},
	{"revoked consent", "consent.revoked", func(w *world) {
		w.do(w.Buyer, "consent.revoke", contracts.ConsentRevoke{Consent: w.consent}, w.Buyer.Machine)
	}},
}

func (w *world) freeze(target contracts.ID) {
	w.do(w.Regulator, "freeze.order", contracts.FreezeOrder{Target: target, Order: contracts.HashOf("test/order"), Reason: "test"}, w.Regulator.Two()...)
}

func (w *world) suspend(a *contractstest.Actor) {
	w.do(w.Venue, "member.suspend", contracts.MemberTurn{Subject: a.ID, Reason: "test"}, w.Venue.Two()...)
}

func (w *world) turn(kind string, keys ...signing.Key) {
	w.do(w.Provider, kind, contracts.GrantTurn{Agreement: w.deal.Agreement, Reason: "test"}, keys...)
}

// hold uses the escrow and its grace up, is warned, and is held.
func (w *world) hold() {
	must(w.t, w.Report(w.deal, 1, false, 13_000, contracts.Totals{Calls: 13_000, Units: 13_000, Micro: 13_000 * 800_000}))
	opens := []contracts.Opening{w.deal.Opening, *w.deal.Totals, *w.deal.Escrow}
	must(w.t, w.Do(w.Venue.ID, "grant.warn", contracts.GrantWarn{Agreement: w.deal.Agreement, Percent: 95}, opens, w.Venue.Machine))
	must(w.t, w.Do(w.Venue.ID, "grant.hold", contracts.GrantHold{Agreement: w.deal.Agreement}, opens, w.Venue.Machine))
}

func TestStops(t *testing.T) {
	t.Parallel()
	for _, s := range stops {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.want("")
			s.do(w)
			w.want("") // nobody has told the node
			w.announce()
			w.want(s.code) // at once, ahead of any checkpoint
			w.follow()
			w.want(s.code)
		})
	}
}

// What is announced starts nothing: not a lifted freeze, not a consent, not a resumed grant.
func TestAnnouncementsStartNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after func(w *world)
		code          contracts.Code
	}{
		"lifted freeze": {func(w *world) { w.freeze(w.Buyer.ID) }, func(w *world) {
			w.do(w.Regulator, "freeze.lift", contracts.FreezeOrder{Target: w.Buyer.ID, Order: contracts.HashOf("test/lift"), Reason: "test"}, w.Regulator.Two()...)
		}, "freeze.frozen"},
		"resumed grant": {func(w *world) { w.turn("grant.suspend", w.Provider.Maker) }, func(w *world) { w.turn("grant.resume", w.Provider.Maker) }, "grant.state"},
		"new consent": {func(w *world) {}, func(w *world) {
			var err error
			w.consent, w.key, err = w.Consent(w.listing, subject, policy.PreLoan)
			must(w.t, err)
			w.req.Consent, w.req.ConsentKey = w.consent, w.key[:]
		}, "consent.missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.before(w)
			w.follow()
			c.after(w)
			w.want(c.code)
			w.announce()
			w.want(c.code)
			w.follow()
			w.want("")
		})
	}
}

// An announcement may come twice, out of order, or late; the latest position holds.
func TestAnnouncementOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := w.ledger.Status().Size
	w.freeze(w.Buyer.ID)
	frozen := w.pure.Applied[w.written].Result.Writes
	w.do(w.Regulator, "freeze.lift", contracts.FreezeOrder{Target: w.Buyer.ID, Order: contracts.HashOf("test/lift"), Reason: "test"}, w.Regulator.Two()...)
	lifted := w.pure.Applied[w.written+1].Result.Writes
	e := w.gate.Early
	e.Announce(&ledger.Entry{Position: at + 1, Writes: lifted})
	e.Announce(&ledger.Entry{Position: at, Writes: frozen})
	w.want("")
	e.Followed(at + 2)
	e.Announce(&ledger.Entry{Position: at + 2, Writes: frozen})
	e.Announce(&ledger.Entry{Position: at + 2, Writes: frozen})
	w.want("freeze.frozen")
	e.Followed(at + 2)
	w.want("freeze.frozen")
	e.Followed(at + 3)
	w.want("")
}

// TestRefusals are those that lie in the call, or in a state that commands lead to only in part.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want("")
	grant := contracts.KeyGrant(w.deal.Agreement)
	was, ok := w.ledger.Get(grant)
	if !ok {
		t.Fatal("no grant")
	}
	call, from, agreement := w.req, w.from, w.deal.Agreement
	for _, c := range []struct {
		name string
		code contracts.Code
		set  func()
	}{
		{"unknown agreement", "grant.unknown", func() { w.deal.Agreement = w.Buyer.ID }},
		{"another member's grant", "grant.unknown", func() { w.from.Member = w.LawFirm.ID }},
		{"another node", "grant.node", func() { w.gate.Node = w.Buyer.Node }},
		{"another purpose", "policy.purpose", func() { w.req.Purpose = policy.PostLoan }},
		{"another operation", "policy.operation", func() { w.req.Operation = policy.Verify }},
		{"another field", "policy.field", func() { w.req.Fields = []string{"invoiced_12m", "legal_rep"} }},
		{"another place", "policy.region", func() { w.from.Region = "US" }},
		{"no place", "policy.region", func() { w.from.Region = "" }},
		{"no consent", "consent.missing", func() { w.req.Consent, w.req.ConsentKey = "", nil }},
		{"a consent that isn't there", "consent.missing", func() { w.req.Consent = w.Buyer.ID }},
		{"another subject", "consent.subject", func() { w.req.Subject = contracts.SyntheticCreditCode(8) }},
		{"another consent's key", "consent.subject", func() { k := w.Random(); w.req.ConsentKey = k[:] }},
	} {
		c.set()
		if got := w.code(); got != c.code {
			t.Errorf("%s: got %q, want %q", c.name, got, c.code)
		}
		w.req, w.from, w.deal.Agreement, w.gate.Node, w.calls = call, from, agreement, w.Provider.Node, 0
		w.req.ConsentKey = w.key[:]
	}

	version, auth, consent := contracts.KeyVersion(w.listing.Version), contracts.KeyAuthorization(w.listing.Facts.Authorization), contracts.KeyConsent(w.consent)
	for _, c := range []struct {
		name string
		code contracts.Code
		key  string
		set  func()
	}{
		{"before the window", "grant.window", grant, func() { edit(w, grant, func(g *contracts.Grant) { g.From = w.Now + 1 }) }},
		{"at its end", "grant.window", grant, func() { edit(w, grant, func(g *contracts.Grant) { g.To = w.Now }) }},
		{"pending", "grant.state", grant, func() { edit(w, grant, func(g *contracts.Grant) { g.State = contracts.GrantPending }) }},
		{"the version is gone", "version.unknown", version, func() { w.write(version, nil) }},
		{"the authorisation is gone", "authorization.unknown", auth, func() { w.write(auth, nil) }},
		{"another operator's authorisation", "authorization.foreign", auth, func() {
			edit(w, auth, func(a *contracts.SourceAuthorization) { a.Operator = w.LawFirm.ID })
		}},
		{"the authorisation's end", "authorization.term", auth, func() { edit(w, auth, func(a *contracts.SourceAuthorization) { a.To = w.Now }) }},
		{"before the policy's window", "policy.window", grant, func() {
			edit(w, grant, func(g *contracts.Grant) { g.Policy.NotBefore = int64(w.Now) + 1 })
		}},
		{"at the policy's end", "policy.window", grant, func() { edit(w, grant, func(g *contracts.Grant) { g.Policy.NotAfter = int64(w.Now) }) }},
		{"the policy's calls", "policy.quota", grant, func() {
			w.calls = 5
			edit(w, grant, func(g *contracts.Grant) { g.Policy.MaxCalls = 5 })
		}},
		{"a statistic that can't show consent", "consent.operation", grant, func() {
			w.req = gate.Request{Fields: w.req.Fields, Operation: policy.JointStatistics, Payload: []byte{1}, Purpose: w.req.Purpose}
			edit(w, grant, func(g *contracts.Grant) {
				g.Policy.Operations = []policy.Operation{policy.JointStatistics, policy.Query}
			})
		}},
		{"another bank's consent", "consent.foreign", consent, func() { edit(w, consent, func(c *contracts.Consent) { c.Buyer = w.LawFirm.ID }) }},
		{"another product's consent", "consent.foreign", consent, func() { edit(w, consent, func(c *contracts.Consent) { c.Product = w.LawFirm.ID }) }},
		{"another node's consent", "consent.node", consent, func() { edit(w, consent, func(c *contracts.Consent) { c.Node = w.Buyer.Node }) }},
		{"before the consent", "consent.term", consent, func() { edit(w, consent, func(c *contracts.Consent) { c.From = w.Now + 1 }) }},
		{"at the consent's end", "consent.term", consent, func() { edit(w, consent, func(c *contracts.Consent) { c.To = w.Now }) }},
		{"another purpose's consent", "consent.purpose", consent, func() { edit(w, consent, func(c *contracts.Consent) { c.Purpose = policy.QuotaReview }) }},
		{"a consent to less", "consent.field", consent, func() { edit(w, consent, func(c *contracts.Consent) { c.Fields = c.Fields[:1] }) }},
	} {
		before, ok := w.ledger.Get(c.key)
		if !ok {
			t.Fatalf("no %s", c.key)
		}
		c.set()
		if got := w.code(); got != c.code {
			t.Errorf("%s: got %q, want %q", c.name, got, c.code)
		}
		w.restore(c.key, before)
		w.req, w.calls = call, 0
		w.want("")
	}
	w.restore(grant, was)
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := string(w.req.Bytes())
	for name, body := range map[string]string{
		"empty": "", "not JSON": "{", "space": " " + good, "behind": good + "\n", "null": "null", "array": "[]",
		"unknown field": `{"a":"1",` + good[1:], "number": `{"asOf":1700000000000,` + good[1:], "no fields": `{"fields":[],"operation":"query","purpose":"pre_loan","subject":"91310115MA1K00007Q"}`,
		"unknown purpose":     `{"fields":["a"],"operation":"query","purpose":"any_use","subject":"91310115MA1K00007Q"}`,
		"unknown operation":   `{"fields":["a"],"operation":"copy","purpose":"pre_loan","subject":"91310115MA1K00007Q"}`,
		"a wrong credit code": `{"fields":["a"],"operation":"query","purpose":"pre_loan","subject":"91310115MA1K00007R"}`,
		"half a consent":      `{"consent":"00000000000000000000000000000001","fields":["a"],"operation":"query","purpose":"pre_loan","subject":"91310115MA1K00007Q"}`,
	} {
		_, err := w.gate.Admit(t.Context(), w.deal.Agreement, w.from, 0, []byte(body))
		var r *contracts.Refusal
		if !errors.As(err, &r) || r.Code != gate.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.log.Clock.Add(60 * time.Second)
	w.want("")
	w.log.Clock.Add(time.Second)
	w.want(gate.Stale)
	w.req.Purpose = policy.PostLoan
	w.want("policy.purpose") // a use that is refused anyway is refused for that
	w.req.Purpose = policy.PreLoan
	w.log.Publish() // the witnesses sign again
	must(t, w.ledger.RunOnce(t.Context()))
	w.want("")

	// One witness of three may be away, two may not.
	w.log.Witnesses[0].Down(true)
	w.log.Clock.Add(61 * time.Second)
	w.log.Publish()
	must(t, w.ledger.RunOnce(t.Context()))
	w.want("")
	w.log.Witnesses[1].Down(true)
	w.log.Clock.Add(61 * time.Second)
	w.log.Publish()
	must(t, w.ledger.RunOnce(t.Context()))
	w.want(gate.Stale)
}

// maxStaleSec 0: each call fetches a checkpoint cosigned in this very call, and is decided on that.
func TestFreshInEveryCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	edit(w, contracts.KeyGrant(w.deal.Agreement), func(g *contracts.Grant) { g.MaxStaleSec = 0 })
	w.log.Clock.Add(time.Hour)
	w.want("")
	w.do(w.Buyer, "consent.revoke", contracts.ConsentRevoke{Consent: w.consent}, w.Buyer.Machine)
	w.publish()
	w.want("consent.revoked") // the node had not followed it before
	w.follow()

	w2 := newWorld(t)
	edit(w2, contracts.KeyGrant(w2.deal.Agreement), func(g *contracts.Grant) { g.MaxStaleSec = 0 })
	w2.log.Witnesses[0].Down(true)
	w2.want("")
	w2.log.Witnesses[2].Down(true)
	w2.log.Clock.Add(time.Minute)
	w2.want(gate.Stale)
}

func TestWithheld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.freeze(w.Buyer.ID)
	w.log.Withhold(w.ledger.Status().Size, true)
	w.publish()
	if err := w.ledger.RunOnce(t.Context()); err == nil {
		t.Fatal("followed")
	}
	w.want(gate.Stopped)
	w.log.Withhold(w.ledger.Status().Size, false)
	must(t, w.ledger.RunOnce(t.Context()))
	w.want("freeze.frozen")
}

// moving is a follower whose state moves on while its freshness is asked.
type moving struct {
	gate.Follower
	during func()
}

func (m *moving) Fresh(ctx context.Context, maxStale time.Duration) error {
	if m.during != nil {
		m.during()
		m.during = nil
	}
	return m.Follower.Fresh(ctx, maxStale)
}

// A state that was too old when the call was decided on doesn't become good because a newer one is fresh.
func TestDecidedOnFreshState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.log.Clock.Add(time.Hour)
	w.do(w.Buyer, "consent.revoke", contracts.ConsentRevoke{Consent: w.consent}, w.Buyer.Machine)
	w.gate.Follower = &moving{w.gate.Follower, w.follow}
	w.want("consent.revoked")

	// The newer state may ask for more than was found.
	w = newWorld(t)
	w.log.Clock.Add(30 * time.Second)
	w.gate.Follower = &moving{w.gate.Follower, func() {
		for _, x := range w.log.Witnesses {
			x.Down(true)
		}
		edit(w, contracts.KeyGrant(w.deal.Agreement), func(g *contracts.Grant) { g.MaxStaleSec = 10 })
	}}
	w.want(gate.Stale)
}

type broken struct{ gate.Follower }

var errBroken = errors.New("disk on fire")

func (broken) Read(func(contracts.State) error) (uint64, error) { return 0, errBroken }

// A failure is no refusal.
func TestFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gate.Follower = broken{w.gate.Follower}
	var r *contracts.Refusal
	if _, err := w.admit(); !errors.Is(err, errBroken) || errors.As(err, &r) {
		t.Fatalf("got %v", err)
	}
}

func TestConsentLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 10 {
		p, err := w.admit()
		must(t, err)
		u, err := p.Hold()
		must(t, err)
		if i%2 == 0 {
			u.Release() // brought no answer: takes nothing
			u, err = p.Hold()
			must(t, err)
		}
		must(t, u.Keep())
	}
	p, err := w.admit()
	must(t, err)
	var r *contracts.Refusal
	if _, err := p.Hold(); !errors.As(err, &r) || r.Code != gate.UsedUp {
		t.Fatalf("the eleventh: %v", err)
	}
	// Without a consent there is nothing to count.
	edit(w, contracts.KeyGrant(w.deal.Agreement), func(g *contracts.Grant) { g.ConsentRequired, g.Policy.ConsentRequired = false, false })
	w.req.Consent, w.req.ConsentKey = "", nil
	p, err = w.admit()
	must(t, err)
	u, err := p.Hold()
	must(t, err)
	must(t, u.Keep())
	u.Release()
}

// Each operation takes its own parts, and nothing else.
func TestRequestParts(t *testing.T) {
	key := make([]byte, 32)
	id := contracts.ID("00000000000000000000000000000001")
	query := gate.Request{Fields: []string{"a"}, Operation: policy.Query, Purpose: policy.PreLoan, Subject: subject}
	lookup := gate.Request{Epoch: 1, Fields: []string{"a"}, Operation: policy.ConsentLookup, Payload: key, Purpose: policy.PreLoan, Units: 2}
	score := gate.Request{Fields: []string{"a"}, Model: id, Operation: policy.JointScore, Purpose: policy.PreLoan, Units: 2,
		Subjects: []gate.Subject{{Code: subject}, {Code: contracts.SyntheticCreditCode(9)}}}
	psi := gate.Request{Fields: []string{}, Operation: policy.PSI, Payload: key, Purpose: policy.PreLoan, Units: 1000}
	file := gate.Request{Fields: []string{"a"}, Operation: policy.File, Payload: key, Purpose: policy.PreLoan}
	for _, r := range []gate.Request{query, lookup, score, psi, file} {
		if _, err := gate.ParseRequest(r.Bytes()); err != nil {
			t.Errorf("%s: %v", r.Operation, err)
		}
	}
	for name, edit := range map[string]func() gate.Request{
		"a query without subject":      func() gate.Request { r := query; r.Subject = ""; return r },
		"a query with a payload":       func() gate.Request { r := query; r.Payload = key; return r },
		"a query with units":           func() gate.Request { r := query; r.Units = 1; return r },
		"a query with a model":         func() gate.Request { r := query; r.Model = id; return r },
		"a query of an epoch":          func() gate.Request { r := query; r.Epoch = 1; return r },
		"a query without fields":       func() gate.Request { r := query; r.Fields = nil; return r },
		"half a consent":               func() gate.Request { r := query; r.Consent = id; return r },
		"a lookup with a subject":      func() gate.Request { r := lookup; r.Subject = subject; return r },
		"a lookup with a consent":      func() gate.Request { r := lookup; r.Consent, r.ConsentKey = id, key; return r },
		"a lookup without elements":    func() gate.Request { r := lookup; r.Payload = nil; return r },
		"a lookup without epoch":       func() gate.Request { r := lookup; r.Epoch = 0; return r },
		"a lookup of a negative epoch": func() gate.Request { r := lookup; r.Epoch = -1; return r },
		"negative units":               func() gate.Request { r := lookup; r.Units = -1; return r },
		"a score without model":        func() gate.Request { r := score; r.Model = ""; return r },
		"a score of nobody":            func() gate.Request { r := score; r.Subjects, r.Units = nil, 0; return r },
		"a score that pays for fewer":  func() gate.Request { r := score; r.Units = 1; return r },
		"a score of one twice":         func() gate.Request { r := score; r.Subjects = []gate.Subject{r.Subjects[0], r.Subjects[0]}; return r },
		"a score with half a consent": func() gate.Request {
			r := score
			r.Subjects = []gate.Subject{{Code: subject, Consent: id}}
			r.Units = 1
			return r
		},
		"a score with a short consent key": func() gate.Request {
			r := score
			r.Subjects = []gate.Subject{{Code: subject, Consent: id, ConsentKey: key[:31]}}
			r.Units = 1
			return r
		},
		"a file for no key":             func() gate.Request { r := file; r.Payload = nil; return r },
		"an intersection with subjects": func() gate.Request { r := psi; r.Subjects = score.Subjects; return r },
	} {
		if _, err := gate.ParseRequest(edit().Bytes()); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	key := make([]byte, 32)
	for _, r := range []gate.Request{
		{Fields: []string{"tax_score"}, Operation: policy.Query, Purpose: policy.PreLoan, Subject: subject},
		{AsOf: 1700000000000, KnownAt: 1700000000001, Consent: "00000000000000000000000000000001", ConsentKey: key, Fields: []string{"a", "b"}, Operation: policy.Verify,
			Purpose: policy.Evaluation, Subject: subject},
		{Epoch: 1, Fields: []string{"a"}, Operation: policy.PrivateLookup, Payload: key, Purpose: policy.PreLoan, Units: 100},
		{Fields: []string{"a"}, Model: "00000000000000000000000000000002", Operation: policy.JointScore, Purpose: policy.PreLoan, Units: 1,
			Subjects: []gate.Subject{{Code: subject, Consent: "00000000000000000000000000000001", ConsentKey: key}}},
		{Fields: []string{}, Operation: policy.PSI, Payload: key, Purpose: policy.PreLoan},
	} {
		f.Add(r.Bytes())
	}
	f.Add([]byte(`{"fields":["a","a"],"operation":"query","purpose":"pre_loan","subject":"91310115MA1K00007Q","subject":"91310115MA1K00007Q"}`))
	f.Add([]byte(`{"Fields":["a"],"operation":"query","purpose":"pre_loan","subject":"91310115MA1K00007Q"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := gate.ParseRequest(b)
		if err != nil {
			return
		}
		if string(r.Bytes()) != string(b) {
			t.Fatalf("%s reads as %s", b, r.Bytes())
		}
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
