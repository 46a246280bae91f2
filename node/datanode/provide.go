package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/node/vault"
)

// served is one agreement that this node serves.
type served struct {
	id       contracts.ID
	log      *meter.Log
	handler  http.Handler
	print    string
	schedule atomic.Pointer[meter.Schedule]

	reported int64 // acknowledged size of the last report
	at       time.Time
}

// tendServed opens the agreement's log, keeps its terms, closes its periods and reports.
func (n *Node) tendServed(ctx context.Context, d *deal) error {
	n.mu.Lock()
	s := n.served[d.id]
	n.mu.Unlock()
	if s == nil || s.print != d.fingerprint() {
		schedule, terms, err := n.schedule(ctx, d, n.cfg.Node)
		if err != nil {
			return err
		}
		if s == nil {
			s = &served{id: d.id, at: n.now()}
			s.schedule.Store(&schedule)
			s.log, err = n.provider.Open(ctx, func(p int64) (meter.Terms, bool) { return (*s.schedule.Load())(p) }, meter.Backend{Admit: n.admit(s), Execute: n.execute(s)})
			if err != nil {
				return err
			}
			s.handler = s.log.Handler()
			n.mu.Lock()
			n.served[d.id] = s
			n.mu.Unlock()
		} else {
			s.schedule.Store(&schedule)
			if err := s.log.Amend(terms); err != nil {
				// Price and keys change at a CLOSE or with an epoch, by the schedule; all else at once.
				n.log.DebugContext(ctx, "terms wait for the next period", "agreement", d.id, "err", err)
			}
		}
		s.print = d.fingerprint()
	}
	return n.report(ctx, s, d)
}

// slot carries one request through the receipts' writer: who asks on the way in, the gate's pass from admission to
// execution. A request is served by one goroutine at a time.
type slot struct {
	from peer.Identity
	pass *gate.Pass
	err  error // the gate failed: nothing was decided
}

type slotKey struct{}

func slotOf(ctx context.Context) *slot { return ctx.Value(slotKey{}).(*slot) }

// admit is the gate before anything is reserved. A failure of the gate is reported by execute: it is no refusal.
func (n *Node) admit(s *served) func(context.Context, *meter.Call) *meter.Refusal {
	return func(ctx context.Context, c *meter.Call) *meter.Refusal {
		x := slotOf(ctx)
		var r *contracts.Refusal
		if x.pass, x.err = n.gate.Admit(ctx, s.id, x.from, s.log.State().Totals.Calls, c.Body); errors.As(x.err, &r) {
			return &meter.Refusal{Code: r.Code, Detail: r.Detail}
		}
		return nil
	}
}

// outcomes translates the vault's words, which are the receipts'.
var outcomes = map[vault.Outcome]meter.Outcome{vault.Found: meter.Found, vault.NotFound: meter.NotFound, vault.SourceTimeout: meter.SourceTimeout,
	vault.SourceError: meter.SourceError, vault.BadRequest: meter.BadRequest}

// Body is the answer to a call, in canonical JSON. Numbers are the dataset's own text.
type Body struct {
	Outcome string            `json:"outcome"`
	Values  map[string]string `json:"values"`
	Detail  string            `json:"detail,omitempty"`
}

// lookupTimeout bounds one lookup.
const lookupTimeout = 10 * time.Second

func (n *Node) execute(s *served) func(context.Context, *meter.Call) (meter.Result, error) {
	return func(ctx context.Context, c *meter.Call) (meter.Result, error) {
		x := slotOf(ctx)
		if x.err != nil {
			return meter.Result{}, fmt.Errorf("couldn't decide: %w", x.err)
		}
		pass, req := x.pass, x.pass.Request
		ds, ok := n.dataset(pass.Grant.Product)
		if !ok {
			return meter.Result{}, &meter.Refusal{Code: "dataset.missing", Detail: "this node has no dataset for the product"}
		}
		settled, err := pass.Use()
		var r *contracts.Refusal
		if errors.As(err, &r) {
			return meter.Result{}, &meter.Refusal{Code: r.Code, Detail: r.Detail}
		}
		if err != nil {
			return meter.Result{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		a := ds.Lookup(ctx, vault.Query{Key: string(req.Subject), Fields: req.Fields, AsOf: req.AsOf, KnownAt: req.KnownAt})
		if a.Err != nil {
			n.log.ErrorContext(ctx, "a lookup failed", "dataset", ds.Name, "err", a.Err)
		}
		body := Body{Outcome: string(a.Outcome), Detail: a.Detail}
		if a.Outcome == vault.Found {
			body.Values = a.Map()
		}
		// The consent's count is durable before the answer can leave.
		if err := settled(); err != nil {
			return meter.Result{}, err
		}
		return meter.Result{Body: canon.Marshal(body), Outcome: outcomes[a.Outcome], AsOf: a.AsOf, KnownAt: a.KnownAt, Snapshot: a.Snapshot.Bytes()}, nil
	}
}

func (n *Node) dataset(product contracts.ID) (*vault.Dataset, bool) {
	for _, d := range n.cfg.Datasets {
		if d.Product == product {
			return n.vault.Dataset(d.Dataset)
		}
	}
	return nil, false
}

// peerAPI is what other nodes call: POST /agreements/{id}/call and its siblings.
func (n *Node) peerAPI() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/agreements/{id}/{rest...}", func(w http.ResponseWriter, r *http.Request) {
		who, err := n.pins.Of(r)
		if err != nil {
			refuse(w, http.StatusForbidden, "peer.unknown", "the ledger holds no node in service with this key")
			return
		}
		id := contracts.ID(r.PathValue("id"))
		n.mu.Lock()
		s := n.served[id]
		n.mu.Unlock()
		if s == nil || !n.partner(id, who.Member) {
			refuse(w, http.StatusNotFound, "grant.unknown", "this peer has no grant under this agreement")
			return
		}
		ctx := context.WithValue(r.Context(), slotKey{}, &slot{from: who})
		http.StripPrefix("/agreements/"+string(id), s.handler).ServeHTTP(w, r.WithContext(ctx))
	})
	return m
}

// partner reports whether the member is the buyer under the agreement.
func (n *Node) partner(agreement, member contracts.ID) bool {
	b, ok := n.follower.Get(contracts.KeyGrant(agreement))
	if !ok {
		return false
	}
	g, err := contracts.Read[contracts.Grant](b)
	return err == nil && g.Buyer == member
}

func refuse(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"code": code, "title": http.StatusText(status), "status": status, "detail": detail})
}
