package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/embedded"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
	"github.com/bund-exchange/bund/ledger/witness/witnesstest"
	"github.com/bund-exchange/bund/node/vault"
)

const testLedger = "datanode.test/1"

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// testClock runs like the wall clock, at another date: the test's market is always of March 2026.
type testClock struct{ offset atomic.Int64 }

func (c *testClock) now() time.Time      { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *testClock) add(d time.Duration) { c.offset.Add(int64(d)) }

// product is what the market's provider sells: a field dictionary, the fields that are sold, and the rows.
type product struct {
	schema string
	fields []string // ascending
	csv    string
	modes  []policy.Operation // beside queries, ascending

	edit   func(*contracts.Facts) // optional
	config string                 // more of the provider's configuration
}

// operations are all that the product is sold for.
func (p *product) operations() []policy.Operation {
	return slices.Sorted(slices.Values(append([]policy.Operation{policy.Query}, p.modes...)))
}

// testMarket is a real ledger, published and witnessed, behind the part of the market's API that a node uses, held to
// server/api/openapi.yaml. Its actors' commands go to the ledger directly.
type testMarket struct {
	t testing.TB
	*contractstest.Market
	ledger    *embedded.Ledger
	publisher *publish.Publisher
	witness   *witnesstest.Server
	trust     follow.TrustRoot
	clock     testClock
	url       string

	product    product
	listing    *contractstest.Listing
	registered map[contracts.ID]int64 // positions of node registrations, by member

	mu       sync.Mutex
	openings map[contracts.Hash]contracts.KeptOpening
	clients  map[string]contracts.ID // secret → member
	tokens   map[string]contracts.ID

	down      atomic.Bool  // connections break
	loseNext  atomic.Int64 // commands that are accepted and whose answer is lost
	failNext  atomic.Int64 // commands that fail before the ledger
	requests  atomic.Int64
	submitted atomic.Int64
}

// Put keeps openings, as ledger.Openings.
func (m *testMarket) Put(_ context.Context, os []ledger.Opening) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range os {
		m.openings[o.Commitment] = o.KeptOpening
	}
	return nil
}

// Submit implements contractstest.Executor.
func (m *testMarket) Submit(ctx context.Context, sub contracts.Submission) error {
	r, err := m.ledger.Submit(ctx, sub)
	if err != nil {
		return err
	}
	var e contracts.Envelope
	if err := canon.Unmarshal(sub.Raw, &e); err != nil {
		return err
	}
	if e.Kind == "node.register" {
		m.registered[contracts.ID(e.Member)] = int64(r.Position)
	}
	return nil
}

// Get reads the ledger's state, for the contract's text.
func (m *testMarket) Get(key string) (value []byte, err error) {
	for from := uint64(0); ; {
		es, err := m.ledger.Entries(context.Background(), from, 1000)
		if err != nil || len(es) == 0 {
			return value, err
		}
		for _, e := range es {
			for _, w := range e.Writes {
				if w.Key == key {
					value = w.Value
				}
			}
		}
		from += uint64(len(es))
	}
}

func newTestMarket(t testing.TB, nodeURL string, p product) *testMarket {
	t.Helper()
	m := &testMarket{t: t, product: p, registered: map[contracts.ID]int64{}, openings: map[contracts.Hash]contracts.KeptOpening{},
		clients: map[string]contracts.ID{}, tokens: map[string]contracts.ID{}}
	m.clock.add(time.Until(contractstest.Start.Time().Add(10 * 24 * time.Hour)))
	_, operator, err := ed25519.GenerateKey(nil)
	ok(t, err)
	m.ledger, err = embedded.Open(embedded.Config{Dir: t.TempDir(), LedgerID: testLedger, Key: operator, Openings: m, Now: m.clock.now, Log: quiet})
	ok(t, err)
	t.Cleanup(func() { m.ledger.Close() })
	m.Market = contractstest.NewMarket(testLedger, m, 1)
	m.NodeURL = nodeURL
	ok(t, m.Begin())
	auth, err := m.Authorize()
	ok(t, err)
	facts := m.Facts(auth)
	schema, err := vault.ReadSchema([]byte(p.schema))
	ok(t, err)
	facts.Dictionary, facts.Fields, facts.Policy.Fields = schema.Digest(), p.fields, p.fields
	facts.Modes, facts.Policy.Operations = p.operations(), p.operations()
	if p.edit != nil {
		p.edit(&facts)
	}
	m.listing, err = m.List(facts)
	ok(t, err)
	ok(t, m.Do(m.Venue.ID, "clock.release", contracts.ClockRelease{Reason: "the market opens"}, nil, m.Venue.Machine))
	m.catchUp()

	signer, logKey := publishtest.Key(t, testLedger)
	m.witness = witnesstest.Start(t, "witness.example", logKey, m.clock.now)
	m.publisher, err = publish.Open(t.Context(), publish.Config{Dir: filepath.Join(t.TempDir(), "tlog"), Ledger: testLedger, Signer: signer, LogKey: logKey, Quorum: 1,
		Log: quiet, Now: m.clock.now, CheckpointEvery: 20 * time.Millisecond, RecosignEvery: time.Second,
		Witnesses: []publish.Witness{{URL: m.witness.URL, Key: m.witness.Key}}}, m.ledger)
	ok(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); m.publisher.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; m.publisher.Close() })
	es, err := m.ledger.Entries(t.Context(), 0, 1)
	ok(t, err)
	m.trust = follow.TrustRoot{Format: follow.TrustRootFormat, Ledger: testLedger, LogKey: logKey, Witnesses: []string{m.witness.Key}, Quorum: 1,
		Genesis: contracts.Hash(hex.EncodeToString(es[0].Hash[:]))}
	srv := httptest.NewServer(m.handler())
	t.Cleanup(srv.Close)
	m.url = srv.URL
	return m
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// catchUp puts the actors on the market's wall time.
func (m *testMarket) catchUp() { m.Now = contracts.Millis(m.clock.now().UnixMilli()) }

// client makes credentials for a member.
func (m *testMarket) client(member contracts.ID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	secret := fmt.Sprintf("secret-of-%s", member)
	m.clients[secret] = member
	return "node:" + secret
}

func (m *testMarket) forgetTokens() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.tokens)
}

func (m *testMarket) caller(r *http.Request) (contracts.ID, error) {
	t, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	m.mu.Lock()
	defer m.mu.Unlock()
	id, known := m.tokens[t]
	if !bearer || !known {
		return "", errors.New("no such token")
	}
	return id, nil
}

func fail(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code, "detail": detail})
}

func (m *testMarket) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth/token", m.serveToken)
	mux.HandleFunc("GET /ledger", func(w http.ResponseWriter, r *http.Request) {
		h, err := m.ledger.Height(r.Context())
		if err != nil {
			fail(w, 503, "failure", "")
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"ledger": testLedger, "height": h, "projected": h, "now": m.clock.now().UnixMilli(), "scripted": false, "venue": m.Venue.ID,
			"rulebook": struct{}{}})
	})
	private := func(h func(w http.ResponseWriter, r *http.Request, me contracts.ID)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			me, err := m.caller(r)
			if err != nil {
				fail(w, http.StatusUnauthorized, "client.token", err.Error())
				return
			}
			h(w, r, me)
		}
	}
	mux.HandleFunc("POST /commands", private(m.serveSubmit))
	mux.HandleFunc("GET /commands/{id}", private(m.serveLookup))
	mux.HandleFunc("GET /openings/{commitment}", private(m.serveOpening))
	mux.Handle("/", m.publisher.Handler())
	mux.Handle("/entries", m.publisher.EntriesHandler(publish.Audience{Caller: m.caller, MayRead: func(me contracts.ID, e *ledger.Entry) bool { return publish.InAudience(me, e) }}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.requests.Add(1)
		if m.down.Load() {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	})
}

func (m *testMarket) serveToken(w http.ResponseWriter, r *http.Request) {
	_, secret, basic := r.BasicAuth()
	m.mu.Lock()
	defer m.mu.Unlock()
	id, known := m.clients[secret]
	if err := r.ParseForm(); err != nil || len(r.PostForm) != 1 || r.PostForm.Get("grant_type") != "client_credentials" ||
		r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		fail(w, http.StatusBadRequest, "invalid_request", "want grant_type=client_credentials")
		return
	}
	if !basic || !known {
		fail(w, http.StatusUnauthorized, "client.credentials", "no such client")
		return
	}
	token := hex.EncodeToString([]byte(fmt.Sprintf("%s %d", id, len(m.tokens)+int(m.requests.Load())<<8)))
	m.tokens[token] = id
	json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 600})
}

func (m *testMarket) serveSubmit(w http.ResponseWriter, r *http.Request, _ contracts.ID) {
	m.submitted.Add(1)
	if m.failNext.Add(-1) >= 0 {
		fail(w, 503, "failure", "the database is away")
		return
	}
	var in wireSubmission
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if r.Header.Get("Content-Type") != "application/json" || d.Decode(&in) != nil || in.Raw == "" || len(in.Signatures) == 0 {
		fail(w, 400, "invalid_request", "not a submission")
		return
	}
	sub := contracts.Submission{Raw: []byte(in.Raw)}
	for _, s := range in.Signatures {
		sig, err := hex.DecodeString(s.Sig)
		if err != nil {
			fail(w, 400, "invalid_request", "want lower-case hex")
			return
		}
		sub.Signatures = append(sub.Signatures, contracts.Signature{Key: contracts.PublicKey(s.Key), Sig: sig})
	}
	for _, o := range in.Openings {
		sub.Openings = append(sub.Openings, contracts.Opening{Salt: contracts.Hash(o.Salt).Bytes(), Value: []byte(o.Value)})
	}
	rec, err := m.ledger.Submit(r.Context(), sub)
	var no *contracts.Refusal
	if errors.As(err, &no) {
		doc, _ := contracts.Lookup(no.Code)
		fail(w, doc.Class.HTTPStatus(), string(no.Code), no.Detail)
		return
	}
	if err != nil {
		fail(w, 504, "outcome_unknown", "look it up")
		return
	}
	if m.loseNext.Add(-1) >= 0 {
		panic(http.ErrAbortHandler)
	}
	json.NewEncoder(w).Encode(map[string]any{"position": rec.Position, "time": rec.Time, "hash": hex.EncodeToString(rec.Hash[:]), "repeated": rec.Repeated,
		"promise": base64.StdEncoding.EncodeToString(rec.Encode()), "events": []any{}})
}

func (m *testMarket) serveLookup(w http.ResponseWriter, r *http.Request, _ contracts.ID) {
	a, err := m.ledger.Lookup(r.Context(), contracts.ID(r.PathValue("id")))
	if err != nil {
		fail(w, 503, "failure", "")
		return
	}
	out := map[string]any{"status": a.Status, "height": a.Height}
	if a.Status == ledger.Accepted {
		out["position"] = a.Promise.Position
	}
	json.NewEncoder(w).Encode(out)
}

func (m *testMarket) serveOpening(w http.ResponseWriter, r *http.Request, me contracts.ID) {
	m.mu.Lock()
	o, known := m.openings[contracts.Hash(r.PathValue("commitment"))]
	m.mu.Unlock()
	if !known || !slices.Contains(o.Audience, me) {
		fail(w, 404, "not_found", "no such opening")
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"tag": o.Tag, "commitment": o.Commitment, "salt": hex.EncodeToString(o.Opening.Salt[:]), "value": string(o.Opening.Value)})
}

// agree makes an agreement on the listed product, changed by edit, with its money in and its grant active.
func (m *testMarket) agree(edit func(*contracts.Offer, *contracts.Terms)) *contractstest.Deal {
	m.t.Helper()
	m.catchUp()
	terms := contractstest.Terms()
	p := contractstest.Policy(policy.PreLoan)
	p.Fields, p.Operations = m.product.fields, m.product.operations()
	offer, _ := m.Offer(p, terms)
	if edit != nil {
		edit(&offer, &terms)
	}
	hash, opening := commit(m, terms)
	offer.Terms, offer.Billing = hash, terms.Billing
	d, err := m.AgreeOn(m.listing, contracts.Trade, offer, terms, opening)
	ok(m.t, err)
	if terms.Billing == contracts.Prepaid {
		if terms.Escrow > 0 {
			ok(m.t, m.Deposit(d, terms.Escrow))
		}
		ok(m.t, m.Activate(d))
	}
	return d
}

func commit(m *testMarket, terms contracts.Terms) (contracts.Hash, contracts.Opening) {
	o := contracts.Opening{Salt: m.Random(), Value: canon.Marshal(terms)}
	return o.Commitment(contracts.TagTerms), o
}

// folder makes a node's folder with the keys that the market's actor has, and its configuration file.
func (m *testMarket) folder(a *contractstest.Actor, listen, more string) (config string) {
	m.t.Helper()
	dir := m.t.TempDir()
	write := func(name, content string) {
		ok(m.t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		ok(m.t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	for file, key := range map[string]contracts.PublicKey{"machine": a.Machine.Public, "tls": a.TLS.Public, "receipt": a.Receipt.Public} {
		seed := m.Seeds[key]
		write("node/keys/"+file+".seed", hex.EncodeToString(seed[:])+"\n")
	}
	for _, file := range []string{"seal", "request"} {
		seed := m.Random()
		write("node/keys/"+file+".seed", hex.EncodeToString(seed[:])+"\n")
	}
	root, err := m.trust.Marshal()
	ok(m.t, err)
	write("trust.json", string(root))
	write("client", m.client(a.ID)+"\n")
	write("node.yaml", fmt.Sprintf("dir: node\ntrustRoot: trust.json\nmarket: %s\ncredentials: client\nmember: %s\nnode: %s\nregisteredAt: %d\nlisten: %q\nlocal: 127.0.0.1:0\nreportEvery: 1s\npollEvery: 200ms\n%s",
		m.url, a.ID, a.Node, m.registered[a.ID], listen, more))
	return filepath.Join(dir, "node.yaml")
}
