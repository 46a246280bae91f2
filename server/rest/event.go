package rest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/server/identity"
)

// RequestEvent is the one line that is logged of a request. Handlers fill in what they learn: ids, kinds and positions,
// never bodies, terms, amounts or names.
type RequestEvent struct {
	ID       string // also the X-Request-Id of the response, and the requestId of a problem
	Caller   identity.Caller
	Command  contracts.ID // that the request is about
	Kind     string       // of that command
	Position *uint64      // on the ledger, written or decided at
	Code     string       // of a problem
	Err      error        // of a failure: what outsiders are not told

	address    string   // of the caller
	session    string   // the token in the cookie, if any
	bearer     string   // the token in the Authorization header, if the caller came in by it
	id, secret string   // client credentials, if the operation wants them
	url        *url.URL // as requested
}

type eventKey struct{}

// Event gives the event of the request that ctx belongs to. Outside a request it gives one that nobody reads.
func Event(ctx context.Context) *RequestEvent {
	if ev, ok := ctx.Value(eventKey{}).(*RequestEvent); ok {
		return ev
	}
	return &RequestEvent{}
}

// At notes a position on the ledger.
func (ev *RequestEvent) At(position uint64) { ev.Position = &position }

func newRequestID() string {
	var raw [8]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// recordEvents begins each request's event, turns its error into the response, and logs the event.
func recordEvents(log *slog.Logger) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			began := time.Now()
			ev := &RequestEvent{ID: newRequestID(), address: c.RealIP(), url: c.Request().URL}
			c.Response().Header().Set(echo.HeaderXRequestID, ev.ID)
			c.SetRequest(c.Request().WithContext(context.WithValue(c.Request().Context(), eventKey{}, ev)))
			if err := next(c); err != nil {
				c.Error(err)
			}
			logEvent(log, c, ev, time.Since(began))
			return nil
		}
	}
}

func logEvent(log *slog.Logger, c echo.Context, ev *RequestEvent, took time.Duration) {
	req, res := c.Request(), c.Response()
	level := slog.LevelInfo
	switch {
	case ev.Code == "projection_behind": // anybody may ask for a position that is far ahead
		level = slog.LevelWarn
	case ev.Err != nil:
		level = slog.LevelError
	case c.Path() == "/healthz" || c.Path() == "/readyz":
		level = slog.LevelDebug
	}
	// The route, not the path: ids in paths may tell who deals with whom.
	attrs := []slog.Attr{
		slog.String("id", ev.ID), slog.String("method", req.Method), slog.String("route", c.Path()), slog.Int("status", res.Status),
		slog.Int64("tookUs", took.Microseconds()), slog.Int64("bytesIn", max(0, req.ContentLength)), slog.Int64("bytesOut", res.Size),
	}
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	text("code", ev.Code)
	text("member", string(ev.Caller.Member))
	text("account", string(ev.Caller.Account))
	text("client", string(ev.Caller.Client))
	text("command", string(ev.Command))
	text("kind", ev.Kind)
	if ev.Position != nil {
		attrs = append(attrs, slog.Uint64("position", *ev.Position))
	}
	if ev.Err != nil {
		attrs = append(attrs, slog.Any("err", ev.Err))
	}
	log.LogAttrs(req.Context(), level, "request", attrs...)
}
