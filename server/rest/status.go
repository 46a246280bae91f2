package rest

import (
	"net/http"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

// The refusals of this package: about a request as such, decided without the ledger.
var (
	errInvalid     = refuse("invalid_request", "the request doesn't fit the API's document")
	errNotFound    = refuse("not_found", "it isn't there, or not for this caller")
	errForbidden   = refuse("forbidden", "the ledger gives this caller no right to it")
	errNoPath      = refuse("request.path", "nothing is at this path")
	errNoMethod    = refuse("request.method", "this path has no such method")
	errMediaType   = refuse("request.media_type", "the body's type is not the one in the API's document, in UTF-8 without content encoding")
	errTooLarge    = refuse("request.too_large", "a body has at most 4 MiB")
	errRate        = refuse("request.rate", "too many requests from this address")
	errCrossOrigin = refuse("request.cross_origin", "a browser sent this for another site's page")
	errCSRF        = refuse("request.csrf", "a write in a session needs the header Bund-Csrf: 1")
)

func refuse(code contracts.Code, detail string) *contracts.Refusal {
	return &contracts.Refusal{Code: code, Detail: detail}
}

// exactStatus lists codes whose status doesn't follow from their words.
var exactStatus = map[contracts.Code]int{
	"invalid_request":      http.StatusBadRequest,
	"not_found":            http.StatusNotFound,
	"forbidden":            http.StatusForbidden,
	"request.path":         http.StatusNotFound,
	"request.method":       http.StatusMethodNotAllowed,
	"request.media_type":   http.StatusUnsupportedMediaType,
	"request.rate":         http.StatusTooManyRequests,
	"request.cross_origin": http.StatusForbidden,
	"request.csrf":         http.StatusForbidden,

	"session.credentials": http.StatusUnauthorized,
	"session.required":    http.StatusUnauthorized,
	"session.blocked":     http.StatusTooManyRequests,
	"client.credentials":  http.StatusUnauthorized,
	"client.token":        http.StatusUnauthorized,

	"command.malformed": http.StatusBadRequest,
	"command.body":      http.StatusBadRequest,
	"opening.malformed": http.StatusBadRequest,
	"batch.dependent":   http.StatusServiceUnavailable,
	"clock.peer":        http.StatusServiceUnavailable,
	"epoch.unknown":     http.StatusServiceUnavailable,
	"epoch.stale":       http.StatusServiceUnavailable,

	codeFailure:     http.StatusInternalServerError,
	codeUnavailable: http.StatusServiceUnavailable,
	codeBehind:      http.StatusServiceUnavailable,
	codeUnknown:     http.StatusGatewayTimeout,
}

// wordStatus is by what stands after the dot.
var wordStatus = map[string]int{
	"unknown":   http.StatusNotFound,
	"too_large": http.StatusRequestEntityTooLarge,

	// Not for this caller.
	"role": http.StatusForbidden, "duty": http.StatusForbidden, "foreign": http.StatusForbidden, "custody": http.StatusForbidden,
	"not_active": http.StatusForbidden, "self": http.StatusForbidden, "affiliate": http.StatusForbidden,

	// The state of things stands against it; another state may come, or has been.
	"state": http.StatusConflict, "exists": http.StatusConflict, "taken": http.StatusConflict, "login_taken": http.StatusConflict,
	"id_reused": http.StatusConflict, "done": http.StatusConflict, "twice": http.StatusConflict, "open": http.StatusConflict,
	"none": http.StatusConflict, "frozen": http.StatusConflict, "over": http.StatusConflict, "running": http.StatusConflict,
	"decided": http.StatusConflict, "answered": http.StatusConflict, "revoked": http.StatusConflict, "withdrawn": http.StatusConflict,
	"dismissed": http.StatusConflict, "retired": http.StatusConflict, "stale": http.StatusConflict, "stale_version": http.StatusConflict,
	"expired": http.StatusConflict, "early": http.StatusConflict, "too_early": http.StatusConflict, "final": http.StatusConflict,
	"warned": http.StatusConflict, "not_warned": http.StatusConflict, "payment_hold": http.StatusConflict, "quota": http.StatusConflict,
	"funds": http.StatusConflict, "objection": http.StatusConflict,
}

// Status is the HTTP status of a code: exactStatus, else by the word after the dot, else 403 for what is about
// signatures and keys, else 422. It is presentation: clients branch on the code.
func Status(code contracts.Code) int {
	if s, ok := exactStatus[code]; ok {
		return s
	}
	noun, word, _ := strings.Cut(string(code), ".")
	if s, ok := wordStatus[word]; ok {
		return s
	}
	switch noun {
	case "signature", "key":
		return http.StatusForbidden
	}
	return http.StatusUnprocessableEntity
}
