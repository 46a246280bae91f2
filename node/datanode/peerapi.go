package main

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/peer"
)

// peerAPI is what other nodes call: POST /agreements/{id}/call and its siblings.
func (n *Node) peerAPI() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/agreements/{id}/{op}", func(w http.ResponseWriter, r *http.Request) {
		who, err := n.pins.Of(r)
		switch {
		case errors.Is(err, peer.ErrUnknown):
			refusePeer(w, peer.Unknown, "the ledger holds no node in service with this key")
			return
		case err != nil:
			n.log.ErrorContext(r.Context(), "couldn't tell who a peer is", "err", err)
			refuse(w, http.StatusServiceUnavailable, "failure", "this node can't tell who you are")
			return
		}
		s := n.serving(contracts.ID(r.PathValue("id")))
		if s == nil || s.buyer != who.Member {
			refusePeer(w, "grant.unknown", "this peer has no grant under this agreement")
			return
		}
		s.handler.ServeHTTP(w, r.WithContext(&slot{Context: r.Context(), from: who}))
	})
	return m
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
