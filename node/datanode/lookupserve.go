package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/privacy/consent"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// servedTable is a provider's table of the epoch that the ledger has, with the key that evaluates.
type servedTable struct {
	*openedTable
	commitment *lookup.Commitment
	evaluator  *lookup.Evaluator
}

// lookupTimeLimit bounds the evaluation of one request.
const lookupTimeLimit = 45 * time.Second

// serving gives the committed table of a version, which this node has.
func (l *lookups) serving(version contracts.ID, p *lookupProduct) (*servedTable, error) {
	c, err := p.committed(version)
	if err != nil {
		return nil, err
	}
	if p.table.Node != l.n.cfg.Node {
		return nil, refused("lookup.none", "this node has committed no table for the product")
	}
	l.opening.Lock()
	defer l.opening.Unlock()
	if t := l.served[version]; t != nil && t.commitment.Root == c.Root && t.commitment.Epoch == c.Epoch {
		return t, nil
	}
	name := l.tableName(c)
	secret, err := l.box.read(name + ".secret")
	if errors.Is(err, os.ErrNotExist) {
		return nil, refused("lookup.none", "this node no longer has the committed table: its provider begins a new epoch")
	}
	if err != nil {
		return nil, err
	}
	key, err := lookup.ParseEpochKey(secret)
	if err != nil {
		return nil, errors.New("couldn't read an epoch's key: it is damaged")
	}
	t := &servedTable{commitment: c}
	if t.openedTable, err = l.openTable(l.ctx, name+".table", c); err != nil {
		return nil, damaged("table", err)
	}
	if t.evaluator, err = lookup.NewEvaluator(key, c); err != nil {
		return nil, damaged("key", err)
	}
	l.served[version] = t
	return t, forgetEpochs(filepath.Join(l.dir, "tables"), version, c.Epoch)
}

// damaged makes a failure of what only this node itself can have broken: it is no refusal of whoever asks.
func damaged(what string, err error) error {
	return errors.New("couldn't open the committed " + what + ": " + err.Error())
}

// evaluatePrivate answers a private_lookup.
func (l *lookups) evaluatePrivate(ctx context.Context, pass *gate.Pass, c *meter.Call) (meter.Result, error) {
	q, err := lookup.ParseRequest(pass.Request.Payload)
	if err != nil {
		return meter.Result{}, err
	}
	return l.evaluate(ctx, pass, q, func(*lookupProduct) error { return nil })
}

// evaluateConsented answers a consent_lookup: the points of a ticket, once.
func (l *lookups) evaluateConsented(ctx context.Context, pass *gate.Pass, c *meter.Call) (meter.Result, error) {
	ticket, q, err := consent.ParsePresentation(pass.Request.Payload)
	if err != nil {
		return meter.Result{}, err
	}
	return l.evaluate(ctx, pass, q, func(p *lookupProduct) error {
		service, ok := p.nodes[p.table.ConsentNode]
		if !ok {
			return refused("lookup.consent_service", "the consent service's node is not in service")
		}
		return ticket.Verify(q, consent.Call{Agreement: pass.Agreement, Bank: pass.Grant.Buyer, Purpose: pass.Request.Purpose, Version: pass.Grant.Version,
			Epoch: pass.Request.Epoch, Service: p.table.ConsentNode, Key: service.receipt, Use: contracts.HashOf("bund/ticket-use/v1", c.ID[:])},
			contracts.Millis(l.n.now().UnixMilli()), l.spent)
	})
}

func (l *lookups) evaluate(ctx context.Context, pass *gate.Pass, q *lookup.Request, ticketed func(*lookupProduct) error) (meter.Result, error) {
	version := pass.Grant.Version
	p, err := l.product(version)
	if err != nil {
		return meter.Result{}, err
	}
	if int64(q.Len()) != pass.Request.Asked() {
		return meter.Result{}, refused("lookup.units", "the request asks about %d companies, and for %d units", q.Len(), pass.Request.Asked())
	}
	if !p.sameFields(pass.Request.Fields) {
		return meter.Result{}, refused("lookup.fields", lookupFieldsDetail)
	}
	t, err := l.serving(version, &p)
	if err != nil {
		return meter.Result{}, err
	}
	if err := ticketed(&p); err != nil {
		return meter.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeLimit)
	defer cancel()
	answer, err := t.evaluator.Evaluate(ctx, q)
	if err != nil {
		return meter.Result{}, err
	}
	l.watch(ctx, pass.Agreement, t.commitment, int64(q.Len()))
	return meter.Result{Body: canon.Marshal(Body{Outcome: meter.Found.String(), Payload: answer}), Outcome: meter.Found, Snapshot: t.commitment.Dataset.Bytes()}, nil
}

// watch raises an alarm when a bank has asked about half as many companies in an epoch as the table has, and each time
// that doubles: whoever walks through the register opens the table row by row. It refuses nothing: quota and price do. It
// counts since the node started.
func (l *lookups) watch(ctx context.Context, agreement contracts.ID, c *lookup.Commitment, n int64) {
	l.mu.Lock()
	w := l.watched[agreement]
	if w.epoch != c.Epoch || w.version != c.Version {
		w = watched{version: c.Version, epoch: c.Epoch, alarm: max(1, c.Rows/2)}
	}
	w.units += n
	raised := w.units >= w.alarm
	for w.units >= w.alarm {
		w.alarm *= 2
	}
	l.watched[agreement] = w
	l.mu.Unlock()
	if raised {
		l.n.log.WarnContext(ctx, "an agreement's lookups cover much of the table", "agreement", agreement, "epoch", c.Epoch, "asked", w.units, "rows", c.Rows)
		l.n.trouble("lookups of agreement "+string(agreement), fmt.Sprintf("%d companies were asked about in epoch %d, the table has %d", w.units, c.Epoch, c.Rows))
	}
}

// watched is what was asked under an agreement in one epoch.
type watched struct {
	version      contracts.ID
	epoch        int64
	units, alarm int64 // alarm: raised when units come to this
}

// serveTable serves what an agreement's buyer fetches beside the calls:
//
//	GET /agreements/{id}/lookup/head          the head, with its proof
//	GET /agreements/{id}/lookup/table         the whole table; ranges, so that it can be gone on with
//	GET /agreements/{id}/lookup/bucket/{n}    a bucket, with its proof
//
// There is no way to one record: the provider knows whose each is.
func (l *lookups) serveTable(w http.ResponseWriter, r *http.Request, s *served, _ peer.Identity) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "request.malformed", "a table is only fetched")
		return
	}
	t, err := l.besideTable(s.id)
	var msg []byte
	if err == nil {
		switch what, number, _ := strings.Cut(r.PathValue("rest"), "/"); {
		case what == "table" && number == "":
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("ETag", `"`+string(t.commitment.Root)+`"`)
			http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(t.file, 0, t.Size()))
			return
		case what == "head" && number == "":
			msg, err = t.HeadProof()
		case what == "bucket":
			n, bad := strconv.ParseUint(number, 10, 32)
			if bad != nil || strconv.FormatUint(n, 10) != number {
				refuse(w, http.StatusNotFound, "request.malformed", "want a bucket's number")
				return
			}
			msg, err = t.Bucket(uint32(n))
		default:
			refuse(w, http.StatusNotFound, "request.malformed", "no such operation")
			return
		}
	}
	var cr *contracts.Refusal
	var mr *meter.Refusal
	switch {
	case errors.As(err, &cr):
		refusePeer(w, cr.Code, cr.Detail)
	case errors.As(err, &mr):
		refusePeer(w, mr.Code, mr.Detail)
	case err != nil:
		l.n.log.ErrorContext(r.Context(), "couldn't serve a lookup table", "agreement", s.id, "err", err)
		refuse(w, http.StatusServiceUnavailable, "failure", "this node failed, try again")
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(msg)
	}
}

// besideTable gives the table of an agreement whose policy has a lookup.
func (l *lookups) besideTable(agreement contracts.ID) (*servedTable, error) {
	var g *contracts.Grant
	l.n.follower.View(func(v follow.View) { g = read[contracts.Grant](v, contracts.KeyGrant(agreement)) })
	if g == nil {
		return nil, &contracts.Refusal{Code: "grant.unknown", Detail: "this peer has no grant under this agreement"}
	}
	if ops := g.Policy.Operations; !slices.Contains(ops, policy.PrivateLookup) && !slices.Contains(ops, policy.ConsentLookup) {
		return nil, refused("policy.operation", "the agreement has no lookup")
	}
	p, err := l.product(g.Version)
	if err != nil {
		return nil, err
	}
	return l.serving(g.Version, &p)
}

// fetchedPath is where a consumer keeps a table.
func (l *lookups) fetchedPath(c *lookup.Commitment) string {
	return filepath.Join(l.dir, "fetched", fmt.Sprintf("%s.%d.%s.table", c.Version, c.Epoch, c.Root))
}
