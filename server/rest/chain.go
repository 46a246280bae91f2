package rest

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo-contrib/echoprometheus"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// newEcho makes the chain that every request passes, the outermost first.
func newEcho(cfg Config, conform echo.MiddlewareFunc) (*echo.Echo, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	var err error
	if e.IPExtractor, err = addresses(cfg.TrustedProxies); err != nil {
		return nil, err
	}
	p := &problems{log: cfg.Log, metrics: newMetrics(cfg.Registry)}
	e.HTTPErrorHandler = p.handle
	e.Use(
		echoprometheus.NewMiddlewareWithConfig(echoprometheus.MiddlewareConfig{
			Namespace: "bund", Subsystem: "http", Registerer: cfg.Registry, DoNotUseRequestPathFor404: true,
			// Callers write the Host header: as a label it would let them fill the memory.
			LabelFuncs: map[string]echoprometheus.LabelValueFunc{"host": func(echo.Context, error) string { return "" }},
		}),
		recordEvents(cfg.Log),
		recoverPanics,
		middleware.SecureWithConfig(middleware.SecureConfig{
			ContentTypeNosniff: "nosniff", XFrameOptions: "DENY", ReferrerPolicy: "no-referrer",
			ContentSecurityPolicy: "default-src 'none'; frame-ancestors 'none'", HSTSMaxAge: 31536000,
		}),
		limitRate(cfg.RatePerSec),
		refuseForgeries(),
		conform,
	)
	return e, nil
}

// addresses says how a caller's address is found. A header is believed only when a trusted proxy sent it.
func addresses(proxies []string) (echo.IPExtractor, error) {
	if len(proxies) == 0 {
		return echo.ExtractIPDirect(), nil
	}
	opts := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range proxies {
		_, n, err := net.ParseCIDR(p)
		if err != nil {
			return nil, fmt.Errorf("trusted proxy %q: want a network such as 10.0.0.0/8: %w", p, err)
		}
		opts = append(opts, echo.TrustIPRange(n))
	}
	return echo.ExtractIPFromXFFHeader(opts...), nil
}

// recoverPanics makes a failure of a panic, so that one request can't end the others.
func recoverPanics(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch r := recover(); r {
			case nil:
			case http.ErrAbortHandler:
				panic(r)
			default:
				err = newPanicked(r)
			}
		}()
		return next(c)
	}
}

// limitRate bounds the requests of one address: an IPv4 address, or the /64 of an IPv6 one.
func limitRate(perSec float64) echo.MiddlewareFunc {
	return middleware.RateLimiterWithConfig(middleware.RateLimiterConfig{
		Skipper: func(c echo.Context) bool {
			return c.Path() == "/healthz" || c.Path() == "/readyz"
		},
		Store: middleware.NewRateLimiterMemoryStoreWithConfig(middleware.RateLimiterMemoryStoreConfig{
			Rate: rate.Limit(perSec), Burst: max(1, int(2*perSec)), ExpiresIn: 3 * time.Minute,
		}),
		IdentifierExtractor: func(c echo.Context) (string, error) { return networkOf(c.RealIP()), nil },
		DenyHandler:         func(echo.Context, string, error) error { return errRate },
	})
}

func networkOf(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if a = a.Unmap().WithZone(""); a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// refuseForgeries refuses what a browser sends for another site's page. It is one of several defences against forged
// requests, see package identity.
func refuseForgeries() echo.MiddlewareFunc {
	guard := http.NewCrossOriginProtection()
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if guard.Check(c.Request()) != nil {
				return errCrossOrigin
			}
			return next(c)
		}
	}
}

type metrics struct {
	refusals *prometheus.CounterVec // by code
	failures *prometheus.CounterVec // by code
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bund_refusals_total", Help: "Requests refused, by code."}, []string{"code"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bund_failures_total", Help: "Requests that failed or whose outcome is unknown, by code."}, []string{"code"}),
	}
	r.MustRegister(m.refusals, m.failures)
	return m
}
