package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
)

type localCallRequest struct {
	Agreement  contracts.ID         `json:"agreement"`
	Subject    contracts.CreditCode `json:"subject"`
	Fields     []string             `json:"fields"`
	Purpose    policy.Purpose       `json:"purpose"`
	Operation  policy.Operation     `json:"operation"` // "query" when empty
	Consent    contracts.ID         `json:"consent"`
	ConsentKey string               `json:"consentKey"` // 64 hex digits
	AsOf       int64                `json:"asOf"`       // ms
	KnownAt    int64                `json:"knownAt"`    // ms
	// Nonce is 32 hex digits, the first 12 of them the time in ms. The same nonce again, within ten minutes, gets the
	// same answer and is billed once. Without one the node makes it and answers it, in a 504 too.
	Nonce string `json:"nonce"`
}

// request checks what can be checked here: what is malformed doesn't leave this node.
func (q *localCallRequest) request() (r gate.Request, err error) {
	r = gate.Request{AsOf: contracts.Millis(q.AsOf), KnownAt: contracts.Millis(q.KnownAt), Consent: q.Consent, Fields: q.Fields, Operation: q.Operation, Purpose: q.Purpose, Subject: q.Subject}
	if r.Operation == "" {
		r.Operation = policy.Query
	}
	if q.ConsentKey != "" {
		if r.ConsentKey, err = hex.DecodeString(q.ConsentKey); err != nil || len(r.ConsentKey) != 32 {
			return r, fmt.Errorf("consentKey is 64 hex digits")
		}
	}
	if !r.Operation.NamesSubject() || r.Operation == policy.JointScore {
		return r, fmt.Errorf("operation is one that names one subject: query or verify")
	}
	_, err = gate.ParseRequest(r.Bytes())
	return r, err
}

type localReceipt struct {
	Seq     int64  `json:"seq"`
	Epoch   int64  `json:"epoch"`
	Units   int64  `json:"units"`
	Outcome string `json:"outcome"`
	Leaf    string `json:"leaf"` // base64
}

func (n *Node) localCall(w http.ResponseWriter, r *http.Request) {
	var q localCallRequest
	if !decode(w, r, &q) {
		return
	}
	req, err := q.request()
	if err != nil {
		malformed(w, err.Error())
		return
	}
	nonce, ok := n.nonce(w, q.Nonce)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), n.patience)
	defer cancel()
	u, err := n.use(ctx, q.Agreement, nonce, req)
	if err != nil {
		n.localError(w, r, err, extra{"nonce": hex.EncodeToString(nonce[:])})
		return
	}
	answer(w, map[string]any{
		"outcome": u.Outcome, "values": u.Values, "detail": u.Detail, "nonce": hex.EncodeToString(nonce[:]), "asOf": u.leaf.AsOf, "knownAt": u.leaf.KnownAt,
		"snapshot": hex.EncodeToString(u.leaf.Snapshot[:]), "receipt": u.receipt(),
	})
}

// nonce reads a local request's nonce, makes one where there is none, or answers that it is malformed.
func (n *Node) nonce(w http.ResponseWriter, text string) (nonce meter.Nonce, ok bool) {
	if text == "" {
		return meter.NewNonce(n.now()), true
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(nonce) {
		malformed(w, "nonce is 32 hex digits, the first 12 of them the time in ms")
		return nonce, false
	}
	return meter.Nonce(b), true
}
