package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/dictionary"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/session"
	"github.com/bund-exchange/bund/node/vault"
	"github.com/bund-exchange/bund/privacy/psi"
)

// psiOpening is what a bank asks for, the payload of its call.
type psiOpening struct {
	Padding string       `json:"padding"`
	Session contracts.ID `json:"session"`
	Size    int64        `json:"size"` // of its list, as announced
}

// psiOpened is the provider's answer.
type psiOpened struct {
	ExpiresAt contracts.Millis `json:"expiresAt"`
	Terms     psiTerms         `json:"terms"`
}

// answer opens a session. The same request, after a crash behind this too, finds the session that it opened.
//
// The session is there before the receipt is: a provider's node that fails in between has given one intersection away.
func (p *intersecting) answer(ctx context.Context, pass *gate.Pass, _ *meter.Call) (meter.Result, error) {
	req, product := pass.Request, pass.Grant.Product
	var o psiOpening
	if err := canon.Unmarshal(req.Payload, &o); err != nil {
		return meter.Result{}, refused(gate.Malformed, "the payload is no opening of an intersection: %v", err)
	}
	padding, err := psi.ParsePadding(o.Padding)
	if err != nil || o.Size < 1 || o.Size > psiMaxIDs || int64(padding.Announced(uint64(o.Size))) != o.Size {
		return meter.Result{}, refused(gate.Malformed, "the size is not one to announce")
	}
	if req.Asked() != o.Size || len(req.Fields) != 0 {
		return meter.Result{}, refused(gate.Malformed, "units are the announced size, and no fields are named")
	}
	ds, ok := p.set(product)
	if !ok {
		return meter.Result{}, refused(noDataset, "this node has no dataset for the product whose keys are credit codes")
	}
	t := psiTerms{Dataset: ds.Name, Digest: ds.Digest(), FrameElements: psiFrameElements, Padding: o.Padding, ReceiverMax: o.Size,
		SenderMax: int64(padding.Announced(uint64(ds.Keys())))}
	if t.SenderMax > psiMaxSender {
		return meter.Result{}, refused(noDataset, "the dataset has more keys than an intersection takes")
	}
	x, opened, err := p.openServed(pass.Agreement, slotOf(ctx).from.Node, &o, t)
	if err != nil {
		return meter.Result{}, err
	}
	p.serve(x)
	digest := opened.Terms.Digest
	opened.Terms.Dataset, opened.Terms.Digest = "", "" // how it names its files is the provider's business; the leaf has the digest
	return meter.Result{Body: canon.Marshal(Body{Outcome: string(vault.Found), Payload: canon.Marshal(opened)}), Outcome: meter.Found, Snapshot: digest.Bytes()}, nil
}

// set gives the dataset whose keys are intersected for a product.
func (p *intersecting) set(product contracts.ID) (*vault.Dataset, bool) {
	for _, d := range p.n.cfg.Datasets {
		if d.Product != product {
			continue
		}
		ds, ok := p.n.vault.Dataset(d.Dataset)
		if !ok {
			return nil, false
		}
		schema := ds.Schema()
		return ds, schema.Fields[keyField(schema)].Format == dictionary.CreditCodeFormat
	}
	return nil, false
}

// keyField is where a schema has its key.
func keyField(s *vault.Schema) int {
	return slices.IndexFunc(s.Fields, func(f dictionary.Field) bool { return f.Name == s.Key })
}

// openServed makes the session, or finds the one that the same request made.
func (p *intersecting) openServed(agreement, from contracts.ID, o *psiOpening, t psiTerms) (*session.Session, *psiOpened, error) {
	if x, ok := p.shelf.Session(agreement, o.Session); ok {
		var made psiTerms
		if err := canon.Unmarshal(x.Terms.Note, &made); err != nil {
			return nil, nil, fmt.Errorf("couldn't read a session's terms: %w", err)
		}
		if x.Terms.Peer != from || x.Terms.Protocol != psiProtocol || made.Padding != t.Padding || made.ReceiverMax != t.ReceiverMax {
			return nil, nil, refused(session.Differs, "a session of this id is on other terms")
		}
		return x, &psiOpened{x.Terms.ExpiresAt, made}, nil
	}
	params := t.params(agreement, o.Session, p.n.cfg.Node, from)
	own, peers := params.Bytes(params.SenderMax, params.ReceiverMax)
	x, err := p.shelf.Create(session.Terms{Agreement: agreement, ID: o.Session, Peer: from, Protocol: psiProtocol, MaxSent: own, MaxReceived: peers,
		Note: canon.Marshal(t), ExpiresAt: contracts.Millis(p.n.now().Add(psiLife).UnixMilli())})
	if err != nil {
		return nil, nil, err
	}
	return x, &psiOpened{x.Terms.ExpiresAt, t}, nil
}

// resumeServed goes on with what this node serves.
func (p *intersecting) resumeServed() error {
	for _, x := range p.shelf.Sessions() {
		_, ended := x.Outcome()
		if x.Terms.Protocol == psiProtocol && len(x.Terms.Note) > 0 && !ended {
			p.serve(x)
		}
	}
	return nil
}

// serve runs the sender's side until the session has ended, unless it runs already.
func (p *intersecting) serve(x *session.Session) {
	id := x.Terms.ID
	p.runs.Go(func() {
		for fails := 0; ; fails++ {
			err := x.Run(p.ctx, func(ctx context.Context) error { return p.send(ctx, x) })
			if _, ended := x.Outcome(); ended || errors.Is(err, session.ErrBusy) || p.ctx.Err() != nil {
				if err != nil && ended {
					p.n.log.Info("an intersection has ended", "session", id, "why", err)
				}
				return
			}
			p.n.log.Warn("an intersection stands still, going on with it later", "session", id, "err", err)
			if !p.wait(id, fails, "failure") {
				return
			}
		}
	})
}

func (p *intersecting) send(ctx context.Context, x *session.Session) error {
	var t psiTerms
	if err := canon.Unmarshal(x.Terms.Note, &t); err != nil {
		return fmt.Errorf("couldn't read a session's terms: %w", err)
	}
	snapshot, done, err := p.snapshot(&t)
	if err != nil {
		return err
	}
	defer done()
	_, err = p.side(x, t.params(x.Terms.Agreement, x.Terms.ID, p.n.cfg.Node, x.Terms.Peer)).Send(ctx, keysOf(ctx, snapshot))
	return err
}

// snapshot gives the dataset as it was when the session was opened.
func (p *intersecting) snapshot(t *psiTerms) (*vault.Snapshot, func() error, error) {
	if ds, ok := p.n.vault.Dataset(t.Dataset); ok && ds.Digest() == t.Digest {
		return ds.Snapshot, func() error { return nil }, nil
	}
	s, err := p.n.vault.At(t.Dataset, t.Digest)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}

var errEnough = errors.New("no more keys are wanted")

// keysOf yields each key of a snapshot once. Its rows come by key.
func keysOf(ctx context.Context, s *vault.Snapshot) psi.IDs {
	return func(yield func([]byte, error) bool) {
		at := keyField(s.Schema())
		var last []byte
		err := s.Each(ctx, func(values [][]byte) error {
			if last != nil && string(last) == string(values[at]) {
				return nil
			}
			last = append(last[:0], values[at]...)
			if !yield(last, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}
