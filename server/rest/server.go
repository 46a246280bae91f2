// Package rest serves the market's API over HTTP: it authenticates, checks requests against the API's document, calls
// one method of a capability, and turns its answer, or its error, into a response. It holds no rules and no SQL.
//
// A tag of the document has a file here with its handlers: a struct of what they need, embedded in handlers. A handler
// authorises, converts, calls, converts, and returns errors as they come; Problem is the only place that knows what an
// error looks like outside.
package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/identity"
)

// Config is what a server needs. DB-backed parts are given as the capabilities that own them.
type Config struct {
	Identity   *identity.Directory
	Ledger     Ledger
	Domain     Domain
	Projection Projection
	Parts      []Part                  // what /readyz asks
	Mounts     map[string]http.Handler // beside the API, by path such as "/checkpoint" or "/tile/*"; not checked against the document

	// Shared says that other replicas answer the same callers. What one of them wrote may not have come to this one's ledger
	// yet: a read that names it waits.
	Shared bool

	Log      *slog.Logger         // nil: slog.Default()
	Registry *prometheus.Registry // nil: a new one

	// PlainHTTP says that browsers reach the market without TLS, as they do on the machine it runs on: the session
	// cookie is then not marked Secure.
	PlainHTTP bool
	// TrustedProxies are the networks, in CIDR form, whose X-Forwarded-For is believed. Empty: callers connect directly.
	TrustedProxies []string
	// RatePerSec is how many requests one address may make in the long run; twice as many at once. 0: 2,000, which only
	// floods exceed: many people share an institution's address.
	RatePerSec float64
	// TimeoutSec bounds the work on one request of the API. 0: 30. What is mounted, and an export, bound themselves.
	TimeoutSec int
}

// Server is the market's HTTP side.
type Server struct {
	public http.Handler
	admin  http.Handler
}

// New prepares a server. It listens to nothing yet.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.RatePerSec == 0 {
		cfg.RatePerSec = 2000
	}
	if cfg.TimeoutSec == 0 {
		cfg.TimeoutSec = 30
	}
	doc, err := api.GetSpec()
	if err != nil {
		return nil, fmt.Errorf("couldn't parse the API's document: %w", err)
	}
	asJSON, err := api.GetSpecJSON()
	if err != nil {
		return nil, fmt.Errorf("couldn't read the API's document: %w", err)
	}
	h := newHandlers(cfg)
	e, err := newEcho(cfg, newConformance(cfg, doc))
	if err != nil {
		return nil, err
	}
	api.RegisterHandlers(e, api.NewStrictHandler(h, nil))
	e.GET("/openapi.json", func(c echo.Context) error { return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, asJSON) })
	operations, refusals, err := docs(doc)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the reference pages: %w", err)
	}
	e.GET("/docs", echo.WrapHandler(operations))
	e.GET("/docs/reference/refusals", echo.WrapHandler(refusals))
	for path, handler := range cfg.Mounts {
		e.Any(path, echo.WrapHandler(handler))
	}
	return &Server{public: e, admin: adminHandler(cfg, h)}, nil
}

// adminHandler serves what only operators may see: counts of requests would tell outsiders about others' business.
func adminHandler(cfg Config, h *handlers) http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /metrics", promhttp.HandlerFor(cfg.Registry, promhttp.HandlerOpts{}))
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		api.Healthz200JSONResponse{Ok: true}.VisitHealthzResponse(w)
	})
	m.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		answer, _ := h.Readyz(r.Context(), api.ReadyzRequestObject{}) // a part that fails is an answer
		answer.VisitReadyzResponse(w)
	})
	return m
}

// Handler serves the API and what is mounted beside it.
func (s *Server) Handler() http.Handler { return s.public }

// AdminHandler serves metrics and health; its listener is for operators only.
func (s *Server) AdminHandler() http.Handler { return s.admin }

// drainWithin is how long requests under way may take after ctx ended.
const drainWithin = 10 * time.Second

// Serve answers on both listeners until ctx ends, and then lets requests under way finish. It closes the listeners.
func (s *Server) Serve(ctx context.Context, public, admin net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	for l, h := range map[net.Listener]http.Handler{public: s.public, admin: s.admin} {
		srv := &http.Server{
			Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 15 * time.Minute,
			IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		}
		g.Go(func() error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("couldn't serve on %s: %w", l.Addr(), err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
			defer cancel()
			if err := srv.Shutdown(drain); err != nil {
				return errors.Join(fmt.Errorf("couldn't finish all requests: %w", err), srv.Close())
			}
			return nil
		})
	}
	return g.Wait()
}

// handlers are the handlers of all tags.
type handlers struct {
	sessionHandlers
	accountHandlers
	commandHandlers
	healthHandlers
	domainHandlers
}

func newHandlers(cfg Config) *handlers {
	return &handlers{
		sessionHandlers: sessionHandlers{identity: cfg.Identity, cookie: cookieFor(cfg.PlainHTTP)},
		accountHandlers: accountHandlers{identity: cfg.Identity},
		commandHandlers: commandHandlers{ledger: cfg.Ledger},
		healthHandlers:  healthHandlers{parts: cfg.Parts, log: cfg.Log},
		domainHandlers:  domainHandlers{Domain: cfg.Domain, identity: cfg.Identity},
	}
}

var _ api.StrictServerInterface = (*handlers)(nil)
