package main

import (
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
)

// The local API is for this member's own systems, on loopback, JSON in and out. Every request but /healthz carries the
// bearer token of <dir>/local.token. Errors are RFC 9457: 409 is a refusal with its code, 503 a failure, 504 says that
// the outcome is unknown.
//
//	POST /v1/calls                       use data under an agreement
//	POST /v1/models                      make a model of a scorecard, to be registered
//	POST /v1/scores                      score companies under a registered model: one call
//	POST /v1/intersections               which companies of a list the provider has too: one call, then a session
//	GET  /v1/intersections[/{id}]        how far they are; /{id}/matches when done; DELETE /{id} forgets one that is over
//	POST /v1/lookups                     ask about companies without telling the provider which
//	POST /v1/lookup-tables               begin a new key epoch of lookups: key, table, commitment (provider)
//	GET  /v1/lookup-tables/{version}     how far that has come
//	POST /v1/lookup-tables/fetch         fetch an agreement's table ahead, or say how far that has come
//	POST /v1/company-histories           who was given tickets about a company (consent service)
//	POST /v1/files                       have a dataset sealed to this node: one call
//	GET  /v1/files/{digest}              how much of it is here
//	POST /v1/files/{digest}/chunks       fetch some more of it
//	GET  /v1/files/{digest}/content      open it, when all is here
//	DELETE /v1/files/{digest}            remove it, and the proof of what was delivered
//	GET  /v1/statistics/{task}           what this node is in a joint statistic, and how far
//	POST /v1/statistics/{task}/contributions
//	                                     split values between the aggregators
//	POST /v1/statistics/{task}/collect   close the next batch and collect its sum, with noise
//	POST /v1/statistics/results          buy a result: one call
//	POST /v1/queries                     compute on a provider's dataset: one call
//	POST /v1/consents                    register consents from the bank's channel, one or a batch
//	POST /v1/consents/{id}/revoke        revoke one
//	GET  /v1/commands/{id}               what became of a command of this node
//	GET  /v1/agreements                  what this member uses and serves, with receipts
//	POST /v1/agreements/{id}/void        take back a leaf that the consumer objects to (provider)
//	POST /v1/agreements/{id}/epoch       begin a new log after a dispute (both sides)
//	POST /v1/datasets/{name}/report      report a dataset to the ledger, for a product version
//	POST /v1/ui-codes                    a code that lets one browser into the page at /ui/
//	GET  /v1/status                      following, stores, and what can't be done now
//	GET  /healthz
func (n *Node) localAPI(token string) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/calls", n.localCall)
	m.HandleFunc("POST /v1/consents", n.localConsents)
	m.HandleFunc("POST /v1/consents/{id}/revoke", n.localRevoke)
	m.HandleFunc("GET /v1/commands/{id}", n.localLookup)
	m.HandleFunc("GET /v1/agreements", n.localAgreements)
	m.HandleFunc("POST /v1/agreements/{id}/void", n.localVoid)
	m.HandleFunc("POST /v1/agreements/{id}/epoch", n.localEpoch)
	m.HandleFunc("POST /v1/datasets/{name}/report", n.localReport)
	m.HandleFunc("GET /v1/status", n.localStatus)
	for _, x := range n.modes {
		if x.local != nil {
			x.local(m)
		}
	}
	want := []byte("Bearer " + token)
	sessions := &uiSessions{now: n.now}
	m.HandleFunc("POST /v1/ui-codes", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"code": sessions.newCode(), "url": "http://" + n.localAddr + "/ui/", "validitySec": int(uiCodeLife.Seconds())})
	})
	top := http.NewServeMux()
	sessions.handle(top)
	top.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { answer(w, map[string]bool{"ok": true}) })
	top.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 && !sessions.in(r) {
			refuse(w, http.StatusUnauthorized, "local.token", "want the bearer token of this node's local.token file")
			return
		}
		m.ServeHTTP(w, r)
	})
	return top
}

// localToken reads or makes the token that local systems present.
func localToken(dir string) (string, error) {
	s, err := readSeed(filepath.Join(dir, "local.token"), true)
	return hex.EncodeToString(s[:]), err
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// extra is what a refusal may carry beside its code.
type extra map[string]any

func refuse(w http.ResponseWriter, status int, code contracts.Code, detail string, more ...extra) {
	p := extra{"type": "about:blank", "code": code, "title": http.StatusText(status), "status": status, "detail": detail}
	for _, m := range more {
		for k, v := range m {
			p[k] = v
		}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(p)
}

// maxLocalBytes bounds a request of a local system.
const maxLocalBytes = 4 << 20

// decode reads a strict JSON body.
func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLocalBytes))
	if err == nil {
		err = strictJSON(b, v)
	}
	if err != nil {
		malformed(w, err.Error())
		return false
	}
	return true
}

func malformed(w http.ResponseWriter, detail string) {
	refuse(w, http.StatusBadRequest, "request.malformed", detail)
}

// pathID reads the id in a request's path.
func pathID(w http.ResponseWriter, r *http.Request) (contracts.ID, bool) {
	id := contracts.ID(r.PathValue("id"))
	if err := id.Check(); err != nil {
		malformed(w, "the id in the path: "+err.Error())
		return "", false
	}
	return id, true
}

// localError answers an error: a refusal with its code, a failure without detail.
func (n *Node) localError(w http.ResponseWriter, r *http.Request, err error, more ...extra) {
	var mr *meter.Refusal
	var cr *contracts.Refusal
	var p *problem
	var b *meter.Breach
	switch {
	case errors.As(err, &mr):
		refuse(w, http.StatusConflict, mr.Code, mr.Detail)
	case errors.As(err, &cr) && cr.Code == "agreement.unknown":
		refuse(w, http.StatusNotFound, cr.Code, cr.Detail)
	case errors.As(err, &cr):
		refuse(w, http.StatusConflict, cr.Code, cr.Detail)
	case errors.As(err, &b):
		refuse(w, http.StatusConflict, "receipts.breach", b.Error())
	case errors.Is(err, peer.ErrUnknown) || errors.Is(err, peer.ErrAnother):
		refuse(w, http.StatusConflict, peer.Unknown, "the provider's node is not, or no longer, what the ledger says it is")
	case final(err) && errors.As(err, &p):
		refuse(w, http.StatusConflict, contracts.Code(p.Code), p.Detail)
	case errors.Is(err, meter.ErrOutcomeUnknown), errors.Is(err, errUnknown):
		n.log.WarnContext(r.Context(), "the outcome of a local request is unknown", "path", r.URL.Path, "err", err)
		refuse(w, http.StatusGatewayTimeout, "outcome_unknown", "it may have been done; see what this answer names", more...)
	default:
		n.log.ErrorContext(r.Context(), "a local request failed", "path", r.URL.Path, "err", err)
		refuse(w, http.StatusServiceUnavailable, "failure", "this node or the other side failed, try again")
	}
}
