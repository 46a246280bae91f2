package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
)

func TestHealthAndMetrics(t *testing.T) {
	var sick error
	s := serve(t, begun(t), func(c *Config) {
		c.Parts = append(c.Parts, Part{"ledger", func(context.Context) error { return sick }})
	})
	v := s.visitor("Host", "attacker")
	v.ask("GET", "/healthz", nil).into(t, 200, nil)
	v.ask("GET", "/readyz", nil).into(t, 200, nil)
	sick = errors.New("secret reason")
	var h api.Health
	a := v.ask("GET", "/readyz", nil)
	a.into(t, 503, &h)
	if h.Ok || len(*h.Parts) != 2 || !(*h.Parts)[0].Ok || (*h.Parts)[1].Ok || strings.Contains(string(a.body), "secret") {
		t.Errorf("got %s", a.body)
	}
	v.ask("GET", "/metrics", nil).problem(t, 404, "request.path") // not for outsiders
	v.ask("GET", "/nothing/"+strings.Repeat("x", 50), nil).problem(t, 404, "request.path")

	admin := func(path string) (int, string) {
		res, err := http.Get(s.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	if code, _ := admin("/readyz"); code != 503 {
		t.Errorf("the admin's /readyz: %d", code)
	}
	_, m := admin("/metrics")
	for _, want := range []string{`bund_refusals_total{code="request.path"} 2`, `bund_http_requests_total{code="200"`, `url="/healthz"`} {
		if !strings.Contains(m, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(m, "xxxxx") || strings.Contains(m, "127.0.0.1") {
		t.Error("callers make labels")
	}
}

func TestMinPositionWaitsForTheProjection(t *testing.T) {
	m := begun(t)
	s := serve(t, m)
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	mw := newConformance(Config{Identity: s.identity, Projection: m.Projector, PlainHTTP: true, TimeoutSec: 30}, doc)
	e := echo.New()
	e.GET("/members", mw(func(c echo.Context) error { return c.NoContent(204) }))
	e.HTTPErrorHandler = (&problems{log: nil, metrics: newMetrics(nopRegistry{})}).handle
	get := func(ctx context.Context, query string) (int, http.Header) {
		w := &recorder{header: http.Header{}}
		req, _ := http.NewRequestWithContext(ctx, "GET", "/members"+query, http.NoBody)
		e.ServeHTTP(w, req)
		return w.status, w.header
	}
	height := m.Height()
	status, h := get(t.Context(), "")
	if status != 204 || h.Get("Ledger-Position") != itoa(height-1) {
		t.Errorf("got %d, %v", status, h)
	}
	m.Must(m.Advance(60)) // the entry at height, not projected
	done := make(chan struct{})
	go func() {
		defer close(done)
		if status, h := get(context.Background(), "?min_position="+itoa(height)); status != 204 || h.Get("Ledger-Position") != itoa(height) {
			t.Errorf("got %d, %v", status, h)
		}
	}()
	m.Project()
	<-done
	for query, want := range map[string]int{"?min_position=-1": 400, "?min_position=x": 400, "?min_position=1&min_position=2": 400, "?min_position=99999999999999999999": 400} {
		if status, _ := get(t.Context(), query); status != want {
			t.Errorf("%s: got %d", query, status)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if status, _ := get(gone, "?min_position="+itoa(height+10)); status != 503 {
		t.Errorf("for a position that doesn't come: %d", status)
	}
}

// A read that names what this replica's ledger doesn't have yet: one of several waits, since another may have written it.
func TestReadWaitsForOtherReplicas(t *testing.T) {
	m := begun(t)
	s := serve(t, m)
	doc, err := api.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	for shared, want := range map[bool]int{false: 503, true: 204} {
		cfg := Config{Identity: s.identity, Projection: m.Projector, PlainHTTP: true, TimeoutSec: 30, Shared: shared}
		cfg.Domain.Ledger = awaited{m.Ledger, func() { m.Must(m.Advance(60)); m.Project() }}
		e := echo.New()
		e.GET("/members", newConformance(cfg, doc)(func(c echo.Context) error { return c.NoContent(204) }))
		e.HTTPErrorHandler = (&problems{log: nil, metrics: newMetrics(nopRegistry{})}).handle
		w := &recorder{header: http.Header{}}
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "/members?min_position="+itoa(m.Height()), http.NoBody)
		if e.ServeHTTP(w, req); w.status != want {
			t.Errorf("shared %v: status %d, want %d", shared, w.status, want)
		}
	}
}

// awaited gets another entry when it is waited for.
type awaited struct {
	ledger.Ledger
	arrive func()
}

func (a awaited) Wait(ctx context.Context, from uint64) error {
	a.arrive()
	return a.Ledger.Wait(ctx, from)
}

func TestPanicIsAFailure(t *testing.T) {
	s := serve(t, begun(t), func(c *Config) {
		c.Mounts = map[string]http.Handler{"/boom": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret") })}
	})
	v := s.visitor()
	a := v.ask("GET", "/boom", nil)
	a.problem(t, 500, "failure")
	if strings.Contains(string(a.body), "secret") || !strings.Contains(s.log.String(), "secret") {
		t.Errorf("got %s", a.body)
	}
	v.ask("GET", "/healthz", nil).into(t, 200, nil)
}

func TestRateLimit(t *testing.T) {
	s := serve(t, begun(t), func(c *Config) { c.RatePerSec = 0.001 })
	v := s.visitor()
	v.ask("GET", "/session", nil).problem(t, 401, "session.required")
	a := v.ask("GET", "/session", nil)
	a.problem(t, 429, "request.rate")
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	v.ask("GET", "/healthz", nil).into(t, 200, nil)
}

func TestForwardedAddressesNeedATrustedProxy(t *testing.T) {
	m := begun(t)
	for name, trusted := range map[string][]string{"direct": nil, "behind a proxy": {"127.0.0.0/8"}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, m, func(c *Config) { c.TrustedProxies, c.RatePerSec = trusted, 0.001 })
			s.visitor("X-Forwarded-For", "192.0.2.1").ask("GET", "/session", nil).problem(t, 401, "session.required")
			second := s.visitor("X-Forwarded-For", "192.0.2.2").ask("GET", "/session", nil)
			if got, want := second.StatusCode, map[bool]int{true: 429, false: 401}[trusted == nil]; got != want {
				t.Errorf("another forwarded address: got %d, want %d", got, want)
			}
		})
	}
	if _, err := New(Config{Ledger: m.Ledger, TrustedProxies: []string{"nonsense"}}); err == nil {
		t.Error("a bad network was taken")
	}
}

func TestEachRequestIsOneEvent(t *testing.T) {
	s := serve(t, begun(t))
	v := s.machine(s.Venue.ID)
	sub := s.Sign(s.Venue.ID, "clock.advance", contracts.ClockAdvance{To: s.Now.Add(60)}, nil, s.Venue.Machine)
	a := v.ask("POST", "/commands", wire(sub))
	a.into(t, 200, nil)
	var events []map[string]any
	for l := range strings.Lines(s.log.String()) {
		var ev map[string]any
		if err := json.Unmarshal([]byte(l), &ev); err != nil {
			t.Fatal(err)
		}
		events = append(events, ev)
	}
	if len(events) != 1 {
		t.Fatalf("%d events: %s", len(events), s.log)
	}
	for key, want := range map[string]any{
		"msg": "request", "level": "INFO", "id": a.Header.Get("X-Request-Id"), "method": "POST", "route": "/commands", "status": 200.0,
		"member": string(s.Venue.ID), "kind": "clock.advance", "command": string(s.LastCommand()), "position": float64(s.Height() - 1),
	} {
		if events[0][key] != want {
			t.Errorf("%s is %v, want %v", key, events[0][key], want)
		}
	}
}

func TestNextPageIsTheSameQuery(t *testing.T) {
	u, err := url.Parse("/products?q=%E7%BA%B3%E7%A8%8E&grade=L3&cursor=old&min_position=7&limit=20")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), eventKey{}, &RequestEvent{url: u})
	next, link := nextPage(ctx, "new")
	if want := `</products?cursor=new&grade=L3&limit=20&q=%E7%BA%B3%E7%A8%8E>; rel="next"`; *next != "new" || *link != want {
		t.Errorf("got %s, want %s", *link, want)
	}
	if next, link := nextPage(ctx, ""); next != nil || link != nil {
		t.Error("the last page has a next one")
	}
}

func TestAnOperationHasItsTime(t *testing.T) {
	s := serve(t, begun(t), func(c *Config) {
		c.TimeoutSec = 1
		c.Ledger = slowLedger{}
	})
	v := s.machine(s.Venue.ID)
	sub := wire(s.Sign(s.Venue.ID, "clock.advance", contracts.ClockAdvance{To: s.Now.Add(60)}, nil, s.Venue.Machine))
	v.ask("POST", "/commands", sub).problem(t, 504, "outcome_unknown")
}

// slowLedger never answers by itself.
type slowLedger struct{ Ledger }

func (slowLedger) Submit(ctx context.Context, _ contracts.Submission) (*ledger.Receipt, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("%w: %w", ledger.ErrOutcomeUnknown, ctx.Err())
}

func TestSecureHeaders(t *testing.T) {
	s := serve(t, projectiontest.Open(t, nil))
	h := s.visitor().ask("GET", "/healthz", nil).Header
	for k, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"} {
		if h.Get(k) != want {
			t.Errorf("%s: %q", k, h.Get(k))
		}
	}
}
