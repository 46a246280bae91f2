package rest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/labstack/echo/v4"

	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/server/api"
	"github.com/bund-exchange/bund/server/identity"
	"github.com/bund-exchange/bund/server/rest/strictjson"
)

// maxBodyBytes bounds every request's body.
const maxBodyBytes = 4 << 20

// conformance lets only requests through that are what the API's document says, by a caller that it allows.
type conformance struct {
	routes     map[string]*routers.Route // by method and echo's path
	params     map[*openapi3.Operation]map[string]bool
	identity   *identity.Directory
	projection Projection
	ledger     ledger.Ledger // nil: every position is waited for
	shared     bool
	cookie     cookie
	timeout    time.Duration
}

// unbounded lists operations that may work as long as their caller waits: their answers are as large as the ledger.
var unbounded = map[string]bool{"Export": true}

func newConformance(cfg Config, doc *openapi3.T) echo.MiddlewareFunc {
	n := &conformance{
		routes: map[string]*routers.Route{}, params: map[*openapi3.Operation]map[string]bool{},
		identity: cfg.Identity, projection: cfg.Projection, ledger: cfg.Domain.Ledger, shared: cfg.Shared, cookie: cookieFor(cfg.PlainHTTP),
		timeout: time.Duration(cfg.TimeoutSec) * time.Second,
	}
	// For a document of 3.1 the validator compiles the schema anew for every request, and names no field. Of what 3.1
	// adds, this one uses nothing that the older validator doesn't know; a test sees to it.
	doc.OpenAPI = "3.0.3"
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			at := strings.NewReplacer("{", ":", "}", "").Replace(path)
			n.routes[method+" "+at] = &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: op}
			query := map[string]bool{}
			for _, list := range []openapi3.Parameters{item.Parameters, op.Parameters} {
				for _, p := range list {
					if p.Value.In == openapi3.ParameterInQuery {
						query[p.Value.Name] = true
					}
				}
			}
			n.params[op] = query
		}
	}
	return n.middleware
}

func (n *conformance) middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		route, ok := n.routes[c.Request().Method+" "+c.Path()]
		if !ok {
			return next(c) // no path, no method, or beside the API
		}
		c.Response().Header().Set("Cache-Control", "no-store")
		if !unbounded[route.Operation.OperationID] {
			ctx, cancel := context.WithTimeout(c.Request().Context(), n.timeout)
			defer cancel()
			c.SetRequest(c.Request().WithContext(ctx))
		}
		if err := n.authenticate(c, route); err != nil {
			return err
		}
		query, err := n.query(c.Request(), route.Operation)
		if err != nil {
			return err
		}
		if err := readBody(c.Request(), route.Operation.RequestBody); err != nil {
			return err
		}
		if err := validate(c, route, query); err != nil {
			return err
		}
		if err := n.waitFor(c, query); err != nil {
			return err
		}
		return next(c)
	}
}

// authenticate finds the caller if the operation wants one. The document says which ways in there are.
func (n *conformance) authenticate(c echo.Context, route *routers.Route) error {
	ctx, req := c.Request().Context(), c.Request()
	ev := Event(ctx)
	if k, err := req.Cookie(n.cookie.name); err == nil {
		ev.session = k.Value
	}
	needs := route.Spec.Security
	if route.Operation.Security != nil {
		needs = *route.Operation.Security
	}
	if len(needs) == 0 {
		return nil
	}
	ways, optional := map[string]bool{}, false
	for _, way := range needs {
		optional = optional || len(way) == 0
		for name := range way {
			ways[name] = true
		}
	}
	caller, err := n.caller(ctx, req, ev, ways)
	if err != nil {
		if optional && ev.session == "" && req.Header.Get(echo.HeaderAuthorization) == "" {
			return nil // anonymous, and nobody tried to be more
		}
		return err
	}
	ev.Caller = caller
	if caller.Member != "" {
		c.SetRequest(req.WithContext(identity.WithCaller(ctx, caller)))
	}
	return nil
}

// caller takes the first of the ways in that the request goes.
func (n *conformance) caller(ctx context.Context, req *http.Request, ev *RequestEvent, ways map[string]bool) (identity.Caller, error) {
	scheme, token, _ := strings.Cut(req.Header.Get(echo.HeaderAuthorization), " ")
	switch {
	case ways["client"]:
		var ok bool
		if ev.id, ev.secret, ok = req.BasicAuth(); !ok {
			return identity.Caller{}, refuse("client.credentials", "send client id and secret as HTTP Basic")
		}
		return identity.Caller{}, nil // the token is issued by the handler, which checks them
	case ways["bearer"] && strings.EqualFold(scheme, "Bearer"):
		ev.bearer = token
		return n.identity.Bearer(ctx, token)
	case ways["session"]:
		s, err := n.identity.Session(ctx, ev.session) // refuses an empty token
		if err != nil {
			return identity.Caller{}, err
		}
		if writes(req.Method) && req.Header.Get("Bund-Csrf") != "1" {
			return identity.Caller{}, errCSRF
		}
		return s.Caller, nil
	}
	return identity.Caller{}, refuse("session.required", "this takes another kind of sign-in")
}

func writes(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// query refuses parameters that the operation doesn't have, or has twice.
func (n *conformance) query(req *http.Request, op *openapi3.Operation) (url.Values, error) {
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return nil, errInvalid
	}
	var bad []api.FieldError
	for name, v := range values {
		switch {
		case !n.params[op][name]:
			bad = append(bad, api.FieldError{Field: "query." + clip(name), Detail: "there is no such parameter"})
		case len(v) > 1:
			bad = append(bad, api.FieldError{Field: "query." + name, Detail: "given twice"})
		case !utf8.ValidString(v[0]) || strings.ContainsRune(v[0], 0): // as in bodies; PostgreSQL takes neither
			bad = append(bad, api.FieldError{Field: "query." + name, Detail: "not UTF-8, or with U+0000"})
		}
	}
	if len(bad) > 0 {
		return nil, newInvalid(bad)
	}
	return values, nil
}

// readBody reads a body into memory, and refuses one of another type than the document says, and one that isn't
// unambiguous: JSON that readers read differently, a form with unknown or repeated names.
func readBody(req *http.Request, want *openapi3.RequestBodyRef) error {
	if req.ContentLength > maxBodyBytes {
		return errTooLarge // before waiting for it
	}
	b, err := io.ReadAll(io.LimitReader(req.Body, maxBodyBytes+1))
	switch {
	case err != nil:
		return errInvalid
	case len(b) > maxBodyBytes:
		return errTooLarge
	case want == nil && len(b) > 0:
		return refuse("invalid_request", "this takes no body")
	case want == nil:
		return nil
	}
	kind, params, err := mime.ParseMediaType(req.Header.Get(echo.HeaderContentType))
	if err != nil || req.Header.Get(echo.HeaderContentEncoding) != "" {
		return errMediaType
	}
	if cs, ok := params["charset"]; ok && !strings.EqualFold(cs, "utf-8") {
		return errMediaType
	}
	media := want.Value.Content[kind]
	switch {
	case media == nil:
		return errMediaType
	case kind == echo.MIMEApplicationForm:
		err = checkForm(string(b), media.Schema.Value)
	default:
		err = checkJSON(b)
	}
	if err != nil {
		return err
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return nil
}

func checkJSON(b []byte) error {
	var e *strictjson.Error
	if errors.As(strictjson.Check(b), &e) {
		return newInvalid([]api.FieldError{{Field: e.Pointer, Detail: e.What}})
	}
	return nil
}

func checkForm(body string, schema *openapi3.Schema) error {
	values, err := url.ParseQuery(body)
	if err != nil || !utf8.ValidString(body) {
		return errInvalid
	}
	var bad []api.FieldError
	for name, v := range values {
		switch {
		case schema.Properties[name] == nil:
			bad = append(bad, api.FieldError{Field: "/" + clip(name), Detail: "there is no such field"})
		case len(v) > 1:
			bad = append(bad, api.FieldError{Field: "/" + name, Detail: "given twice"})
		}
	}
	if len(bad) > 0 {
		return newInvalid(bad)
	}
	return nil
}

func validate(c echo.Context, route *routers.Route, query url.Values) error {
	path := map[string]string{}
	for i, name := range c.ParamNames() {
		// Echo hands over what stands in the path, escapes and all.
		v, err := url.PathUnescape(c.ParamValues()[i])
		if err != nil {
			return errInvalid
		}
		path[name] = v
	}
	err := openapi3filter.ValidateRequest(context.WithoutCancel(c.Request().Context()), &openapi3filter.RequestValidationInput{
		Request: c.Request(), PathParams: path, QueryParams: query, Route: route,
		Options: &openapi3filter.Options{
			MultiError: true, KeepValidatedValue: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
		},
	})
	if err != nil {
		return newInvalid(fieldErrors(err))
	}
	return nil
}

func newInvalid(fields []api.FieldError) error {
	return &invalid{errInvalid, fields}
}

// fieldErrors flattens the validator's errors. Its long messages, which print whole schemas, are left out.
func fieldErrors(err error) []api.FieldError {
	var out []api.FieldError
	var walk func(error, string)
	walk = func(err error, where string) {
		var many openapi3.MultiError
		switch e := err.(type) {
		case openapi3.MultiError:
			many = e
		case *openapi3filter.RequestError:
			if e.Parameter != nil {
				where = e.Parameter.In + "." + e.Parameter.Name
			}
			if e.Err == nil {
				out = append(out, api.FieldError{Field: where, Detail: clipReason(e.Reason)})
				return
			}
			walk(e.Err, where)
			return
		case *openapi3.SchemaError:
			if p := e.JSONPointer(); len(p) > 0 {
				where += "/" + strings.Join(p, "/")
			}
			out = append(out, api.FieldError{Field: where, Detail: clipReason(e.Reason)})
			return
		default:
			detail := "it can't be read"
			if errors.Is(err, openapi3filter.ErrInvalidRequired) {
				detail = "it is missing"
			}
			out = append(out, api.FieldError{Field: where, Detail: detail})
			return
		}
		for _, e := range many {
			walk(e, where)
		}
	}
	walk(err, "")
	if len(out) > maxFieldErrors {
		out = out[:maxFieldErrors]
	}
	return out
}

// maxFieldErrors bounds what a response lists.
const maxFieldErrors = 20

func clip(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

func clipReason(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}
