package main

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/peer"
)

// peerAPI is what other nodes call: POST /agreements/{id}/call and its siblings, what the modes serve beside the calls,
// and what they are asked outside any agreement.
func (n *Node) peerAPI() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/agreements/{id}/{op}", func(w http.ResponseWriter, r *http.Request) {
		if s, who, ok := n.grantee(w, r); ok {
			s.handler.ServeHTTP(w, r.WithContext(&slot{Context: r.Context(), from: who}))
		}
	})
	m.HandleFunc("/agreements/{id}/{mode}/{rest...}", func(w http.ResponseWriter, r *http.Request) {
		s, who, ok := n.grantee(w, r)
		if !ok {
			return
		}
		serve, ok := n.beside[r.PathValue("mode")]
		if !ok {
			refuse(w, http.StatusNotFound, "request.malformed", "no such operation")
			return
		}
		var refusal *contracts.Refusal
		switch _, err := n.gate.GoesOn(s.id, who); {
		case errors.As(err, &refusal):
			refusePeer(w, refusal.Code, refusal.Detail)
		case err != nil:
			n.log.ErrorContext(r.Context(), "couldn't decide", "agreement", s.id, "err", err)
			refuse(w, http.StatusServiceUnavailable, "failure", "this node failed, try again")
		default:
			serve(w, r, s, who)
		}
	})
	for _, x := range n.modes {
		if x.peer != nil {
			x.peer(m)
		}
	}
	return m
}

// caller tells which node in service asks, or answers the request.
func (n *Node) caller(w http.ResponseWriter, r *http.Request) (who peer.Identity, ok bool) {
	who, err := n.pins.Of(r)
	switch {
	case errors.Is(err, peer.ErrUnknown):
		refusePeer(w, peer.Unknown, "the ledger holds no node in service with this key")
	case err != nil:
		n.log.ErrorContext(r.Context(), "couldn't tell who a peer is", "err", err)
		refuse(w, http.StatusServiceUnavailable, "failure", "this node can't tell who you are")
	}
	return who, err == nil
}

// grantee gives the agreement in the path when its buyer's node asks, or answers the request.
func (n *Node) grantee(w http.ResponseWriter, r *http.Request) (*served, peer.Identity, bool) {
	who, ok := n.caller(w, r)
	if !ok {
		return nil, who, false
	}
	tended := n.tended.Load() // before the look: what was open then is seen
	s := n.serving(contracts.ID(r.PathValue("id")))
	if s == nil && !tended {
		refuse(w, http.StatusServiceUnavailable, "failure", "this node is starting, try again")
		return nil, who, false
	}
	if s == nil || s.buyer != who.Member {
		refusePeer(w, "grant.unknown", "this peer has no grant under this agreement")
		return nil, who, false
	}
	return s, who, true
}

// refusePeer answers a refusal before any log is asked, in the one form that the receipts' consumer takes for one.
func refusePeer(w http.ResponseWriter, code contracts.Code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusConflict)
	json.NewEncoder(w).Encode(struct {
		Type   string         `json:"type"`
		Title  string         `json:"title"`
		Status int            `json:"status"`
		Code   contracts.Code `json:"code"`
		Detail string         `json:"detail"`
	}{"/docs/reference/refusals#" + string(code), "refused", http.StatusConflict, code, detail})
}
