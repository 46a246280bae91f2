package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/catalog"
	"github.com/bund-exchange/bund/server/compliance"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
)

// Codes of what is not a refusal. Nothing was decided, or, with outcome_unknown, it isn't known whether it was. A code
// without a dot is never one of the ledger's.
const (
	codeFailure     contracts.Code = "failure"
	codeUnavailable contracts.Code = "unavailable"
	codeBehind      contracts.Code = "projection_behind"
	codeUnknown     contracts.Code = "outcome_unknown"
)

// docsAt is where codes are documented, relative to the market's address.
const docsAt = "/docs/reference/refusals#"

// retryAfterSec is what callers are told to wait after a failure that may pass.
const retryAfterSec = 1

// invalid is a refusal with a list of the fields that are at fault.
type invalid struct {
	*contracts.Refusal
	fields []api.FieldError
}

func (e *invalid) Unwrap() error { return e.Refusal }

// panicked is a panic in a handler, with where it happened.
type panicked struct {
	value any
	stack []byte
}

func newPanicked(v any) error { return &panicked{v, debug.Stack()} }

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

type problems struct {
	log     *slog.Logger
	metrics *metrics
}

// handle answers a request that ended with an error.
func (p *problems) handle(err error, c echo.Context) {
	ctx := c.Request().Context()
	ev := Event(ctx)
	if c.Response().Committed {
		ev.Err = err
		return
	}
	body, retryAfter := problemOf(err, ev)
	ev.Code = *body.Code
	if body.Position != nil {
		ev.At(uint64(*body.Position))
	}
	if body.Status >= 500 {
		ev.Err = err
		p.metrics.failures.WithLabelValues(ev.Code).Inc()
	} else {
		p.metrics.refusals.WithLabelValues(ev.Code).Inc()
	}
	h := c.Response().Header()
	if retryAfter > 0 {
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(retryAfter))
	}
	if body.CommandId != nil {
		h.Set(echo.HeaderLocation, "/commands/"+*body.CommandId)
	}
	if body.Status == http.StatusUnauthorized {
		h.Set(echo.HeaderWWWAuthenticate, `Bearer realm="bund"`)
	}
	h.Set("Cache-Control", "no-store")
	h.Set(echo.HeaderContentType, "application/problem+json")
	b, err := json.Marshal(body)
	if err != nil {
		ev.Err = errors.Join(ev.Err, fmt.Errorf("couldn't encode problem: %w", err))
		b = nil
	}
	c.Response().WriteHeader(body.Status)
	if c.Request().Method != http.MethodHead {
		c.Response().Write(b) // an error means that the caller is gone
	}
}

// problemOf is the only translation of errors into problems. retryAfter is in seconds, 0 for none.
func problemOf(err error, ev *RequestEvent) (body api.Problem, retryAfter int) {
	var refusal *contracts.Refusal
	var blocked *identity.Blocked
	var echoed *echo.HTTPError
	if r := ofCapability(err); r != nil {
		err = r
	}
	switch {
	case errors.As(err, &refusal):
		body = refused(refusal)
		var at *ledger.Refused
		if errors.As(err, &at) {
			position := int64(at.Position)
			body.Position = &position
		}
		var inv *invalid
		if errors.As(err, &inv) && len(inv.fields) > 0 {
			body.Errors = &inv.fields
		}
		if errors.As(err, &blocked) {
			retryAfter = int(math.Ceil(blocked.RetryAfter.Seconds()))
		} else if body.Status == http.StatusTooManyRequests {
			retryAfter = retryAfterSec
		}
	case errors.Is(err, ledger.ErrOutcomeUnknown) || errors.Is(err, pg.ErrCommitUnknown):
		body = failed(codeUnknown)
		if ev.Command != "" {
			id := string(ev.Command)
			body.CommandId = &id
		}
		detail := "it may have been done: look it up before trying again"
		body.Detail = &detail
	case errors.Is(err, errBehind):
		body, retryAfter = failed(codeBehind), retryAfterSec
	case errors.Is(err, compliance.ErrErased) || errors.Is(err, compliance.ErrNothingPublished) ||
		errors.Is(err, ledger.ErrStopped) || errors.Is(err, ledger.ErrClosed) || pg.IsUnavailable(err) || pg.IsConflict(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		body, retryAfter = failed(codeUnavailable), retryAfterSec
	case errors.As(err, &echoed) && echoed.Code < 500:
		body = refused(refusalOf(echoed.Code))
	default:
		body = failed(codeFailure)
	}
	body.Type, body.Title, body.RequestId = docsAt+*body.Code, title(body.Status), &ev.ID
	return body, retryAfter
}

// ofCapability gives the refusal that a capability's own error stands for, nil if it is none.
func ofCapability(err error) error {
	var query *catalog.BadQuery
	var document *catalog.BadDocument
	switch {
	case errors.Is(err, projection.ErrNotFound):
		return errNotFound
	case errors.Is(err, projection.ErrBadCursor):
		return newInvalid([]api.FieldError{{Field: "query.cursor", Detail: "it is no cursor of this list"}})
	case errors.As(err, &query):
		return newInvalid([]api.FieldError{{Field: "query." + query.Field, Detail: query.What}})
	case errors.As(err, &document):
		return newInvalid([]api.FieldError{{Field: document.Field, Detail: document.What}})
	}
	return nil
}

func refused(r *contracts.Refusal) api.Problem {
	code := string(r.Code)
	p := api.Problem{Status: Status(r.Code), Code: &code}
	if r.Detail != "" {
		p.Detail = &r.Detail
	}
	if r.Field != "" {
		p.Errors = &[]api.FieldError{{Field: r.Field, Detail: r.Detail}}
	}
	return p
}

func failed(code contracts.Code) api.Problem {
	c := string(code)
	return api.Problem{Status: Status(code), Code: &c}
}

// refusalOf names what the router and the generated binding refuse. Their messages quote the request and are dropped.
func refusalOf(status int) *contracts.Refusal {
	switch status {
	case http.StatusNotFound:
		return errNoPath
	case http.StatusMethodNotAllowed:
		return errNoMethod
	}
	return errInvalid
}

func title(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "请求有误 · Bad request"
	case http.StatusUnauthorized:
		return "请先登录 · Not signed in"
	case http.StatusForbidden:
		return "无权操作 · Not allowed"
	case http.StatusNotFound:
		return "未找到 · Not found"
	case http.StatusConflict:
		return "状态不符 · State stands against it"
	case http.StatusUnprocessableEntity:
		return "不符合规则 · Against the rules"
	case http.StatusTooManyRequests:
		return "请求过多 · Too many requests"
	case http.StatusServiceUnavailable:
		return "暂不可用 · Not available now"
	case http.StatusGatewayTimeout:
		return "结果未知 · Outcome unknown"
	case http.StatusInternalServerError:
		return "内部错误 · Internal error"
	}
	return "请求被拒绝 · Refused"
}
