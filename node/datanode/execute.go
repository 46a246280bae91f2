package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/node/vault"
)

// Refusals of a provider's node, beside the gate's and the receipts'.
const (
	noDataset   contracts.Code = "dataset.unavailable"   // this node has no dataset for the product
	noOperation contracts.Code = "operation.unavailable" // this node doesn't offer the operation, though the policy permits it
)

// slot carries one request through the receipts' writer, as its context: who asks on the way in, the gate's pass from
// admission to execution. A request is served by one goroutine at a time.
type slot struct {
	context.Context
	from peer.Identity
	id   contracts.ID // of the agreement
	pass *gate.Pass
	err  error // the gate failed: nothing was decided
}

type slotKey struct{}

// Value implements context.Context.
func (s *slot) Value(key any) any {
	if key == (slotKey{}) {
		return s
	}
	return s.Context.Value(key)
}

func slotOf(ctx context.Context) *slot { return ctx.Value(slotKey{}).(*slot) }

// outcomes translates the vault's words, which are the receipts'.
var outcomes = map[vault.Outcome]meter.Outcome{vault.Found: meter.Found, vault.NotFound: meter.NotFound, vault.SourceTimeout: meter.SourceTimeout,
	vault.SourceError: meter.SourceError, vault.BadRequest: meter.BadRequest}

// Body is the answer to a call, in canonical JSON. Numbers are the dataset's own text.
type Body struct {
	Outcome string            `json:"outcome"`
	Values  map[string]string `json:"values"`
	Detail  string            `json:"detail,omitempty"`
	Payload []byte            `json:"payload,omitempty"` // the protocol's message, where the operation has one
}

// operation answers one admitted call of one kind of use, as Execute of the receipts' backend does.
type operation func(ctx context.Context, pass *gate.Pass, c *meter.Call) (meter.Result, error)

// refused is an operation's own no: nothing is billed.
func refused(code contracts.Code, format string, args ...any) error {
	return &meter.Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// lookupTimeout bounds one lookup.
const lookupTimeout = 10 * time.Second

// execute answers one admitted call.
func (n *Node) execute(ctx context.Context, c *meter.Call) (meter.Result, error) {
	x := slotOf(ctx)
	if x.err != nil {
		return meter.Result{}, fmt.Errorf("couldn't decide: %w", x.err)
	}
	answer, ok := n.operations[x.pass.Request.Operation]
	if !ok {
		return meter.Result{}, refused(noOperation, "this node doesn't offer the operation")
	}
	res, err := answer(ctx, x.pass, c)
	var r *contracts.Refusal
	if errors.As(err, &r) {
		return meter.Result{}, &meter.Refusal{Code: r.Code, Detail: r.Detail}
	}
	return res, err
}

// query answers what the dataset knows of one subject. What says something about it, that there is nothing too, uses up
// the consent once; a failed lookup doesn't.
func (n *Node) query(ctx context.Context, pass *gate.Pass, _ *meter.Call) (meter.Result, error) {
	req, product := pass.Request, pass.Grant.Product
	ds, ok := n.find(product)
	if !ok {
		return meter.Result{}, refused(noDataset, "this node has no dataset for the product")
	}
	use, err := pass.Hold()
	if err != nil {
		return meter.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	a := ds.Lookup(ctx, vault.Query{Key: string(req.Subject), Fields: req.Fields, AsOf: req.AsOf, KnownAt: req.KnownAt})
	if a.Err != nil {
		n.log.ErrorContext(ctx, "a lookup failed", "product", product, "err", a.Err)
	}
	body := Body{Outcome: string(a.Outcome), Detail: a.Detail}
	res := meter.Result{Outcome: outcomes[a.Outcome], AsOf: a.AsOf, KnownAt: a.KnownAt, Snapshot: a.Snapshot.Bytes()}
	switch a.Outcome {
	case vault.Found:
		body.Values = a.Map()
		res.Before = use.Count()
	case vault.NotFound:
		res.Before = use.Count()
	default:
		use.Release()
	}
	res.Body = canon.Marshal(body)
	return res, nil
}

// looker is what answers for a product: a dataset of the vault. Benchmarks put others in its place.
type looker interface {
	Lookup(ctx context.Context, q vault.Query) vault.Answer
}

func (n *Node) dataset(product contracts.ID) (looker, bool) {
	for _, d := range n.cfg.Datasets {
		if d.Product == product {
			ds, ok := n.vault.Dataset(d.Dataset)
			return ds, ok
		}
	}
	return nil, false
}
