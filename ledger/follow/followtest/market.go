// Package followtest runs a published toy ledger with witnesses on loopback: what a follower or a gate stands before.
package followtest

import (
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/ledger/publish"
	"github.com/bund-exchange/bund/ledger/publish/publishtest"
	"github.com/bund-exchange/bund/ledger/witness/witnesstest"
)

// LedgerID is the origin of the toy ledger.
const LedgerID = "ledger.example/1"

// Clock is a hand-set clock for everybody in the test.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// Now gives the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// Add moves it.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// Market is a ledger, its publisher, three witnesses and the server in front.
type Market struct {
	Log       *publishtest.Log
	Publisher *publish.Publisher
	Witnesses []*witnesstest.Server
	Trust     follow.TrustRoot // quorum 2 of 3
	Clock     *Clock
	URL       string
	Dir       string

	t      testing.TB
	signer note.Signer

	mu      sync.Mutex
	front   http.Handler
	hidden  map[uint64]bool
	altered map[string]func([]byte) []byte // by path
}

// Quiet drops log lines.
func Quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// New begins a market whose entry 0 is public.
func New(t testing.TB) *Market {
	t.Helper()
	m := &Market{
		Log: &publishtest.Log{}, Clock: &Clock{t: time.Unix(1_800_000_000, 0)}, Dir: t.TempDir(), t: t,
		hidden: map[uint64]bool{}, altered: map[string]func([]byte) []byte{},
	}
	var logKey string
	m.signer, logKey = publishtest.Key(t, LedgerID)
	m.Trust = follow.TrustRoot{Format: follow.TrustRootFormat, Ledger: LedgerID, LogKey: logKey, Quorum: 2}
	for _, name := range []string{"regulator.example", "bank.example", "university.example"} {
		w := witnesstest.Start(t, name, logKey, m.Clock.Now)
		m.Witnesses = append(m.Witnesses, w)
		m.Trust.Witnesses = append(m.Trust.Witnesses, w.Key)
	}
	m.Log.Fill(1)
	genesis := m.Log.Entry(0).Hash
	m.Trust.Genesis = contracts.Hash(hex.EncodeToString(genesis[:]))
	if err := m.Open(m.Log, filepath.Join(m.Dir, "tlog"), false); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(m)
	m.URL = srv.URL
	t.Cleanup(func() {
		srv.Close()
		m.Publisher.Close()
	})
	return m
}

// Config is the publisher's.
func (m *Market) Config(dir string) publish.Config {
	c := publish.Config{Dir: dir, Ledger: LedgerID, Signer: m.signer, LogKey: m.Trust.LogKey, Quorum: m.Trust.Quorum,
		Now: m.Clock.Now, Log: Quiet(), CheckpointEvery: time.Millisecond}
	for _, w := range m.Witnesses {
		c.Witnesses = append(c.Witnesses, publish.Witness{URL: w.URL, Key: w.Key})
	}
	return c
}

// Open puts another ledger or folder behind the same address, as an operator would who restores or cheats. Force
// accepts what the witnesses say against it.
func (m *Market) Open(l *publishtest.Log, dir string, force bool) error {
	if m.Publisher != nil {
		m.Publisher.Close()
	}
	c := m.Config(dir)
	c.AcceptLoss = force
	p, err := publish.Open(m.t.Context(), c, l)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	mux.Handle("/entries", p.EntriesHandler(publish.Audience{
		Caller: func(r *http.Request) (contracts.ID, error) {
			id := contracts.ID(r.Header.Get("Toy-Member"))
			if id != "" && id.Check() != nil {
				return "", errors.New("unknown member")
			}
			return id, nil
		},
		MayRead: func(caller contracts.ID, e *ledger.Entry) bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return !m.hidden[e.Position] && (caller == Regulator || publish.InAudience(caller, e))
		},
	}))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Log, m.Publisher, m.front = l, p, mux
	return nil
}

// Regulator reads every body.
var Regulator = publishtest.ID(0xffff)

// Withhold keeps a body from everybody, or delivers it again.
func (m *Market) Withhold(position uint64, hidden bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hidden[position] = hidden
}

// Alter changes the answers under path until fn is nil.
func (m *Market) Alter(path string, fn func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.altered[path] = fn
}

func (m *Market) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	front, alter := m.front, m.altered[r.URL.Path]
	m.mu.Unlock()
	if alter == nil {
		front.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	front.ServeHTTP(rec, r)
	w.WriteHeader(rec.Code)
	w.Write(alter(rec.Body.Bytes()))
}

// Publish brings the published log up.
func (m *Market) Publish() {
	m.t.Helper()
	if err := m.Publisher.RunOnce(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

// Follower opens a follower of member id; options change its config.
func (m *Market) Follower(id contracts.ID, path string, options ...func(*follow.Config)) *follow.Follower {
	m.t.Helper()
	c := follow.Config{Path: path, Trust: m.Trust, URL: m.URL, Me: id, Now: m.Clock.Now, Log: Quiet(),
		HTTP: &http.Client{Transport: as{id, &http.Transport{}}}}
	for _, o := range options {
		o(&c)
	}
	f, err := follow.Open(c)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { f.Close() })
	return f
}

// as authenticates in the toy's way.
type as struct {
	id contracts.ID
	http.RoundTripper
}

func (a as) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Toy-Member", string(a.id))
	return a.RoundTripper.RoundTrip(r)
}
