package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
)

type localConsent struct {
	Product  contracts.ID         `json:"product"`
	Node     contracts.ID         `json:"node"`
	Subject  contracts.CreditCode `json:"subject"`
	Purpose  policy.Purpose       `json:"purpose"`
	Fields   []string             `json:"fields"`
	From     int64                `json:"from"`
	To       int64                `json:"to"`
	MaxCalls int64                `json:"maxCalls"`
	Evidence struct {
		SignerRole  string         `json:"signerRole"`
		RealName    string         `json:"realName"`
		TextVersion string         `json:"textVersion"`
		Original    contracts.Hash `json:"original"`
		CASignature contracts.Hash `json:"caSignature"`
	} `json:"evidence"`
}

// channel makes what the ledger gets of a consent: the subject only under the consent's key.
func (c *localConsent) channel(key [32]byte) (contracts.ChannelConsent, error) {
	out := contracts.ChannelConsent{
		Scope: contracts.ConsentScope{Product: c.Product, Node: c.Node, Subject: contracts.Subject(key, c.Subject), Purpose: c.Purpose, Fields: c.Fields,
			From: contracts.Millis(c.From), To: contracts.Millis(c.To), MaxCalls: c.MaxCalls},
		Evidence: contracts.ChannelEvidence{SignerRole: c.Evidence.SignerRole, RealName: c.Evidence.RealName, TextVersion: c.Evidence.TextVersion,
			Original: c.Evidence.Original, CASignature: c.Evidence.CASignature},
	}
	for _, f := range []struct {
		name string
		err  error
	}{{"subject", c.Subject.Check()}, {"product", c.Product.Check()}, {"node", c.Node.Check()}, {"purpose", c.Purpose.Check()}, {"", out.Scope.Check()},
		{"evidence", out.Evidence.Check()}, {"evidence.original", c.Evidence.Original.Check()}, {"evidence.caSignature", c.Evidence.CASignature.Check()}} {
		if f.err != nil {
			return out, fmt.Errorf("%s: %w", f.name, f.err)
		}
	}
	return out, nil
}

// madeConsent is what the bank keeps of a consent: without its key nobody can use it.
type madeConsent struct {
	Consent    contracts.ID `json:"consent"`
	ConsentKey string       `json:"consentKey"`
}

// localConsents registers consents. The keys are made here and given to the caller: only the bank and, in a call, the
// node that the consent names ever see them. When the outcome is unknown the caller gets them too, with the command's
// id, by which it learns whether they count.
func (n *Node) localConsents(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Consents []localConsent `json:"consents"`
	}
	if !decode(w, r, &q) {
		return
	}
	if len(q.Consents) == 0 || len(q.Consents) > 200 {
		refuse(w, http.StatusBadRequest, "consent.batch", "a batch has 1 to 200 consents")
		return
	}
	var body contracts.ConsentRegister
	made := make([]madeConsent, len(q.Consents))
	for i := range q.Consents {
		k := gate.NewConsentKey()
		made[i].ConsentKey = gate.ConsentKeyHex(k)
		c, err := q.Consents[i].channel(k)
		if err != nil {
			malformed(w, fmt.Sprintf("consents.%d.%v", i, err))
			return
		}
		body.Consents = append(body.Consents, c)
	}
	ctx, cancel := context.WithTimeout(r.Context(), n.patience)
	defer cancel()
	id, a, err := n.command(ctx, "consent.register", body)
	for i := range made {
		if id != "" {
			made[i].Consent = contracts.ConsentID(id, i)
		}
	}
	if err != nil {
		n.localError(w, r, err, extra{"command": id, "consents": made})
		return
	}
	answer(w, map[string]any{"position": a.Position, "command": id, "consents": made})
}

func (n *Node) localRevoke(w http.ResponseWriter, r *http.Request) {
	consent, ok := pathID(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), n.patience)
	defer cancel()
	id, a, err := n.command(ctx, "consent.revoke", contracts.ConsentRevoke{Consent: consent})
	if err != nil {
		n.localError(w, r, err, extra{"command": id})
		return
	}
	answer(w, map[string]any{"position": a.Position, "command": id})
}

// localLookup asks the market what became of a command.
func (n *Node) localLookup(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r)
	if !ok {
		return
	}
	var a struct {
		Status   string `json:"status"`
		Position int64  `json:"position,omitempty"`
	}
	if err := n.market.call(r.Context(), http.MethodGet, "/commands/"+string(id), nil, &a); err != nil {
		n.localError(w, r, err)
		return
	}
	answer(w, a)
}
