package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/compute"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
)

func (c *computing) local(m *http.ServeMux) { m.HandleFunc("POST /v1/queries", c.localQuery) }

type localQueryRequest struct {
	Agreement contracts.ID   `json:"agreement"`
	Purpose   policy.Purpose `json:"purpose"`
	Spec      compute.Spec   `json:"spec"`  // in any order: the node brings it into its one form
	Nonce     string         `json:"nonce"` // as of POST /v1/calls
}

// localQuery asks a provider's node. What the spec names is all that the call asks for.
func (c *computing) localQuery(w http.ResponseWriter, r *http.Request) {
	var q localQueryRequest
	if !decode(w, r, &q) {
		return
	}
	payload, err := q.Spec.Canonical()
	if err != nil {
		malformed(w, "spec: "+err.Error())
		return
	}
	fields := q.Spec.Fields()
	if len(fields) == 0 {
		malformed(w, "spec: a query names a field at least, to filter or to group by or to sum")
		return
	}
	req := gate.Request{Fields: fields, Operation: policy.Compute, Payload: payload, Purpose: q.Purpose}
	if _, err := gate.ParseRequest(req.Bytes()); err != nil {
		malformed(w, err.Error())
		return
	}
	nonce, ok := c.n.nonce(w, q.Nonce)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), c.n.patience)
	defer cancel()
	u, err := c.n.use(ctx, q.Agreement, nonce, req)
	named := extra{"nonce": hex.EncodeToString(nonce[:])}
	if err != nil {
		c.n.localError(w, r, err, named)
		return
	}
	var a compute.Answer
	if err := canon.Unmarshal(u.Payload, &a); err != nil {
		c.n.localError(w, r, fmt.Errorf("couldn't read the provider's figures: %w", err), named)
		return
	}
	answer(w, map[string]any{"outcome": u.Outcome, "answer": a, "nonce": hex.EncodeToString(nonce[:]), "snapshot": hex.EncodeToString(u.leaf.Snapshot[:]), "receipt": u.receipt()})
}

// computeQuery asks through the running node. A query over many rows may take longer than the node waits: it is then
// asked after under the same nonce, which computes and bills once.
func computeQuery(c *command) error {
	var file, agreement, purpose, spec, nonce string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&agreement, "agreement", "", "")
		fs.StringVar(&purpose, "purpose", "", "")
		fs.StringVar(&spec, "spec", "", "")
		fs.StringVar(&nonce, "nonce", "", "")
	}, "config", "agreement", "purpose", "spec"); err != nil {
		return err
	}
	b, err := os.ReadFile(spec)
	if err != nil {
		return fmt.Errorf("couldn't read query: %w", err)
	}
	q := localQueryRequest{Agreement: contracts.ID(agreement), Purpose: policy.Purpose(purpose), Nonce: nonce}
	if err := strictJSON(b, &q.Spec); err != nil {
		return fmt.Errorf("couldn't read query %s: %w", spec, err)
	}
	if q.Nonce == "" {
		n := meter.NewNonce(time.Now())
		q.Nonce = hex.EncodeToString(n[:])
	}
	fmt.Fprintf(c.err, "查询中 · computing (nonce %s)\n", q.Nonce)
	for begun := time.Now(); ; {
		var a json.RawMessage
		err := c.get(file, http.MethodPost, "/v1/queries", &q, &a)
		var p *problem
		switch {
		case err == nil:
			var v any
			if err := json.Unmarshal(a, &v); err != nil {
				return err
			}
			return printJSON(c.out, v)
		case !errors.As(err, &p) || p.Code != "outcome_unknown" || c.ctx.Err() != nil || time.Since(begun) > computeTimeout+time.Minute:
			return err
		}
		fmt.Fprintf(c.err, "仍在计算，已 %d 秒 · still computing after %d s\n", int(time.Since(begun).Seconds()), int(time.Since(begun).Seconds()))
	}
}
