package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/ledger/witness/witnesstest"
	"github.com/bund-exchange/bund/server/pg/pgtest"
)

const ledgerID = "bund.test/marketd"

// stand is a market's folder with its keys, a witness, and the people who sign.
type stand struct {
	t       *testing.T
	dir     string
	witness *witnesstest.Server
	cast    *contractstest.Market
	base    string // of the running market
	token   string
}

// newStand prepares a folder. A database "" is the market's own private PostgreSQL.
func newStand(t *testing.T, database string) *stand {
	t.Helper()
	t.Setenv("DATABASE_URL", "")
	s := &stand{t: t, dir: t.TempDir()}
	skey, vkey, err := note.GenerateKey(rand.Reader, ledgerID)
	if err != nil {
		t.Fatal(err)
	}
	s.witness = witnesstest.Start(t, "witness.test", vkey, time.Now)
	s.cast = contractstest.NewMarket(ledgerID, s, 1)
	s.write("log.key", skey+"\n"+vkey+"\n")
	s.write("promise.seed", strings.Repeat("11", 32))
	s.config(database, "")
	return s
}

// private is a database of the test's own on a server that tests share.
func private(t *testing.T) string {
	t.Helper()
	_, u := pgtest.NewURL(t)
	return u
}

func (s *stand) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stand) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) config(database, more string) {
	s.t.Helper()
	s.write("market.yaml", fmt.Sprintf(`dir: market
ledger: %s
listen: 127.0.0.1:0
secure: false
database: %q
logKey: log.key
promiseKey: promise.seed
machineKey: machine.seed
quorum: 1
witnesses:
  - {url: %s, key: %s}
%s`, ledgerID, database, s.witness.URL, s.witness.Key, more))
}

// do runs a command of marketd to its end.
func (s *stand) do(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(s.t.Context(), append(args, "--config", s.path("market.yaml")), &o, &e)
	return code, o.String(), e.String()
}

func (s *stand) must(args ...string) string {
	s.t.Helper()
	code, out, errs := s.do(args...)
	if code != 0 {
		s.t.Fatalf("marketd %v: exit code %d\n%s", args, code, errs)
	}
	return out
}

// refused runs a command that must fail saying each of the words.
func (s *stand) refused(words []string, args ...string) {
	s.t.Helper()
	code, _, errs := s.do(args...)
	if code != 1 {
		s.t.Errorf("marketd %v: exit code %d, want 1\n%s", args, code, errs)
	}
	for _, w := range words {
		if !strings.Contains(errs, w) {
			s.t.Errorf("marketd %v doesn't say %q:\n%s", args, w, errs)
		}
	}
}

func (s *stand) init() (code int, out, errs string) {
	return s.do("init", "--genesis", s.path("genesis.json"), "--trust", s.path("trust.json"), "--client", s.path("client"))
}

// Submit implements contractstest.Executor: the genesis makes the ledger and starts the market, the rest goes through the API.
func (s *stand) Submit(ctx context.Context, sub contracts.Submission) error {
	var env contracts.Envelope
	if err := canon.Unmarshal(sub.Raw, &env); err != nil {
		return err
	}
	var sigs []map[string]string
	for _, g := range sub.Signatures {
		sigs = append(sigs, map[string]string{"key": string(g.Key), "sig": hex.EncodeToString(g.Sig)})
	}
	b, err := json.Marshal(map[string]any{"raw": string(sub.Raw), "signatures": sigs})
	if err != nil {
		return err
	}
	if env.Kind == "genesis" {
		s.write("genesis.json", string(b))
		seed := s.cast.Seeds[s.cast.Venue.Machine.Public]
		s.write("machine.seed", hex.EncodeToString(seed[:]))
		if code, _, errs := s.init(); code != 0 {
			return errors.New(errs)
		}
		return nil
	}
	if status, body := s.ask(http.MethodPost, "/commands", string(b)); status != http.StatusOK && status != http.StatusCreated {
		return fmt.Errorf("status %d: %s", status, body)
	}
	return nil
}

// begin makes the ledger with nothing but its genesis.
func (s *stand) begin() {
	s.t.Helper()
	s.cast.Venue, s.cast.Regulator = s.cast.Actor("外滩数据交易所", contracts.RoleVenue), s.cast.Actor("市数据局", contracts.RoleRegulator)
	err := s.cast.Do("", "genesis", contracts.Genesis{Clock: "scripted", Sample: true, Start: s.cast.Now, Rulebook: contractstest.Rules(),
		Calendars: []contracts.Calendar{contracts.Calendar2026()}, Venue: s.cast.Venue.App, Regulator: s.cast.Regulator.App}, nil,
		s.cast.Venue.Maker, s.cast.Venue.Check, s.cast.Regulator.Maker, s.cast.Regulator.Check)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cast.Venue.ID, s.cast.Regulator.ID = s.cast.Last("venue"), s.cast.Last("regulator")
}

// admit admits one more provider: three commands.
func (s *stand) admit(name string) {
	s.t.Helper()
	if err := s.cast.Admit(s.cast.Actor(name, contracts.RoleProvider)); err != nil {
		s.t.Fatal(err)
	}
}

// up runs the market and waits until it is open; down asks it to stop and waits for its exit code.
func (s *stand) up() (down func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	w := &watch{open: make(chan string, 1)}
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"run", "--config", s.path("market.yaml")}, io.Discard, w) }()
	select {
	case addr := <-w.open:
		s.base, s.token = "http://"+addr, ""
	case code := <-ended:
		cancel()
		s.t.Fatalf("the market ended with %d\n%s", code, w.text())
	}
	var once sync.Once
	down = func() {
		once.Do(func() {
			cancel()
			if code := <-ended; code != 0 {
				s.t.Errorf("the market stopped with exit code %d\n%s", code, w.text())
			}
		})
	}
	s.t.Cleanup(down)
	return down
}

// watch reads the log for the line that says where the market listens.
type watch struct {
	mu   sync.Mutex
	all  bytes.Buffer
	open chan string
}

func (w *watch) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	var line struct{ Msg, Listen string }
	if json.Unmarshal(p, &line) == nil && line.Msg == "the market is open" {
		w.open <- line.Listen
	}
	return len(p), nil
}

// ask calls the API as the venue's machine.
func (s *stand) ask(method, path, body string) (status int, answer string) {
	s.t.Helper()
	if s.token == "" {
		b, err := os.ReadFile(s.path("client"))
		if err != nil {
			s.t.Fatal(err)
		}
		id, secret, _ := strings.Cut(strings.TrimSpace(string(b)), ":")
		r := s.request(http.MethodPost, "/oauth/token", url.Values{"grant_type": {"client_credentials"}}.Encode())
		r.SetBasicAuth(id, secret)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		status, a := s.send(r)
		var tok struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(a), &tok); err != nil || tok.AccessToken == "" {
			s.t.Fatalf("no token: status %d: %s", status, a)
		}
		s.token = tok.AccessToken
	}
	r := s.request(method, path, body)
	r.Header.Set("Authorization", "Bearer "+s.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return s.send(r)
}

func (s *stand) request(method, path, body string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *stand) send(r *http.Request) (int, string) {
	s.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
