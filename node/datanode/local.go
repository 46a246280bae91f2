package main

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
)

// The local API is for this member's own systems, on loopback, JSON in and out:
//
//	POST /v1/calls                    use data under an agreement
//	POST /v1/consents                 register consents from the bank's channel, one or a batch
//	POST /v1/consents/{id}/revoke     revoke one
//	GET  /v1/agreements               what this member uses and serves, with receipts
//	GET  /v1/status                   following, stores
//	GET  /healthz

// localToken reads or makes the token that local systems present.
func localToken(dir string) (string, error) {
	s, err := readSeed(filepath.Join(dir, "local.token"), true)
	return hex.EncodeToString(s[:]), err
}

func (n *Node) localAPI(token string) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/calls", n.localCall)
	m.HandleFunc("POST /v1/consents", n.localConsents)
	m.HandleFunc("POST /v1/consents/{id}/revoke", n.localRevoke)
	m.HandleFunc("GET /v1/agreements", n.localAgreements)
	m.HandleFunc("GET /v1/status", n.localStatus)
	want := []byte("Bearer " + token)
	top := http.NewServeMux()
	top.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { answer(w, map[string]bool{"ok": true}) })
	top.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			refuse(w, http.StatusUnauthorized, "local.token", "want the bearer token of this node's local.token file")
			return
		}
		m.ServeHTTP(w, r)
	})
	return top
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
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
		refuse(w, http.StatusBadRequest, "request.malformed", err.Error())
		return false
	}
	return true
}

// localError answers an error: a refusal with its code, a failure without detail.
func (n *Node) localError(w http.ResponseWriter, r *http.Request, err error) {
	var mr *meter.Refusal
	var cr *contracts.Refusal
	var p *problem
	switch {
	case errors.As(err, &mr):
		refuse(w, http.StatusConflict, string(mr.Code), mr.Detail)
	case errors.As(err, &cr):
		refuse(w, http.StatusConflict, string(cr.Code), cr.Detail)
	case errors.As(err, &p) && p.Status < 500:
		refuse(w, http.StatusConflict, p.Code, p.Detail)
	case errors.Is(err, meter.ErrOutcomeUnknown):
		refuse(w, http.StatusGatewayTimeout, "outcome_unknown", "ask again with the same nonce")
	default:
		n.log.ErrorContext(r.Context(), "a local request failed", "path", r.URL.Path, "err", err)
		refuse(w, http.StatusServiceUnavailable, "failure", "this node or the other side failed, try again")
	}
}

type localCallRequest struct {
	Agreement  contracts.ID         `json:"agreement"`
	Subject    contracts.CreditCode `json:"subject"`
	Fields     []string             `json:"fields"`
	Purpose    policy.Purpose       `json:"purpose"`
	Operation  policy.Operation     `json:"operation"` // "query" when empty
	Consent    contracts.ID         `json:"consent"`
	ConsentKey string               `json:"consentKey"`
	AsOf       int64                `json:"asOf"`    // ms
	KnownAt    int64                `json:"knownAt"` // ms
	Nonce      string               `json:"nonce"`   // 32 hex digits; the same nonce again gets the same answer, free
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
	if q.Operation == "" {
		q.Operation = policy.Query
	}
	req := gate.Request{AsOf: contracts.Millis(q.AsOf), KnownAt: contracts.Millis(q.KnownAt), Consent: q.Consent, Fields: q.Fields, Operation: q.Operation, Purpose: q.Purpose, Subject: q.Subject}
	if q.ConsentKey != "" {
		k, err := hex.DecodeString(q.ConsentKey)
		if err != nil {
			refuse(w, http.StatusBadRequest, "request.malformed", "consentKey is 64 hex digits")
			return
		}
		req.ConsentKey = k
	}
	body := req.Bytes()
	if _, err := gate.ParseRequest(body); err != nil {
		refuse(w, http.StatusBadRequest, "request.malformed", err.Error())
		return
	}
	nonce := meter.NewNonce(n.now())
	if q.Nonce != "" {
		b, err := hex.DecodeString(q.Nonce)
		if err != nil || len(b) != len(nonce) {
			refuse(w, http.StatusBadRequest, "request.malformed", "nonce is 32 hex digits")
			return
		}
		copy(nonce[:], b)
	}
	c := n.consumer(q.Agreement)
	if c == nil {
		refuse(w, http.StatusNotFound, "agreement.unknown", "this node uses no agreement with this id, or has not followed it yet")
		return
	}
	a, err := c.receipts.Call(r.Context(), nonce, body)
	if err != nil {
		n.localError(w, r, err)
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

// localConsents registers consents. The keys are made here and given to the caller: only the bank and, in a call, the
// node that the consent names ever see them.
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
	keys := make([]string, len(q.Consents))
	for i, c := range q.Consents {
		if err := c.Subject.Check(); err != nil {
			refuse(w, http.StatusBadRequest, "request.malformed", fmt.Sprintf("consents.%d.subject: %v", i, err))
			return
		}
		k := gate.NewConsentKey()
		keys[i] = gate.ConsentKeyHex(k)
		body.Consents = append(body.Consents, contracts.ChannelConsent{
			Scope: contracts.ConsentScope{Product: c.Product, Node: c.Node, Subject: contracts.Subject(k, c.Subject), Purpose: c.Purpose, Fields: c.Fields,
				From: contracts.Millis(c.From), To: contracts.Millis(c.To), MaxCalls: c.MaxCalls},
			Evidence: contracts.ChannelEvidence{SignerRole: c.Evidence.SignerRole, RealName: c.Evidence.RealName, TextVersion: c.Evidence.TextVersion,
				Original: c.Evidence.Original, CASignature: c.Evidence.CASignature},
		})
	}
	id, a, err := n.command(r.Context(), "consent.register", body)
	if err != nil {
		n.localError(w, r, err)
		return
	}
	type made struct {
		Consent    contracts.ID `json:"consent"`
		ConsentKey string       `json:"consentKey"`
	}
	out := make([]made, len(keys))
	for i := range keys {
		out[i] = made{contracts.ConsentID(id, i), keys[i]}
	}
	answer(w, map[string]any{"position": a.Position, "consents": out})
}

func (n *Node) localRevoke(w http.ResponseWriter, r *http.Request) {
	_, a, err := n.command(r.Context(), "consent.revoke", contracts.ConsentRevoke{Consent: contracts.ID(r.PathValue("id"))})
	if err != nil {
		n.localError(w, r, err)
		return
	}
	answer(w, map[string]any{"position": a.Position})
}

func (n *Node) localAgreements(w http.ResponseWriter, r *http.Request) {
	deals, err := n.deals()
	if err != nil {
		n.localError(w, r, err)
		return
	}
	type row struct {
		Agreement contracts.ID             `json:"agreement"`
		Kind      contracts.AgreementKind  `json:"kind"`
		State     contracts.AgreementState `json:"state"`
		Grant     contracts.GrantState     `json:"grant"`
		Product   contracts.ID             `json:"product"`
		Role      string                   `json:"role"`
		Provider  *meter.LogState          `json:"provider,omitempty"`
		Consumer  *meter.ConsumerState     `json:"consumer,omitempty"`
		Breach    string                   `json:"breach,omitempty"`
	}
	out := []row{}
	for _, d := range deals {
		x := row{Agreement: d.id, Kind: d.agreement.Kind, State: d.agreement.State, Grant: d.grant.State, Product: d.agreement.Product, Role: "provider"}
		n.mu.Lock()
		s, c := n.served[d.id], n.consumers[d.id]
		n.mu.Unlock()
		if s != nil {
			st := s.log.State()
			x.Provider = &st
		}
		if d.agreement.Buyer == n.cfg.Member {
			x.Role = "consumer"
		}
		if c != nil {
			st := c.receipts.State()
			x.Consumer = &st
			if b := c.receipts.Breach(); b != nil {
				x.Breach = b.Error()
			}
		}
		out = append(out, x)
	}
	answer(w, map[string]any{"agreements": out})
}

func (n *Node) localStatus(w http.ResponseWriter, r *http.Request) {
	st := n.follower.Status()
	stop := ""
	if st.Stop != nil {
		stop = st.Stop.Error()
	}
	out := map[string]any{"member": n.cfg.Member, "node": n.cfg.Node, "followed": st.Size, "head": st.Head, "fresh": st.Fresh, "stopped": stop, "peers": n.peerAddr,
		"datasets": n.vault.Names()}
	if n.provider != nil {
		if err := n.provider.Err(); err != nil {
			out["receipts"] = err.Error()
		}
	}
	answer(w, out)
}
