package rest

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
)

// site is a market served on a port of its own: real HTTP, real PostgreSQL, a real ledger.
type site struct {
	*projectiontest.Market
	t        *testing.T
	url      string
	admin    string
	identity *identity.Directory
	log      *lines
	broken   *brokenLedger
}

// lines is a log that tests read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// brokenLedger answers with err instead of the ledger's answer when it is set.
type brokenLedger struct {
	Ledger
	mu  sync.Mutex
	err error
}

func (b *brokenLedger) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *brokenLedger) Submit(ctx context.Context, sub contracts.Submission) (*ledger.Receipt, error) {
	b.mu.Lock()
	err := b.err
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return b.Ledger.Submit(ctx, sub)
}

func serve(t *testing.T, m *projectiontest.Market, change ...func(*Config)) *site {
	t.Helper()
	s := &site{Market: m, t: t, identity: identity.New(m.DB), log: &lines{}, broken: &brokenLedger{Ledger: m.Ledger}}
	s.identity.Cost = identity.Cost{MemoryKiB: 64, Passes: 1}
	cfg := Config{
		Identity: s.identity, Ledger: s.broken, Projection: m.Projector, PlainHTTP: true, RatePerSec: 10_000,
		Parts: []Part{{"database", m.DB.PingContext}},
		Log:   slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	public, admin := listen(), listen()
	s.url, s.admin = "http://"+public.Addr().String(), "http://"+admin.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, public, admin) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// visitor is one client with its cookies.
type visitor struct {
	s      *site
	c      *http.Client
	header http.Header
}

func (s *site) visitor(header ...string) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	v := &visitor{s: s, c: &http.Client{Jar: jar, Timeout: time.Minute}, header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		v.header.Set(header[i], header[i+1])
	}
	s.t.Cleanup(v.c.CloseIdleConnections)
	return v
}

type answer struct {
	*http.Response
	body []byte
}

// ask sends a body as it is when it is a string, else as JSON.
func (v *visitor) ask(method, path string, body any) *answer {
	v.s.t.Helper()
	var r io.Reader
	header := v.header.Clone()
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			v.s.t.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	if r != nil && header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	req, err := http.NewRequest(method, v.s.url+path, r)
	if err != nil {
		v.s.t.Fatal(err)
	}
	req.Header = header
	res, err := v.c.Do(req)
	if err != nil {
		v.s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		v.s.t.Fatal(err)
	}
	return &answer{res, b}
}

// into decodes an answer of the wanted status; unknown fields are a fault of the document.
func (a *answer) into(t *testing.T, status int, v any) {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: got %d %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, a.body)
	}
	if v == nil {
		return
	}
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
}

// problem checks that an answer is the problem with this code.
func (a *answer) problem(t *testing.T, status int, code string) *api.Problem {
	t.Helper()
	var p api.Problem
	if a.StatusCode != status || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%s %s: got %d %s %s, want %d %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, a.Header.Get("Content-Type"), a.body, status, code)
	}
	a.into(t, status, &p)
	if p.Code == nil || *p.Code != code || p.Status != status || p.RequestId == nil || *p.RequestId != a.Header.Get("X-Request-Id") || !strings.HasSuffix(p.Type, "#"+code) {
		t.Fatalf("%s %s: got %s, want %s", a.Request.Method, a.Request.URL.Path, a.body, code)
	}
	return &p
}

const password = "correct horse battery"

// account makes an account of one of the cast's people.
func (s *site) account(login string, member, person contracts.ID) {
	s.t.Helper()
	_, err := s.identity.CreateAccount(context.Background(), identity.NewAccount{Login: login, Password: password, Name: "张三", Member: member, Person: person})
	if err != nil {
		s.t.Fatal(err)
	}
}

// signedIn is a person with a session.
func (s *site) signedIn(login string) *visitor {
	s.t.Helper()
	v := s.visitor("Bund-Csrf", "1")
	v.ask("POST", "/session", map[string]string{"login": login, "password": password}).into(s.t, 200, nil)
	return v
}

// machine is a machine of a member with a token.
func (s *site) machine(member contracts.ID) *visitor {
	s.t.Helper()
	id, secret, err := s.identity.CreateClient(context.Background(), member, "node")
	if err != nil {
		s.t.Fatal(err)
	}
	token, _, _, err := s.identity.IssueToken(context.Background(), id, secret)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.visitor("Authorization", "Bearer "+token)
}

func wire(sub contracts.Submission) api.Submission {
	out := api.Submission{Raw: string(sub.Raw)}
	for _, s := range sub.Signatures {
		out.Signatures = append(out.Signatures, api.Signature{Key: string(s.Key), Sig: hex.EncodeToString(s.Sig)})
	}
	var os []api.Opening
	for _, o := range sub.Openings {
		os = append(os, api.Opening{Salt: hex.EncodeToString(o.Salt[:]), Value: string(o.Value)})
	}
	if os != nil {
		out.Openings = &os
	}
	return out
}

// overHTTP submits a market's commands by the API.
type overHTTP struct{ v *visitor }

func (x overHTTP) Submit(_ context.Context, sub contracts.Submission) error {
	a := x.v.ask("POST", "/commands", wire(sub))
	if a.StatusCode == 200 {
		return nil
	}
	var p api.Problem
	if err := json.Unmarshal(a.body, &p); err != nil || p.Code == nil {
		return errors.New(string(a.body))
	}
	return &contracts.Refusal{Code: contracts.Code(*p.Code)}
}
