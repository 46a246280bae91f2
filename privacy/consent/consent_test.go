package consent

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/privacy/lookup"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(err error, code contracts.Code) bool {
	var r *contracts.Refusal
	return errors.As(err, &r) && r.Code == code
}

const now contracts.Millis = 1_774_000_000_000

func object(name string) contracts.ID {
	return contracts.ID(contracts.HashOf("test/object", []byte(name))[:32])
}

func company(n int) contracts.CreditCode { return contracts.SyntheticCreditCode(uint32(n)) }

// book is a store of nonces that counts how often it was asked.
type book struct {
	uses  map[[16]byte]contracts.Hash
	asked int
	fail  error
}

func (b *book) Spend(nonce [16]byte, use contracts.Hash, until contracts.Millis) (bool, error) {
	b.asked++
	if b.fail != nil {
		return false, b.fail
	}
	if until <= now {
		return false, errors.New("a nonce is to be kept until it has expired already")
	}
	was, spent := b.uses[nonce]
	if !spent {
		b.uses[nonce] = use
	}
	return !spent || was == use, nil
}

// scene is a bank, a consent service and a provider.
type scene struct {
	key     *lookup.EpochKey
	c       *lookup.Commitment
	service Service
	call    Call
	spent   *book
	revoked map[contracts.ID]bool
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{spent: &book{uses: map[[16]byte]contracts.Hash{}}, revoked: map[contracts.ID]bool{}}
	var err error
	s.key, err = lookup.NewEpochKey(3, now)
	ok(t, err)
	s.c = &lookup.Commitment{Dataset: contracts.HashOf("test/dataset"), Epoch: 3, PublicKey: s.key.Public(), Root: contracts.HashOf("test/root"), Rows: 9,
		Suite: contracts.LookupSuite, Version: object("version")}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	s.service = Service{Node: object("service"), Key: key}
	s.call = Call{Agreement: object("agreement"), Bank: object("bank"), Purpose: policy.PreLoan, Version: s.c.Version, Epoch: 3, Service: s.service.Node,
		Key: contracts.Ed25519Key(key.Public().(ed25519.PublicKey)), Use: contracts.HashOf("test/call")}
	return s
}

func (s *scene) binding() Binding {
	return Binding{Agreement: s.call.Agreement, Bank: s.call.Bank, Epoch: 3, Nonce: NewNonce(), NotAfter: now + 120_000, Purpose: policy.PreLoan, Service: s.service.Node, Version: s.c.Version}
}

func consentOf(n int) Held {
	return Held{object(fmt.Sprint("consent ", n)), contracts.HashOf("test/key", []byte{byte(n)}).Bytes()}
}

func (s *scene) query(t testing.TB, ns ...int) (*lookup.Query, []Held) {
	t.Helper()
	var ids [][]byte
	var held []Held
	for _, n := range ns {
		ids, held = append(ids, []byte(company(n))), append(held, consentOf(n))
	}
	q, err := lookup.NewQuery(s.c, ids)
	ok(t, err)
	return q, held
}

func (s *scene) apply(t testing.TB, b Binding, ns ...int) (*Application, *lookup.Query) {
	t.Helper()
	q, held := s.query(t, ns...)
	a, err := Apply(q, b, held)
	ok(t, err)
	a, err = ParseApplication(a.Bytes())
	ok(t, err)
	return a, q
}

func (s *scene) issue(t testing.TB, a *Application) (*Ticket, error) {
	t.Helper()
	return s.service.Issue(t.Context(), a, now, func(_ int, c *Claim) error {
		if s.revoked[c.Consent] {
			return &contracts.Refusal{Code: "consent.revoked", Detail: "the consent was revoked"}
		}
		return nil
	})
}

func (s *scene) ticket(t testing.TB, ns ...int) (*Ticket, *lookup.Query) {
	t.Helper()
	a, q := s.apply(t, s.binding(), ns...)
	x, err := s.issue(t, a)
	ok(t, err)
	return x, q
}

// TestConsentBoundLookup goes the whole way, for random companies.
func TestConsentBoundLookup(t *testing.T) {
	s := newScene(t)
	e, err := lookup.NewEvaluator(s.key, s.c)
	ok(t, err)
	rapid.Check(t, func(rt *rapid.T) {
		ns := rapid.SliceOfNDistinct(rapid.IntRange(0, 200), 1, 6, rapid.ID[int]).Draw(rt, "companies")
		issued, q := s.ticket(t, ns...)
		ticket, req, err := ParsePresentation(Present(issued, q.Request()))
		ok(t, err)
		s.call.Use = contracts.HashOf("test/call", ticket.Binding.Nonce[:])
		ok(t, ticket.Verify(req, s.call, now, s.spent))
		answer, err := e.Evaluate(t.Context(), req)
		ok(t, err)
		if _, err := q.Finalize(t.Context(), answer); err != nil {
			rt.Fatal(err)
		}
	})
}

// TestApplications refuses each claim whose proof is not of this company, this binding and this place.
func TestApplications(t *testing.T) {
	s := newScene(t)
	for name, edit := range map[string]func(*Binding){
		"agreement": func(b *Binding) { b.Agreement = object("another") }, "bank": func(b *Binding) { b.Bank = object("another") },
		"epoch": func(b *Binding) { b.Epoch++ }, "nonce": func(b *Binding) { b.Nonce = NewNonce() }, "notAfter": func(b *Binding) { b.NotAfter++ },
		"purpose": func(b *Binding) { b.Purpose = policy.PostLoan }, "table": func(b *Binding) { b.Table = contracts.HashOf("test/another") },
		"version": func(b *Binding) { b.Version = object("another") },
	} {
		a, _ := s.apply(t, s.binding(), 1, 2)
		edit(&a.Binding)
		if _, err := s.issue(t, a); !refused(err, BadProof) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	good := func() *Application { a, _ := s.apply(t, s.binding(), 1, 2, 3); return a }
	for name, edit := range map[string]func(a *Application){
		"another company":            func(a *Application) { a.Claims[1].Code = company(9) },
		"two companies exchanged":    func(a *Application) { a.Claims[0].Code, a.Claims[1].Code = a.Claims[1].Code, a.Claims[0].Code },
		"two points exchanged":       func(a *Application) { a.Claims[0].Point, a.Claims[1].Point = a.Claims[1].Point, a.Claims[0].Point },
		"two claims exchanged":       func(a *Application) { a.Claims[0], a.Claims[1] = a.Claims[1], a.Claims[0] },
		"a claim left out":           func(a *Application) { a.Claims = a.Claims[1:] },
		"another's proof":            func(a *Application) { a.Claims[0].Proof = a.Claims[1].Proof },
		"a proof of nothing":         func(a *Application) { a.Claims[0].Proof = [ProofBytes]byte{} },
		"a proof that's not reduced": func(a *Application) { a.Claims[0].Proof[ProofBytes-1] |= 0x80 },
	} {
		a := good()
		edit(a)
		_, err := s.issue(t, a)
		var r *contracts.Refusal
		if !refused(err, BadProof) || errors.As(err, &r) && !strings.HasPrefix(r.Field, "claims.") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, point := range map[string][32]byte{"the identity": {}, "not canonical": {0: 1}, "not reduced": [32]byte(bytes.Repeat([]byte{255}, 32))} {
		a := good()
		a.Claims[2].Point = point
		if _, err := s.issue(t, a); !refused(err, lookup.BadElement) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A point that hides two companies' sum, or one company twice over: nobody knows a blind by which it is the claimed one's.
	a, q := s.apply(t, s.binding(), 1, 2)
	_, r, _ := q.Secret(0)
	other, err := lookup.Point([]byte(company(2)))
	ok(t, err)
	forged, err := ProveBlind([]byte(company(2)), r, r255.NewElement().Mul(other, r), &a.Binding, 0)
	ok(t, err)
	enc, err := r255.NewElement().Mul(other, r).MarshalBinaryCompress()
	ok(t, err)
	a.Claims[0].Point, a.Claims[0].Proof = [32]byte(enc), [ProofBytes]byte(forged)
	if _, err := s.issue(t, a); !refused(err, BadProof) {
		t.Errorf("a point of a company without consent: %v", err)
	}
	// What is consented to is asked of every claim, last, and the first that is refused is named.
	a = good()
	s.revoked[consentOf(2).Consent] = true
	_, err = s.issue(t, a)
	var no *contracts.Refusal
	if !errors.As(err, &no) || no.Code != "consent.revoked" || no.Field != "claims.1" {
		t.Errorf("a revoked consent: %v", err)
	}
	broken := errors.New("the follower broke")
	if _, err := s.service.Issue(t.Context(), a, now, func(int, *Claim) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	a.Claims[2].Proof = a.Claims[0].Proof
	if _, err := s.service.Issue(t.Context(), a, now, func(int, *Claim) error { t.Error("a consent was used up for a false proof"); return nil }); !refused(err, BadProof) {
		t.Error(err)
	}
	a = good()
	a.Binding.Service = object("another service")
	if _, err := s.issue(t, a); !refused(err, TicketForeign) {
		t.Errorf("another service: %v", err)
	}
	q, held := s.query(t, 1, 2)
	if _, err := Apply(q, s.binding(), held[:1]); !refused(err, Malformed) {
		t.Error(err)
	}
}

// TestLives: no ticket lives longer than five minutes, and none is verified when its end has come.
func TestLives(t *testing.T) {
	s := newScene(t)
	at := func(end contracts.Millis) error {
		b := s.binding()
		b.NotAfter = end
		a, _ := s.apply(t, b, 1)
		_, err := s.issue(t, a)
		return err
	}
	five := contracts.Millis((5 * time.Minute).Milliseconds())
	for end, code := range map[contracts.Millis]contracts.Code{now - 1: TicketExpired, now: TicketExpired, now + 1: "", now + five: "", now + five + 1: BadLife} {
		if err := at(end); code == "" && err != nil || code != "" && !refused(err, code) {
			t.Errorf("%d ms: %v", end-now, err)
		}
	}
	x, q := s.ticket(t, 1)
	end := x.Binding.NotAfter
	for when, code := range map[contracts.Millis]contracts.Code{end: TicketExpired, end + 1: TicketExpired, end - five - 1: BadLife} {
		if err := x.Verify(q.Request(), s.call, when, s.spent); !refused(err, code) {
			t.Errorf("%d ms before its end: %v", end-when, err)
		}
	}
	if s.spent.asked != 0 {
		t.Error("an expired ticket was spent")
	}
}

// TestTickets refuses a ticket that is for anything else, was changed, or was used.
func TestTickets(t *testing.T) {
	s := newScene(t)
	x, q := s.ticket(t, 1, 2)
	for name, edit := range map[string]func(*Call){
		"bank": func(c *Call) { c.Bank = object("another") }, "agreement": func(c *Call) { c.Agreement = object("another") }, "purpose": func(c *Call) { c.Purpose = policy.PostLoan },
		"version": func(c *Call) { c.Version = object("another") }, "epoch": func(c *Call) { c.Epoch++ }, "service": func(c *Call) { c.Service = object("another") },
	} {
		c := s.call
		edit(&c)
		if err := x.Verify(q.Request(), c, now, s.spent); !refused(err, TicketForeign) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	c := s.call
	c.Key = contracts.Ed25519Key(ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey))
	if err := x.Verify(q.Request(), c, now, s.spent); !refused(err, TicketUnsigned) {
		t.Errorf("another service's key: %v", err)
	}
	for name, edit := range map[string]func(*Ticket){
		"agreement": func(x *Ticket) { x.Binding.Agreement = object("another") }, "bank": func(x *Ticket) { x.Binding.Bank = object("another") },
		"epoch": func(x *Ticket) { x.Binding.Epoch++ }, "nonce": func(x *Ticket) { x.Binding.Nonce[0] ^= 1 }, "notAfter": func(x *Ticket) { x.Binding.NotAfter++ },
		"purpose": func(x *Ticket) { x.Binding.Purpose = policy.PostLoan }, "service": func(x *Ticket) { x.Binding.Service = object("another") },
		"table": func(x *Ticket) { x.Binding.Table = contracts.HashOf("test/another") }, "version": func(x *Ticket) { x.Binding.Version = object("another") },
		"count": func(x *Ticket) { x.Count++ }, "points": func(x *Ticket) { x.Points = contracts.HashOf("test/another") }, "signature": func(x *Ticket) { x.Sig[3] ^= 1 },
	} {
		forged := *x
		forged.Sig = slices.Clone(x.Sig)
		edit(&forged)
		if err := forged.Verify(q.Request(), s.call, now, s.spent); !refused(err, TicketUnsigned) {
			t.Errorf("changed %s: %v", name, err)
		}
	}
	points := func(f func([]byte) []byte) *lookup.Request {
		b := q.Request().Bytes()
		r, err := lookup.ParseRequest(f(b))
		ok(t, err)
		return r
	}
	one, _ := s.query(t, 1)
	two, _ := s.query(t, 1, 2)
	for name, r := range map[string]*lookup.Request{
		"other points of the same companies": two.Request(), "fewer": one.Request(),
		"in another order": points(func(b []byte) []byte {
			n := len(b) - 2*lookup.ElementBytes
			return slices.Concat(b[:n], b[n+lookup.ElementBytes:], b[n:n+lookup.ElementBytes])
		}),
		"one exchanged": points(func(b []byte) []byte {
			copy(b[len(b)-lookup.ElementBytes:], one.Request().Element(0))
			return b
		}),
	} {
		if err := x.Verify(r, s.call, now, s.spent); !refused(err, TicketPoints) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := *s.c
	other.Epoch = 4
	next, err := lookup.NewQuery(&other, [][]byte{[]byte(company(1))})
	ok(t, err)
	if err := x.Verify(next.Request(), s.call, now, s.spent); !refused(err, TicketForeign) {
		t.Errorf("another table: %v", err)
	}
	if s.spent.asked != 0 {
		t.Fatal("a refused ticket was spent")
	}
	s.spent.fail = errors.New("the store broke")
	if err := x.Verify(q.Request(), s.call, now, s.spent); !errors.Is(err, s.spent.fail) || errors.As(err, new(*contracts.Refusal)) {
		t.Errorf("a broken store: %v", err)
	}
	s.spent.fail = nil
	ok(t, x.Verify(q.Request(), s.call, now, s.spent))
	ok(t, x.Verify(q.Request(), s.call, now, s.spent)) // the same call again, after its answer was lost
	c = s.call
	c.Use = contracts.HashOf("test/another call")
	if err := x.Verify(q.Request(), c, now, s.spent); !refused(err, TicketSpent) {
		t.Errorf("replayed: %v", err)
	}
}

// TestTicketsTellNothing looks for what the provider must not get in what it gets, and for what the service must not get.
func TestTicketsTellNothing(t *testing.T) {
	s := newScene(t)
	a, q := s.apply(t, s.binding(), 1, 2)
	x, err := s.issue(t, a)
	ok(t, err)
	shown := Present(x, q.Request())
	for _, c := range a.Claims {
		subject := contracts.Subject(c.ConsentKey, c.Code).Bytes()
		for _, secret := range [][]byte{[]byte(c.Code), []byte(c.Consent), c.ConsentKey[:], c.Proof[:32], c.Proof[32:], subject[:]} {
			if found(shown, secret) {
				t.Fatalf("%q is in what the provider gets", secret)
			}
		}
		if !found(shown, c.Point[:]) {
			t.Fatal("the search finds nothing at all")
		}
	}
	for i := range q.Len() {
		_, r, _ := q.Secret(i)
		b, err := r.MarshalBinary()
		ok(t, err)
		if found(a.Bytes(), b) {
			t.Fatal("the service gets a blind")
		}
	}
	// The same company again, in the same binding but for the nonce: nothing of it returns.
	b := a.Binding
	b.Nonce = NewNonce()
	again, _ := s.apply(t, b, 1, 2)
	y, err := s.issue(t, again)
	ok(t, err)
	if x.Points == y.Points || bytes.Equal(x.Sig, y.Sig) || again.Claims[0].Point == a.Claims[0].Point || again.Claims[0].Proof == a.Claims[0].Proof {
		t.Error("two tickets for a company are alike")
	}
}

// found looks for bytes as they are and as hex.
func found(in, b []byte) bool {
	return bytes.Contains(in, b) || bytes.Contains(in, []byte(hex.EncodeToString(b)))
}

func TestMessages(t *testing.T) {
	s := newScene(t)
	a, q := s.apply(t, s.binding(), 1, 2)
	x, err := s.issue(t, a)
	ok(t, err)
	for name, edit := range map[string]func(*Application){
		"no claims": func(a *Application) { a.Claims = nil }, "a company twice": func(a *Application) { a.Claims[1].Code = a.Claims[0].Code },
		"a point twice": func(a *Application) { a.Claims[1].Point = a.Claims[0].Point }, "no epoch": func(a *Application) { a.Binding.Epoch = 0 },
		"no end": func(a *Application) { a.Binding.NotAfter = 0 }, "another purpose": func(a *Application) { a.Binding.Purpose = "marketing" },
		"no credit code": func(a *Application) { a.Claims[0].Code = "91310115MA1K00007R" },
		"too many": func(a *Application) {
			c := a.Claims[0]
			a.Claims = nil
			for i := range MaxClaims + 1 {
				c.Code, c.Point[0], c.Point[1] = company(i), byte(i), byte(i>>8)
				a.Claims = append(a.Claims, c)
			}
		},
	} {
		bad := *a
		bad.Claims = slices.Clone(a.Claims)
		edit(&bad)
		if _, err := ParseApplication(bad.Bytes()); !refused(err, Malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := Present(x, q.Request())
	for name, b := range map[string][]byte{"nothing": nil, "a byte": {0}, "no ticket": append([]byte{0, 0}, q.Request().Bytes()...), "short": good[:len(good)-1],
		"longer": append(slices.Clone(good), 0), "a ticket past the end": {255, 255}, "the ticket alone": good[:2+len(x.Bytes())]} {
		if _, _, err := ParsePresentation(b); !refused(err, Malformed) && !refused(err, lookup.Malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unsigned := *x
	unsigned.Sig = nil
	if _, err := ParseTicket(unsigned.Bytes()); !refused(err, Malformed) {
		t.Error(err)
	}
}
