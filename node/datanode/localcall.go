package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
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
func (q *localCallRequest) request() (body []byte, err error) {
	r := gate.Request{AsOf: contracts.Millis(q.AsOf), KnownAt: contracts.Millis(q.KnownAt), Consent: q.Consent, Fields: q.Fields, Operation: q.Operation, Purpose: q.Purpose, Subject: q.Subject}
	if r.Operation == "" {
		r.Operation = policy.Query
	}
	if q.ConsentKey != "" {
		if r.ConsentKey, err = hex.DecodeString(q.ConsentKey); err != nil || len(r.ConsentKey) != 32 {
			return nil, fmt.Errorf("consentKey is 64 hex digits")
		}
	}
	body = r.Bytes()
	_, err = gate.ParseRequest(body)
	return body, err
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
	body, err := q.request()
	if err != nil {
		malformed(w, err.Error())
		return
	}
	nonce := meter.NewNonce(n.now())
	if q.Nonce != "" {
		b, err := hex.DecodeString(q.Nonce)
		if err != nil || len(b) != len(nonce) {
			malformed(w, "nonce is 32 hex digits, the first 12 of them the time in ms")
			return
		}
		copy(nonce[:], b)
	}
	c := n.consumer(q.Agreement)
	if c == nil {
		refuse(w, http.StatusNotFound, "agreement.unknown", "this node uses no agreement with this id, or has not followed it yet")
		return
	}
	if err := c.link.Standing(); err != nil {
		n.localError(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), n.patience)
	defer cancel()
	a, err := c.receipts.Call(ctx, nonce, body)
	if err != nil {
		n.localError(w, r, err, extra{"nonce": hex.EncodeToString(nonce[:])})
		return
	}
	var out Body
	if err := canon.Unmarshal(a.Body, &out); err != nil {
		n.localError(w, r, fmt.Errorf("couldn't read the provider's answer: %w", err))
		return
	}
	leaf, err := meter.DecodeLeaf(a.Receipt.Leaf)
	if err != nil {
		n.localError(w, r, err)
		return
	}
	answer(w, map[string]any{
		"outcome": out.Outcome, "values": out.Values, "detail": out.Detail, "nonce": hex.EncodeToString(nonce[:]), "asOf": leaf.AsOf, "knownAt": leaf.KnownAt,
		"snapshot": hex.EncodeToString(leaf.Snapshot[:]),
		"receipt":  localReceipt{leaf.Seq, leaf.Epoch, leaf.Units, leaf.Outcome.String(), base64.StdEncoding.EncodeToString(a.Receipt.Leaf)},
	})
}
